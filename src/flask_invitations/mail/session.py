"""One conversation with a mail server: a single deadline for all of it, and answers of bounded length."""

from __future__ import annotations

import smtplib
import socket
import ssl
from time import monotonic
from typing import Any

#: In octets: what one answer may have, of however many lines.
LONGEST_ANSWER = 64 * 1024
#: In seconds: where none is left, but what was said in time is still to be heard out.
_SOON = 0.01
#: In octets: how much is sent before the time is looked at.
_CHUNK = 16 * 1024


class Deadline:
    """:param seconds: from now."""

    def __init__(self, seconds: float) -> None:
        self._end = monotonic() + seconds

    def left(self) -> float:
        """Seconds, more than none.

        :raises TimeoutError: it has passed.
        """
        rest = self.rest
        if rest <= 0:
            raise TimeoutError("timed out")
        return rest

    @property
    def rest(self) -> float:
        """Seconds; none or less once it has passed."""
        return self._end - monotonic()


class _Lines:
    """What the server says, line by line: the file of an ``smtplib.SMTP``, which would wait for each piece anew."""

    def __init__(self, session: Session, sock: socket.socket) -> None:
        self._session, self._sock = session, sock
        self.unread: bytes = b""
        self.room: int = LONGEST_ANSWER

    def readline(self, limit: int) -> bytes:
        while b"\n" not in self.unread and len(self.unread) < limit:
            self._sock.settimeout(self._session.deadline.left())
            piece = self._sock.recv(limit)
            if not piece:
                break
            self.room -= len(piece)
            if self.room < 0:
                raise OSError("the answer is too long")
            self.unread += piece
        end = min(self.unread.find(b"\n") + 1 or limit, limit)
        line, self.unread = self.unread[:end], self.unread[end:]
        return line

    def close(self) -> None:
        """Nothing: the socket is the session's."""


class Session(smtplib.SMTP):
    """
    :param deadline: for connecting, TLS, and whatever is said until it is replaced by another one.
    :param tls: for TLS from the first byte on; ``None``: begin without.
    :param local_hostname: how we call ourselves; ``None``: look it up.
    """

    def __init__(
        self, host: str, port: int, deadline: Deadline, tls: ssl.SSLContext | None, local_hostname: str | None
    ) -> None:
        self.deadline: Deadline = deadline
        self._tls = tls
        super().__init__(host, port, local_hostname, timeout=deadline.left())

    def _get_socket(self, host: str, port: int, timeout: float) -> Any:
        """Connect to one of the host's addresses; each has its share of the time."""
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        for number, (*_, address) in enumerate(found, 1):
            try:
                share = self.deadline.left() / (len(found) - number + 1)
                sock = socket.create_connection((str(address[0]), port), share)
            except OSError:
                if number == len(found):
                    raise
            else:
                break
        sock.settimeout(self.deadline.left())
        return sock if self._tls is None else self._tls.wrap_socket(sock, server_hostname=host)

    @property
    def unread(self) -> bytes:
        """What the server said without being asked."""
        return b"" if self.file is None else bytes(self.file.unread)

    def getreply(self) -> tuple[int, bytes]:
        if self.file is None and self.sock is not None:
            self.file: Any = _Lines(self, self.sock)
        if self.file is not None:
            self.file.room = LONGEST_ANSWER
        answer = super().getreply()
        if self.sock is not None:
            self.sock.settimeout(max(self.deadline.rest, _SOON))  # a TLS handshake may be next
        return answer

    def send(self, s: Any) -> None:
        if self.unread:  # each further answer would be taken for that of the next command
            self.close()
            raise smtplib.SMTPServerDisconnected("The mail server answered what it was not asked.")
        data = s.encode(self.command_encoding) if isinstance(s, str) else bytes(s)
        for start in range(0, len(data), _CHUNK):
            if self.sock is not None:
                self.sock.settimeout(self.deadline.left())
            super().send(data[start : start + _CHUNK])
