"""Small HTTP/1.1 servers to proxy to, made of Python's own, and routes of HTTP before them."""

from __future__ import annotations

import base64
import hashlib
import http.client
import os
import struct
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.live.case import route
from tests.live.waiting import PATIENCE

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3


class Pages(BaseHTTPRequestHandler):
    """Answers with what a subclass's ``page`` returns: status, content type and body."""

    protocol_version = "HTTP/1.1"

    def page(self):
        raise NotImplementedError

    def do_GET(self):
        status, kind, body = self.page()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_POST = do_HEAD = do_PUT = do_GET

    def pieces(self):
        """The body of the request, in either framing."""
        if self.headers.get("Transfer-Encoding", "") == "chunked":
            while size := int(self.rfile.readline().partition(b";")[0], 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return
        left = int(self.headers.get("Content-Length", 0))
        while left:
            piece = self.rfile.read(min(left, 1 << 18))
            left -= len(piece)
            yield piece

    def log_message(self, *args):
        """Nothing: a test looks at what it has received."""


def serving(case, handler):
    """A server of this handler class until the test ends: the target of a route."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    case.addCleanup(thread.join, PATIENCE)
    case.addCleanup(server.server_close)
    case.addCleanup(server.shutdown)
    return {"host": "127.0.0.1", "port": server.server_address[1]}


def before(case, target, *, action=None, **keys):
    """The port of a proxy that speaks HTTP to ``target``, and the proxy."""
    port = case.port()
    proxy = case.proxy(route("web", port, target, action={"protocol": "http", **(action or {})}), **keys)
    return port, proxy


def fetched(port, path="/", method="GET", body=None, headers=None):
    """Status, headers and body of one request."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return response.status, response.headers, response.read()
    finally:
        connection.close()


def websocket_accept(key):
    """What a server answers to a client's key."""
    return base64.b64encode(hashlib.sha1(key.encode() + _GUID).digest()).decode()  # noqa: S324 - the protocol's own


def read_frame(stream):
    """First byte and payload of one frame of a client, which is masked."""
    begin, size = stream.read(2)
    size &= 0x7F
    if size >= 126:
        size = int.from_bytes(stream.read(2 if size == 126 else 8), "big")
    mask = stream.read(4)
    return begin, bytes(byte ^ mask[at % 4] for at, byte in enumerate(stream.read(size)))


def frame(begin, payload):
    """One frame of a server, with this first byte: FIN and opcode."""
    count = len(payload)
    if count < 126:
        size = bytes((count,))
    else:
        size = b"\x7e" + struct.pack("!H", count) if count < 1 << 16 else b"\x7f" + struct.pack("!Q", count)
    return bytes((begin,)) + size + payload


class Cgi(Pages):
    """Runs a CGI program (RFC 3875), with the variables ``environment`` beside those of the request."""

    program = ""
    environment: dict

    def page(self):
        path, _, query = self.path.partition("?")
        given = {
            "PATH": os.environ["PATH"],
            "REQUEST_METHOD": self.command,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "HTTP_GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            "REMOTE_ADDR": self.headers.get("X-Forwarded-For", ""),
            "SERVER_PROTOCOL": "HTTP/1.1",
            **self.environment,
        }
        done = subprocess.run(
            [self.program], input=b"".join(self.pieces()), capture_output=True, check=True, env=given
        )
        head, _, body = done.stdout.partition(b"\r\n\r\n")
        fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        return int(fields.get("Status", "200")[:3]), fields["Content-Type"], body
