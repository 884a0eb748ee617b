"""The backends of the benchmarks: three small servers, each in a separate process.

``python -m benchmarks.backends [--tls FILE] KIND PORT HOST [HOST ...]`` where KIND is

* ``answer``: read one message, answer with its first 64 bytes, wait for the client's end, close;
* ``source``: read eight bytes, a big-endian count, and send that many bytes as fast as they are read;
* ``hold``: greet with one byte and keep the connection until the peer closes it.

With ``--tls``, a PEM file of a certificate and its key, ``source`` speaks TLS.

Plain blocking or epoll-driven sockets: their cost falls on another CPU and is in no result, but the less it is,
the more work the proxy gets at a time.
"""

from __future__ import annotations

import argparse
import select
import socket
import ssl
import struct
import sys
import threading
from contextlib import ExitStack
from pathlib import Path

from benchmarks.messages import HANDSHAKE, HELLO, SMALL
from benchmarks.processes import LOAD_CPUS, PYTHON, Process, allow_descriptors

#: 1 MiB without repetition: the content of bulk transfers, repeated.
BLOCK = b"".join(struct.pack("!Q", n * 0x9E3779B97F4A7C15 % 2**64) for n in range(2**17))
#: Greeting of ``hold``.
GREETING = b"."

Address = tuple[str, int]


def start(
    kind: str,
    addresses: tuple[Address, ...],
    stack: ExitStack,
    directory: Path,
    certificate: Path | None = None,
) -> None:
    """Start a backend that listens on all of ``addresses``, which share a port, until ``stack`` unwinds."""
    port = addresses[0][1]
    hosts = [host for host, _ in addresses]
    tls = [] if certificate is None else ["--tls", str(certificate)]
    command = [*PYTHON, "-m", "benchmarks.backends", *tls, kind, str(port), *hosts]
    log = directory / f"backend-{kind}-{port}.log"
    process = stack.enter_context(Process(f"backend {kind}", command, log, LOAD_CPUS))
    for host in hosts:
        process.wait_until_listening(host, port)


class Loop:
    """An epoll loop over listeners and connections; subclasses define the protocol."""

    def __init__(self, listeners: list[socket.socket]) -> None:
        self._epoll = select.epoll()
        self._listeners = {listener.fileno(): listener for listener in listeners}
        self._open: dict[int, socket.socket] = {}
        for number in self._listeners:
            self._epoll.register(number, select.EPOLLIN)

    def run(self) -> None:
        while True:
            for number, _ in self._epoll.poll():
                if number in self._listeners:
                    self._accept(self._listeners[number])
                else:
                    self._read(number)

    def _accept(self, listener: socket.socket) -> None:
        connection, _ = listener.accept()
        self._open[connection.fileno()] = connection
        self._epoll.register(connection.fileno(), select.EPOLLIN)
        self.accepted(connection)

    def _read(self, number: int) -> None:
        connection = self._open[number]
        try:
            data = connection.recv(4096)
            self.received(number, data)
        except OSError:
            data = b""
        if not data:
            del self._open[number]
            connection.close()

    def accepted(self, connection: socket.socket) -> None:
        """``connection`` was accepted."""

    def received(self, number: int, data: bytes) -> None:
        """``data`` was received on connection ``number``; ``b""`` means that the peer has closed."""


class Answer(Loop):
    """Answer a message with its first 64 bytes once it is complete."""

    def __init__(self, listeners: list[socket.socket]) -> None:
        super().__init__(listeners)
        self._begun: dict[int, bytes] = {}

    def received(self, number: int, data: bytes) -> None:
        before = self._begun.pop(number, b"")
        message = before + data
        wanted = HELLO if message[:1] == bytes((HANDSHAKE,)) else SMALL
        if len(before) < wanted <= len(message):
            self._open[number].sendall(message[:SMALL])
        elif data:
            self._begun[number] = message


class Hold(Loop):
    """Greet, and keep the connection."""

    def accepted(self, connection: socket.socket) -> None:
        connection.sendall(GREETING)


class Source:
    """Send as many bytes as requested. One blocking thread per connection is the fastest way in Python."""

    def __init__(self, listeners: list[socket.socket], context: ssl.SSLContext | None = None) -> None:
        self._listeners = listeners
        self._context = context

    def run(self) -> None:
        (listener,) = self._listeners
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=self._send, args=(connection,), daemon=True).start()

    def _send(self, connection: socket.socket) -> None:
        if self._context is not None:
            try:
                connection = self._context.wrap_socket(connection, server_side=True)
            except OSError:
                return  # a probe of Process.wait_until_listening
        with connection:
            request = connection.recv(8)  # one segment, and one record
            total = struct.unpack("!Q", request)[0] if len(request) == 8 else 0
            block = memoryview(BLOCK)
            sent = 0
            while sent < total:
                at = sent % len(block)
                sent += connection.send(block[at : at + total - sent])
            if isinstance(connection, ssl.SSLSocket):
                connection.unwrap()  # an end without close_notify would be a truncation


LOOPS: dict[str, type[Loop]] = {"answer": Answer, "hold": Hold}


def _arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.backends")
    parser.add_argument("--tls", type=Path)
    parser.add_argument("kind", choices=[*LOOPS, "source"])
    parser.add_argument("port", type=int)
    parser.add_argument("hosts", nargs="+")
    return parser.parse_args(argv)


def main(argv: list[str]) -> None:
    given = _arguments(argv)
    allow_descriptors(0)
    listeners = [socket.create_server((host, given.port), backlog=4096) for host in given.hosts]
    if given.kind != "source":
        LOOPS[given.kind](listeners).run()
        return
    context = None
    if given.tls is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(given.tls)
    Source(listeners, context).run()


if __name__ == "__main__":
    main(sys.argv[1:])
