"""Run a copy of an example as its reader does: ``flask --app ... run``, in a process of its own."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.client import HTTPConnection
from http.cookiejar import CookieJar
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, Request, build_opener

EXAMPLES = Path(__file__).parents[2] / "examples"


def copy(name: str, folder: Path) -> Path:
    """A copy of an example, so that its database is nobody else's."""
    source, target = EXAMPLES / name, folder / name
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("instance", "__pycache__"))
    else:
        shutil.copy(source, target)
    return target


def flask(app: Path, *arguments: str) -> list[str]:
    """The command line of ``flask --app APP ...``."""
    return [sys.executable, "-m", "flask", "--app", str(app), *arguments]


def call(app: Path, *arguments: str, env: Mapping[str, str] | None = None) -> tuple[str, str]:
    """What a command of the app says, on stdout and on stderr."""
    done = subprocess.run(
        flask(app, *arguments),
        cwd=app.parent,
        env={**environment(), **(env or {})},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


def tokens(text: str) -> list[str]:
    """Of the links in emails that ``LogMailer`` printed, in order."""
    return re.findall(r"#([\w-]{43})\b", text)


def environment() -> dict[str, str]:
    """Ours, without what would speak to Flask."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("FLASK_", "DEMO_"))}


@dataclass(frozen=True)
class Answer:
    """What came back, redirects followed."""

    status: int
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


class Browser:
    """Keeps cookies and follows redirects, like a browser or ``curl -b -c -L``."""

    def __init__(self, base: str) -> None:
        self.base, self.cookies, self.headers = base, CookieJar(), dict[str, str]()
        self._opener = build_opener(HTTPCookieProcessor(self.cookies))

    def get(self, path: str, **headers: str) -> Answer:
        return self._open(Request(self.base + path, headers=headers))

    def form(self, path: str, **fields: str) -> Answer:
        return self._open(Request(self.base + path, urlencode(fields).encode()))

    def json(self, path: str, body: Any, **headers: str) -> Answer:
        headers["Content-Type"] = "application/json"
        return self._open(Request(self.base + path, json.dumps(body).encode(), headers))

    def answers(self) -> bool:
        """Whether there is a server, whatever it says."""
        try:
            self.get("/")
        except (URLError, ConnectionError):
            return False
        return True

    def _open(self, request: Request) -> Answer:
        for name, value in self.headers.items():
            request.add_header(name, value)
        try:
            with self._opener.open(request, timeout=30) as response:
                return Answer(response.status, response.read().decode())
        except HTTPError as error:
            with error:
                return Answer(error.code, error.read().decode())


@contextmanager
def running(app: Path, *options: str, env: Mapping[str, str] | None = None) -> Iterator[tuple[str, Path]]:
    """``flask run`` on a free port: its address, and the file that its output goes to."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = app.parent / "output.txt"
    with log.open("wb") as output:
        command = flask(app, *options, "run", "--no-reload", "--port", str(port))
        process = subprocess.Popen(
            command, cwd=app.parent, env={**environment(), **(env or {})}, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            _wait(process, f"http://127.0.0.1:{port}", log)
            yield f"http://127.0.0.1:{port}", log
        finally:
            process.terminate()
            process.wait(10)


class _Files(SimpleHTTPRequestHandler):
    def log_message(self, *_said: object) -> None:
        """Nothing."""

    def end_headers(self) -> None:
        self.send_header("Cache-Control", "no-store")
        super().end_headers()


@contextmanager
def files_of(folder: Path) -> Iterator[str]:
    """``python -m http.server``, on ``localhost``: to a browser another site than 127.0.0.1."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Files, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://localhost:{server.server_port}"
        server.shutdown()


class _Proxy(SimpleHTTPRequestHandler):
    """As nginx does it: the prefix is taken off, and the headers say what was there."""

    target, prefix, host = 0, "", ""

    def log_message(self, *_said: object) -> None:
        """Nothing."""

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name: value for name, value in self.headers.items() if name.lower() not in {"host", "connection"}}
        told = self.headers.get("X-Forwarded-For")
        headers["X-Forwarded-For"] = ", ".join(filter(None, (told, self.client_address[0])))
        headers |= {"X-Forwarded-Proto": "https", "X-Forwarded-Host": self.host, "X-Forwarded-Prefix": self.prefix}
        connection = HTTPConnection("127.0.0.1", self.target, timeout=30)
        connection.request(self.command, self.path.removeprefix(self.prefix), body, headers)
        answer = connection.getresponse()
        said = answer.read()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in {"connection", "transfer-encoding", "content-length", "server", "date"}:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)
        connection.close()

    do_POST = do_DELETE = do_GET  # noqa: N815


@contextmanager
def proxied(host: str, prefix: str, *command: str, **how: Any) -> Iterator[str]:
    """A server, told its port at the end of its command, behind a proxy that speaks TLS for ``host``: the address of
    the proxy, which is spoken to without TLS."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    handler = type("Handler", (_Proxy,), {"target": port, "prefix": prefix, "host": host})
    process = subprocess.Popen([*command, f"127.0.0.1:{port}"], **how)
    try:
        with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            _wait(process, f"http://127.0.0.1:{port}", None)
            yield f"http://127.0.0.1:{server.server_port}"
            server.shutdown()
    finally:
        process.terminate()
        process.wait(20)


def _wait(process: subprocess.Popen[bytes], base: str, log: Path | None) -> None:
    """Until it answers anything at all."""
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        if Browser(base).answers():
            return
        assert process.poll() is None, log and log.read_text()
        time.sleep(0.1)
    raise AssertionError(f"no answer from {base}: {log and log.read_text()}")
