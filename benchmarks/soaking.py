"""The conversations of a soak: the clients' side, and the backends, which run in a separate process.

``python -m benchmarks.soaking SEED CONTROL ROUTE=PORT ...`` runs them: a backend for each route, and a control port
that sends the byte counters as JSON to each connection.

A conversation consists of a prelude that the proxy inspects (nothing, a ClientHello, or an HTTP head), an order, and
content in both directions, each followed by its SHA-256. Both ends count payload, so that their counters can be
compared with the proxy's.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import signal
import socket
import struct
import sys
from collections.abc import Coroutine
from dataclasses import dataclass
from random import Random
from typing import Any, NamedTuple

from benchmarks.backends import BLOCK
from smartproxy.wire import client_hello, proxy_v1, proxy_v2

HOST = "127.0.0.1"
#: A peer whose PROXY headers are accepted.
TRUSTED = "127.0.0.2"
CLEAN = ("plain", "announced", "sni", "http")
FAULTY = "faulty"
#: Share of conversations on the faulty route with a fault, on each side.
_FAULTS = 0.5
_DIGEST = hashlib.sha256().digest_size
_RECORD_HEAD = 5
_CHUNK = 65536
_CONTENT = BLOCK + BLOCK[:_CHUNK]
#: SO_LINGER with timeout 0: closing sends a RST.
_AT_ONCE = struct.pack("ii", 1, 0)


class CorruptError(Exception):
    """The content received is complete but differs from what was sent."""


class Order(NamedTuple):
    """The content of one conversation.

    :ivar up: bytes from the client.
    :ivar down: bytes to the client.
    :ivar piece: bytes per write.
    :ivar pause: milliseconds after each write.
    :ivar late: milliseconds between the client's FIN and the answer; 0 does not wait for the FIN.
    :ivar backend_first: the backend sends its FIN first.
    """

    up: int
    down: int
    piece: int = _CHUNK
    pause: int = 0
    late: int = 0
    backend_first: bool = False


_ORDER = struct.Struct("!IIIHH?")


@dataclass(frozen=True, slots=True)
class Talk:
    """One end of a connection, and its byte counters."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    moved: dict[str, int]

    async def write(self, data: bytes) -> None:
        self.writer.write(data)
        self.moved["sent"] += len(data)
        await self.writer.drain()

    async def read(self, size: int) -> bytes:
        """Read exactly ``size`` bytes.

        :raises asyncio.IncompleteReadError: if the connection ends before.
        """
        try:
            data = await self.reader.readexactly(size)
        except asyncio.IncompleteReadError as cut:
            self.moved["received"] += len(cut.partial)
            raise
        self.moved["received"] += size
        return data

    async def send(self, size: int, order: Order) -> None:
        """Send content and its digest."""
        digest = hashlib.sha256()
        for at in range(0, size, order.piece):
            begin = at % len(BLOCK)
            data = _CONTENT[begin : begin + min(order.piece, size - at)]
            digest.update(data)
            await self.write(data)
            await asyncio.sleep(order.pause / 1000)
        await self.write(digest.digest())

    async def receive(self, size: int) -> None:
        """Receive content and compare its digest.

        :raises CorruptError: if the digest differs.
        """
        digest = hashlib.sha256()
        for at in range(0, size, _CHUNK):
            digest.update(await self.read(min(_CHUNK, size - at)))
        if digest.digest() != await self.read(_DIGEST):
            raise CorruptError(f"{size} bytes received differ from those sent")

    async def at_end(self) -> None:
        """Wait for the peer's FIN.

        :raises CorruptError: if more bytes come before it.
        """
        if await self.reader.read(1):
            raise CorruptError("more bytes received than were sent")

    def reset(self) -> None:
        """Close with a RST instead of a FIN."""
        sock = self.writer.get_extra_info("socket")
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
        self.writer.transport.abort()


class Backend:
    """The backend of one route, with byte counters.

    :param random: source of its faults; ``None`` for a backend without faults.
    """

    def __init__(self, route: str, random: Random | None) -> None:
        self.moved = {"received": 0, "sent": 0, "corrupt": 0}
        self._route = route
        self._random = random

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talk = Talk(reader, writer, self.moved)
        fault = self._fault(talk)
        try:
            await self._converse(talk)
        except CorruptError:
            self.moved["corrupt"] += 1
        except (OSError, asyncio.IncompleteReadError):
            pass  # a fault of either side, or a client that sent nothing; clean routes are judged by their totals
        finally:
            if fault:
                fault.cancel()
            writer.close()

    def _fault(self, talk: Talk) -> asyncio.TimerHandle | None:
        if self._random is None or self._random.random() > _FAULTS:
            return None
        what = self._random.choice((talk.reset, talk.writer.close))
        return asyncio.get_running_loop().call_later(self._random.uniform(0, 1), what)

    async def _converse(self, talk: Talk) -> None:
        await self._prelude(talk)
        order = Order(*_ORDER.unpack(await talk.read(_ORDER.size)))
        if self._random and self._random.random() < _FAULTS / 5:
            await asyncio.sleep(self._random.uniform(1, 8))  # silent for longer than the route allows
        if order.late:
            await talk.receive(order.up)
            await talk.at_end()
            await asyncio.sleep(order.late / 1000)
            await talk.send(order.down, order)
            return
        await asyncio.gather(talk.receive(order.up), talk.send(order.down, order))
        if order.backend_first:
            talk.writer.write_eof()
        await talk.at_end()

    async def _prelude(self, talk: Talk) -> None:
        if self._route == "sni":
            head = await talk.read(_RECORD_HEAD)
            await talk.read(int.from_bytes(head[3:], "big"))
        elif self._route == "http":
            await talk.read(len(web_head(self._route)))


def web_head(name: str) -> bytes:
    return f"GET / HTTP/1.1\r\nHost: {name}.soak.test\r\nConnection: close\r\n\r\n".encode()


def hello(name: str, random: Random) -> bytes:
    """A ClientHello, randomly with a post-quantum key share, which makes it long."""
    return client_hello.build(f"{name}.soak.test", post_quantum=random.random() < _FAULTS)


def header(random: Random) -> bytes:
    """A PROXY header of a random version that announces one of 20 client addresses."""
    build = random.choice((proxy_v1.build, proxy_v2.build))
    client = f"192.0.2.{random.randint(1, 20)}", random.randint(1024, 65535)
    return build(client, ("198.51.100.1", 443))


async def connect(port: int, source: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection(HOST, port, local_addr=(source, 0))


async def begin(talk: Talk, route: str, random: Random) -> None:
    """Send the bytes before an order, in one of five cases in two pieces."""
    if route == "announced":
        talk.writer.write(header(random))  # the proxy consumes it, so that it is not payload
    prelude = {"sni": hello(route, random), "http": web_head(route)}.get(route, b"")
    cut = random.randint(0, len(prelude)) if random.random() < 0.2 else 0
    await talk.write(prelude[:cut])
    await asyncio.sleep(0.02 if cut else 0)
    await talk.write(prelude[cut:])


async def converse(talk: Talk, order: Order) -> None:
    """Carry out the client's side of an order, up to the FIN of both ends."""
    await talk.write(_ORDER.pack(*order))
    if order.late:
        await talk.send(order.up, order)
        talk.writer.write_eof()
        await talk.receive(order.down)
    else:
        await asyncio.gather(talk.send(order.up, order), talk.receive(order.down))
    if order.backend_first:
        await talk.at_end()
    if not order.late:
        talk.writer.write_eof()
    await talk.at_end()


async def _serve(seed: str, control: int, ports: dict[str, int]) -> None:
    backends = {
        route: Backend(route, Random(f"{seed}-backend") if route == FAULTY else None) for route in ports
    }

    async def tell(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(json.dumps({route: backend.moved for route, backend in backends.items()}).encode())
        writer.close()

    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    starting: list[Coroutine[Any, Any, asyncio.Server]] = [
        asyncio.start_server(backends[route].serve, HOST, port, backlog=512) for route, port in ports.items()
    ]
    await asyncio.gather(*starting)
    await asyncio.start_server(tell, HOST, control)
    await ended.wait()


if __name__ == "__main__":
    pairs = (pair.partition("=") for pair in sys.argv[3:])
    asyncio.run(_serve(sys.argv[1], int(sys.argv[2]), {route: int(port) for route, _, port in pairs}))
