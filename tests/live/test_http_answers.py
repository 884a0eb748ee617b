"""Requests that the proxy answers itself, with real clients: files, handlers and WSGI."""

from __future__ import annotations

import hashlib
import os
import subprocess

from tests.live.case import LiveCase
from tests.live.programs import needed
from tests.live.waiting import until

_SIZE = 30_000_000
_HANDLERS = """
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.web.resource import Resource
from twisted.web.wsgi import WSGIResource

HERE = Path(__file__).parent


async def stream(exchange):
    async def body():
        for number in range(5):
            await deferLater(reactor, 0.02, lambda: None)
            yield b"%d\\n" % number

    await exchange.respond(200, {"Content-Type": "text/plain"}, body())


async def digest(exchange):
    import hashlib

    found = hashlib.sha256()
    async for piece in exchange.body:
        found.update(piece)
    await exchange.respond(200, body=found.hexdigest().encode())


async def wait(exchange):
    (HERE / "waiting").touch()
    try:
        await Deferred()
    except CancelledError:
        (HERE / "cancelled").touch()
        raise


async def echo(exchange):
    connection = exchange.upgrade()
    while data := await connection.read():
        await connection.write(data)


def application(environ, start_response):
    body = environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Type", "text/plain")])
    yield environ["REQUEST_METHOD"].encode() + b" " + environ["PATH_INFO"].encode() + b" "
    for _ in range(1000):
        yield b"x" * 1000
    yield body


def wsgi():
    return WSGIResource(reactor, reactor.getThreadPool(), application)
"""


class AnswerCase(LiveCase):
    acceleration = "auto"

    def served(self, *actions):
        """The port of a proxy with these matches and actions."""
        front = self.port()
        routes = [
            {"name": f"r{number}", "match": {"ports": front, **match}, "action": action}
            for number, (match, action) in enumerate(actions)
        ]
        self.proxy(*routes, acceleration=self.acceleration)
        return front

    def curl(self, port, *words, path="/"):
        command = [needed("curl"), "-sS", "--max-time", "60", *words, f"http://127.0.0.1:{port}{path}"]
        return subprocess.run(command, capture_output=True, check=True, cwd=self.directory).stdout

    def handlers(self):
        """A proxy with all of the handlers, by the first part of their path."""
        self.file("answers_of_live_test.py", _HANDLERS)
        return self.served(
            *(
                ({"path": f"/{name}*"}, {"type": "handler", "handler": f"answers_of_live_test:{name}"})
                for name in ("stream", "digest", "wait", "echo", "wsgi")
            )
        )

    # -- files ---------------------------------------------------------------------------------------

    def files(self):
        www = self.directory / "www"
        www.mkdir()
        self.data = os.urandom(_SIZE)
        (www / "big").write_bytes(self.data)
        (www / "index.html").write_text("home")
        (www / "page.html").write_text("page")
        subprocess.run(["gzip", "-k", www / "page.html"], check=True)
        return self.served(({}, {"type": "static", "root": "www"}))

    def test_files_are_sent_whole_in_parts_and_compressed(self):
        port = self.files()
        self.assertEqual(
            hashlib.sha256(self.curl(port, path="/big")).digest(), hashlib.sha256(self.data).digest()
        )
        self.assertEqual(
            self.curl(port, "-r", "1000000-20000000", path="/big"), self.data[1_000_000:20_000_001]
        )
        self.assertEqual(self.curl(port, "-r", "-5", path="/big"), self.data[-5:])
        self.assertEqual(self.curl(port, "--compressed", path="/page.html"), b"page")
        self.assertIn(b"Content-Encoding: gzip", self.curl(port, "-I", "--compressed", path="/page.html"))
        for words in (("--etag-save", "tag"), ("--etag-compare", "tag", "-w", "%{http_code}")):
            got = self.curl(port, *words, path="/index.html")
        self.assertEqual(got, b"304")
        for path in ("/../smartproxy.json", "/%2e%2e/smartproxy.json", "/..%2fsmartproxy.json"):
            self.assertEqual(
                self.curl(port, "--path-as-is", "-o", "/dev/null", "-w", "%{http_code}", path=path), b"404"
            )

    def test_an_interrupted_download_is_continued(self):
        port = self.files()
        part = self.directory / "part"
        part.write_bytes(self.data[:12_345_678])
        self.curl(port, "-C", "-", "-o", str(part), path="/big")
        self.assertEqual(hashlib.sha256(part.read_bytes()).digest(), hashlib.sha256(self.data).digest())

    def test_a_slow_reader_holds_the_file(self):
        port = self.files()
        client = self.connect(port)
        client.sendall(b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n")
        self.read(client, 1000)
        client.close()
        self.assertEqual(self.curl(port), b"home")

    # -- handlers ------------------------------------------------------------------------------------

    def test_handlers_answer_requests_of_one_connection(self):
        port = self.handlers()
        big = self.file("body", "x" * 5_000_000)
        self.assertEqual(self.curl(port, path="/stream"), b"0\n1\n2\n3\n4\n")
        told = self.curl(port, "--data-binary", f"@{big}", "-H", "Transfer-Encoding: chunked", path="/digest")
        self.assertEqual(told.decode(), hashlib.sha256(big.read_bytes()).hexdigest())
        told = self.curl(port, "--data-binary", f"@{big}", "-H", "Expect: 100-continue", path="/digest")
        self.assertEqual(told.decode(), hashlib.sha256(big.read_bytes()).hexdigest())

    def test_a_client_that_disconnects_cancels_its_handler(self):
        port = self.handlers()
        client = self.connect(port)
        client.sendall(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
        until((self.directory / "waiting").exists, "the handler called")
        client.close()
        until((self.directory / "cancelled").exists, "the handler cancelled")

    def test_an_upgrade_is_served(self):
        port = self.handlers()
        client = self.connect(port)
        client.sendall(b"GET /echo HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        received = b""
        while b"\r\n\r\n" not in received:
            received += client.recv(4096)
        self.assertTrue(received.startswith(b"HTTP/1.1 101 "))
        for size in (1, 1024, 300_000):
            self.assert_echoes(client, os.urandom(size))

    def test_a_wsgi_application_is_served(self):
        port = self.handlers()
        told = self.curl(port, "-d", "body", path="/wsgi/x?y")
        self.assertEqual(told, b"POST /wsgi/x " + b"x" * 1_000_000 + b"body")


class AcceleratedAnswerTests(AnswerCase):
    """Sockets watched by the poller."""


class UnacceleratedAnswerTests(AnswerCase):
    """Twisted's transports."""

    acceleration = "off"


del AnswerCase  # it is no test of its own
