"""Bodies of any size, declared in any way, to every face: W1."""

from __future__ import annotations

import io
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, request
from werkzeug.test import TestResponse

from tests.hosts import Host, build
from tests.http.tools import ACCEPT, DECLINE, DOCUMENT, INVITE, LIST, PREVIEW, refused
from tests.pages.test_pages import invite, post

LIMIT = 16 * 1024
PAGES = "/invitations"
#: Whatever anybody may call without signing in; and, of the rest, what answers 401 to them.
EVERYWHERE = (
    *[("POST", url) for url in (ACCEPT, PREVIEW, DECLINE, INVITE)],
    *[("POST", f"{PAGES}/{page}") for page in ("open", "accept", "decline", "fresh", "invite")],
    *[("GET", f"{PAGES}/{page}") for page in ("accept", "accept/x", "open", "requested", "accepted", "declined", "")],
    ("GET", f"{PAGES}/static/invitations.css"),
    ("HEAD", f"{PAGES}/static/invitations.js"),
    ("GET", DOCUMENT),
    ("GET", LIST),
    ("DELETE", f"{LIST}/x"),
    ("OPTIONS", ACCEPT),
    ("POST", f"{PAGES}/00000000-0000-0000-0000-000000000000/revoke"),
)
KINDS = (
    "application/json",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    "text/plain",
    "",
)
_PART = b'--x\r\nContent-Disposition: form-data; name="token"\r\n\r\n'
_FILE = b'--x\r\nContent-Disposition: form-data; name="token"; filename="a"\r\n\r\n'


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Host]:
    """A host on SQLite."""
    with build(f"sqlite:///{tmp_path / 'local.sqlite3'}", config={"INVITATIONS_FRESH_LINK": "send"}) as host:
        yield host


class Counted(io.BytesIO):
    """A body that tells how much of it was read."""

    def __init__(self, raw: bytes) -> None:
        super().__init__(raw)
        self.taken = 0

    def read(self, size: int | None = -1, /) -> bytes:
        chunk = super().read(size)
        self.taken += len(chunk)
        return chunk

    def readinto(self, buffer: Any, /) -> int:
        count = super().readinto(buffer)
        self.taken += count
        return count


def send(
    host: Host, method: str, url: str, body: Counted, kind: str, *, chunked: bool, length: int = 0
) -> TestResponse:
    environ = {"wsgi.input_terminated": True} if chunked else {"CONTENT_LENGTH": str(length)}
    headers = {"Transfer-Encoding": "chunked"} if chunked else {}
    client, kind_or_none = host.app.test_client(), kind or None
    return client.open(
        url, method=method, input_stream=body, content_type=kind_or_none, headers=headers, environ_overrides=environ
    )


@pytest.mark.parametrize("chunked", [True, False], ids=["chunked", "declared"])
@pytest.mark.parametrize("kind", KINDS)
def test_never_read_to_its_end(local: Host, kind: str, chunked: bool) -> None:
    """W1: of a body over 16 KiB no face reads more than that, whatever method, content type and way to declare it; the
    answer is 413."""
    for raw in (b"x" * 400_000, (_PART + b"y" * 200_000 + b"\r\n") * 2, _FILE + b"z" * 400_000, _PART * 8000):
        for method, url in EVERYWHERE:
            body = Counted(raw)
            answer = send(local, method, url, body, kind, chunked=chunked, length=len(raw))
            assert body.taken <= LIMIT + 1, (method, url)
            assert answer.status_code == 413, (method, url, answer.status)
            if url.startswith("/api"):
                refused(answer, 413, "body-too-large")
            answer.close()


def test_what_fits_is_taken(local: Host) -> None:
    """W1: a form of exactly 16 KiB, urlencoded or multipart, chunked or not, is read as ever."""
    token = invite(local)
    form = f"token={token}&padding=".encode()
    parts = _PART + token.encode() + b'\r\n--x\r\nContent-Disposition: form-data; name="p"\r\n\r\n'
    for kind, raw in (
        (KINDS[1], form + b"x" * (LIMIT - len(form))),
        (KINDS[2], parts + b"y" * 9000 + b"\r\n--x--\r\n"),
    ):
        for chunked in (True, False):
            answer = send(local, "POST", f"{PAGES}/open", Counted(raw), kind, chunked=chunked, length=len(raw))
            assert answer.status_code == 200, answer.text
            assert token in answer.text


@pytest.mark.parametrize("key", ["MAX_CONTENT_LENGTH", "MAX_FORM_MEMORY_SIZE", "MAX_FORM_PARTS"])
def test_the_hosts_own_smaller_limits(tmp_path: Path, key: str) -> None:
    """W1: where one of the host's own limits is smaller it holds, and the refusal is a page of ours, also where that
    page looks at the form."""
    with build(f"sqlite:///{tmp_path / 'l.sqlite3'}", config={key: 2}) as host:

        @host.app.before_request
        def keep() -> None:
            request.get_data()

        raw = _PART + b"abc\r\n" + _PART + b"abc\r\n" + _PART + b"abc\r\n--x--\r\n"
        for chunked in (True, False):
            answer = send(host, "POST", f"{PAGES}/open", Counted(raw), KINDS[2], chunked=chunked, length=len(raw))
            assert answer.status_code == (413 if key in Flask("x").default_config else 404)  # two from Flask 3.1 on
            assert answer.mimetype == "text/html"


def test_nobody_else_reads_the_rest(local: Host) -> None:
    """W1: after the refusal, and before it in a ``before_request`` of the host's, the body is an empty one for
    everybody: a crash report that adds the form reads no more of it either. The host's own routes keep their limits."""
    seen = list[int]()

    def look(*_: Any) -> Any:
        seen.append(len(request.get_data()) + len(request.form) + len(request.environ["wsgi.input"].read()))

    local.app.before_request(look)
    local.app.teardown_request(look)
    local.app.add_url_rule("/own", "own", lambda: str(len(request.get_data())), methods=["POST"])
    body = Counted(b"x" * 400_000)
    for chunked in (True, False):
        answer = send(local, "POST", f"{PAGES}/open", body, KINDS[1], chunked=chunked, length=400_000)
        assert answer.status_code == 413
    assert set(seen) == {0}
    assert local.client().post("/own", data=b"x" * 400_000).text == "400000"


def test_read_by_the_host_before(local: Host) -> None:
    """W1: what the host has read before us, in a function that runs before everything else, is what we get."""
    token = invite(local)
    readers = {"form": lambda: request.form, "data": lambda: request.get_data()}
    for name, read in readers.items():
        local.app.url_value_preprocessors[None] = [lambda *_, read=read: read()]
        assert post(local.client(), "open", token).status_code == 200, name
        preview = local.client().post(PREVIEW, json={"token": token})
        assert preview.status_code == 200, name


def test_cut_off(local: Host) -> None:
    """W1: a body that ends before its declared length is 400 on every face, and no trace of a crash."""
    for method, url in EVERYWHERE:
        answer = send(local, method, url, Counted(b"token=abc"), KINDS[1], chunked=False, length=50)
        assert answer.status_code == 400, (method, url)
        if url.startswith("/api"):
            refused(answer, 400, "malformed-request")
        elif method != "HEAD":
            assert "This form could not be read" in answer.text
        answer.close()


# Through a real server


on_linux = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")

SERVED = """
from tests.hosts import build

host = build("sqlite:///{path}", config={{"INVITATIONS_FRESH_LINK": "send"}})
app = host.app
"""


class Worker(int):
    """The process that answers, by its id."""

    @property
    def memory(self) -> int:
        """Its resident memory, in octets."""
        (line,) = [line for line in Path(f"/proc/{self}/status").read_text().splitlines() if line.startswith("VmRSS")]
        return int(line.split()[1]) * 1024


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Worker]]:
    """A host behind gunicorn: its port, and its one worker."""
    folder = tmp_path_factory.mktemp("served")
    (folder / "served.py").write_text(SERVED.format(path=folder / "served.sqlite3"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "gunicorn", "--workers=1", f"--bind=127.0.0.1:{port}", "--log-level=error"]
    environ = {**os.environ, "PYTHONPATH": f"{root}:{folder}"}
    with subprocess.Popen([*command, "--no-control-socket", "served:app"], cwd=folder, env=environ) as server:
        try:
            yield port, Worker(_answering(server.pid, port))
        finally:
            server.terminate()


def _answering(pid: int, port: int) -> int:
    """The process id of the one worker, once it answers."""
    for _ in range(300):
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            if children:
                return int(children[0])
        time.sleep(0.1)
    raise AssertionError("gunicorn does not answer")


def pour(port: int, head: str, chunk: bytes, count: int) -> bytes:
    """Send so many chunks, or until the server has had enough; what it answered, if it did before it cut us off."""
    answer = b""
    with socket.create_connection(("127.0.0.1", port), 20) as line:
        try:
            line.sendall(head.encode())
            for _ in range(count):
                line.sendall(chunk)
        except OSError:
            pass  # cut off
        with suppress(OSError):
            while data := line.recv(65536):
                answer += data
    return answer


@on_linux
def test_memory(served: tuple[int, Worker]) -> None:
    """W1: 200 MiB in chunks, to every address that anybody may call, are answered by 413 or a cut connection, and the
    worker grows by less than 10 MiB in all."""
    port, worker = served
    for method, url in EVERYWHERE:  # what the first request costs once
        pour(port, f"{method} {url} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", b"", 0)
    before, megabyte = worker.memory, b"100000\r\n" + b"x" * (1 << 20) + b"\r\n"
    for kind in KINDS[1:3]:
        for method, url in EVERYWHERE:
            head = f"{method} {url} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n"
            head += "Transfer-Encoding: chunked\r\n\r\n"
            answer = pour(port, head, megabyte, 200)
            status = answer.partition(b" ")[2][:3]
            assert status in (b"413", b""), (method, url, answer[:200])
    grown = worker.memory - before
    assert grown < 10 << 20, f"grown by {grown >> 20} MiB"


@on_linux
def test_malformed_chunks(served: tuple[int, Worker]) -> None:
    """W1: chunks that are none, through a real server, are refused on every face and never a 500."""
    port, _ = served
    for method, url in EVERYWHERE:
        for chunks in (b"zz\r\nabc\r\n", b"5\r\nab\r\n0\r\n\r\n", b"-1\r\nabc\r\n", b"ffffffffffffffffffff\r\nabc\r\n"):
            head = f"{method} {url} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
            with socket.create_connection(("127.0.0.1", port), 20) as line:
                line.sendall(head.encode() + chunks)
                line.shutdown(socket.SHUT_WR)
                answer = b""
                with suppress(OSError):
                    while data := line.recv(65536):
                        answer += data
            status = answer.partition(b" ")[2][:3]
            assert not status.startswith(b"5"), (method, url, chunks, answer[:300])


@on_linux
def test_the_way_through(served: tuple[int, Worker]) -> None:
    """W1: small chunked bodies, and plain ones, are read through that server as through any other."""
    port, _ = served
    body = b'{"token": "%s"}' % (b"A" * 43)
    head = f"POST {PREVIEW} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\n"
    chunked = pour(port, f"{head}Transfer-Encoding: chunked\r\n\r\n", b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body), 1)
    plain = pour(port, f"{head}Content-Length: {len(body)}\r\n\r\n", body, 1)
    for answer in (chunked, plain):
        assert b"invitation-not-found" in answer
