"""The servers behind the proxies, which run on the CPUs of the load.

nginx answers ``/`` with two bytes and ``/1m`` with a file of 1 MB. ``python -m benchmarks.http.target PORT`` reads uploads
and answers them when they are complete, and echoes what follows an upgrade to WebSocket.
"""

from __future__ import annotations

import re
import select
import socket
import sys
from contextlib import ExitStack
from pathlib import Path
from tempfile import mkdtemp

from benchmarks.backends import BLOCK
from benchmarks.http.contestants import HttpJob, nginx_program
from benchmarks.processes import LOAD_CPUS, PYTHON, Process, allow_descriptors, free_port
from benchmarks.tls import make_certificate

_HOST = "127.0.0.11"
#: Bytes of a large body.
SIZE = 1_000_000
_NGINX = """\
daemon off;
master_process off;
pid {directory}/nginx.pid;
error_log stderr;
events {{ worker_connections 8000; }}
http {{
    access_log off;
    client_body_temp_path {directory};
    proxy_temp_path {directory};
    fastcgi_temp_path {directory};
    uwsgi_temp_path {directory};
    scgi_temp_path {directory};
    sendfile on;
    keepalive_requests 1000000000;
    keepalive_timeout 1h;
    server {{
        listen {host}:{port} backlog=4096;
        root {directory};
        location = /1m {{ default_type application/octet-stream; }}
        location / {{ return 200 ok; }}
    }}
}}
"""


def start(stack: ExitStack, directory: Path) -> HttpJob:
    """Start both until ``stack`` unwinds. Returns the task of a proxy in front of them."""
    place = Path(mkdtemp(prefix="target-", dir=directory))
    port, other = free_port(), free_port()
    (place / "1m").write_bytes(BLOCK[:SIZE])
    configuration = place / "nginx.conf"
    configuration.write_text(_NGINX.format(directory=place, host=_HOST, port=port))
    web = [nginx_program(), "-c", str(configuration), "-p", str(place)]
    others = [*PYTHON, "-m", "benchmarks.http.target", str(other)]
    for name, command, number in (("target", web, port), ("other target", others, other)):
        process = Process(name, command, place / f"{number}.log", LOAD_CPUS)
        stack.enter_context(process).wait_until_listening(_HOST, number)
    return HttpJob((_HOST, port), (_HOST, other), make_certificate(directory))


_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
_SWITCHED = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)


class _Server:
    """One connection: a head is awaited, or the rest of a body, or everything is echoed."""

    __slots__ = ("_head", "_is_tunnel", "_left", "_sock")

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._head = b""
        self._left = 0
        self._is_tunnel = False

    def read(self) -> bool:
        """Read once. Returns whether the connection goes on."""
        if self._left:
            count = self._sock.recv_into(_BUFFER, self._left, socket.MSG_TRUNC)
            self._left -= count
            if not self._left:
                self._sock.sendall(_ANSWER)
            return count > 0
        data = self._sock.recv(65536)
        if self._is_tunnel:
            self._sock.sendall(data)
        else:
            self._read_head(data)
        return bool(data)

    def _read_head(self, data: bytes) -> None:
        self._head += data
        head, end, body = self._head.partition(b"\r\n\r\n")
        if not end:
            return
        self._head = b""
        if b"\r\nupgrade: websocket" in head.lower():
            self._is_tunnel = True
            self._sock.sendall(_SWITCHED)
            return
        found = _LENGTH.search(head)
        self._left = int(found[1] if found else 0) - len(body)
        if not self._left:
            self._sock.sendall(_ANSWER)


_BUFFER = bytearray(SIZE)


def main(port: int) -> None:
    allow_descriptors(0)
    listener = socket.create_server((_HOST, port), backlog=4096)
    poller = select.epoll()
    poller.register(listener.fileno(), select.EPOLLIN)
    servers: dict[int, tuple[socket.socket, _Server]] = {}
    while True:
        for number, _ in poller.poll():
            if number == listener.fileno():
                accepted, _ = listener.accept()
                accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                servers[accepted.fileno()] = accepted, _Server(accepted)
                poller.register(accepted.fileno(), select.EPOLLIN)
                continue
            sock, server = servers[number]
            try:
                goes_on = server.read()
            except OSError:
                goes_on = False
            if not goes_on:
                del servers[number]
                sock.close()


if __name__ == "__main__":
    main(int(sys.argv[1]))
