"""A network that fails: a TCP proxy in front of a database server, which hangs up at a chosen moment."""

from __future__ import annotations

import socket
import threading
from contextlib import AbstractContextManager, suppress

from sqlalchemy.engine import make_url

BEFORE, AFTER = "before", "after"


class Proxy(AbstractContextManager["Proxy"]):
    """Passes everything on, until it is told when to hang up; that happens once, then all is well again."""

    def __init__(self, database_url: str) -> None:
        self._url = make_url(database_url)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self._cut: str | None = None
        self._countdown: int | None = None
        self._was_cut = False
        self._away = False
        self._open: set[socket.socket] = set()
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def url(self) -> str:
        """The database's URL, by way of this proxy; unencrypted, so that it can see a COMMIT."""
        url = self._url.set(host="127.0.0.1", port=self._listener.getsockname()[1])
        if url.get_backend_name() == "postgresql":
            url = url.update_query_dict({"sslmode": "disable", "gssencmode": "disable"})
        return url.render_as_string(hide_password=False)

    def cut_at_commit(self, when: str) -> None:
        """Hang up ``BEFORE`` the next COMMIT reaches the server, or ``AFTER`` the server has done it."""
        self._cut = when

    def cut_at_message(self, number: int) -> None:
        """Hang up instead of passing on the client's message of that number from now on."""
        self._countdown = number

    def go_away(self) -> None:
        """Hang up on everybody, and on everybody who calls, until :meth:`come_back`."""
        with self._lock:
            self._away = True
            ends = list(self._open)
        _hang_up(*ends)

    def come_back(self) -> None:
        self._away = False

    def leave_for(self, seconds: float) -> None:
        """Be away for so long from now on."""
        self.go_away()
        threading.Timer(seconds, self.come_back).start()

    def calm_down(self) -> bool:
        """Hang up no more; whether it came to that since the last time."""
        with self._lock:
            was_cut, self._was_cut, self._cut, self._countdown = self._was_cut, False, None, None
            return was_cut

    def _serve(self) -> None:
        with suppress(OSError):  # the listener was closed
            while True:
                client, _ = self._listener.accept()
                if self._away:
                    client.close()
                    continue
                server = socket.create_connection((self._url.host or "127.0.0.1", self._url.port or _port(self._url)))
                swallow = threading.Event()
                with self._lock:
                    self._open |= {client, server}
                for work in (self._upwards, self._downwards):
                    threading.Thread(target=work, args=(client, server, swallow), daemon=True).start()

    def _upwards(self, client: socket.socket, server: socket.socket, swallow: threading.Event) -> None:
        with suppress(OSError):
            while data := client.recv(65536):
                verdict = self._verdict(data)
                if verdict == BEFORE:
                    break
                if verdict == AFTER:
                    swallow.set()
                server.sendall(data)
        if not swallow.is_set():
            _hang_up(client, server)

    def _verdict(self, data: bytes) -> str | None:
        """Whether to hang up now."""
        with self._lock:
            verdict = self._cut if b"COMMIT" in data else None
            if self._countdown is not None:
                self._countdown -= 1
                verdict = BEFORE if self._countdown < 0 else verdict
            if verdict is not None:
                self._cut = self._countdown = None
                self._was_cut = True
            return verdict

    @staticmethod
    def _downwards(client: socket.socket, server: socket.socket, swallow: threading.Event) -> None:
        with suppress(OSError):
            while data := server.recv(65536):
                if swallow.is_set():
                    break  # this is the server's word that it has committed; nobody shall hear it
                client.sendall(data)
        _hang_up(client, server)

    def __exit__(self, *_error: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


def _port(url: object) -> int:
    return 5432 if str(url).startswith("postgresql") else 3306


def _hang_up(*ends: socket.socket) -> None:
    for end in ends:
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
        end.close()
