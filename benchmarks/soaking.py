"""What a soak says: the conversations, the clients' side of them, and the backends, which are a process.

``python -m benchmarks.soaking SEED CONTROL ROUTE=PORT ...`` is that process: a backend for each route, and a
control port that tells whoever connects, as JSON, what has moved so far.

A conversation is a prelude that a proxy looks at (nothing, a ClientHello, or an HTTP head), an order, and
content both ways, each with its SHA-256 behind it. Both ends count payload, so that three books can be
compared: theirs and the proxy's.
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
#: A peer that may announce clients.
TRUSTED = "127.0.0.2"
CLEAN = ("plain", "announced", "sni", "http")
FAULTY = "faulty"
#: Half of what happens on the faulty route goes wrong, on each side.
_FAULTS = 0.5
_DIGEST = hashlib.sha256().digest_size
_RECORD_HEAD = 5
_CHUNK = 65536
_CONTENT = BLOCK + BLOCK[:_CHUNK]
#: SO_LINGER with no time: closing resets.
_AT_ONCE = struct.pack("ii", 1, 0)


class CorruptError(Exception):
    """Content came whole, and is not what was sent."""


class Order(NamedTuple):
    """What is to be said in one conversation.

    :ivar up: bytes from the client, and :ivar down: to it.
    :ivar piece: bytes a write, and :ivar pause: milliseconds behind each.
    :ivar late: milliseconds that the answer waits once the client has ended; 0 does not wait for that.
    :ivar backend_first: the backend ends its half first.
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
    """One end of a connection, and what has moved through it."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    moved: dict[str, int]

    async def write(self, data: bytes) -> None:
        self.writer.write(data)
        self.moved["sent"] += len(data)
        await self.writer.drain()

    async def read(self, size: int) -> bytes:
        """:raises asyncio.IncompleteReadError: where the end comes before."""
        try:
            data = await self.reader.readexactly(size)
        except asyncio.IncompleteReadError as cut:
            self.moved["received"] += len(cut.partial)
            raise
        self.moved["received"] += size
        return data

    async def send(self, size: int, order: Order) -> None:
        """Content, and its digest."""
        digest = hashlib.sha256()
        for at in range(0, size, order.piece):
            begin = at % len(BLOCK)
            data = _CONTENT[begin : begin + min(order.piece, size - at)]
            digest.update(data)
            await self.write(data)
            await asyncio.sleep(order.pause / 1000)
        await self.write(digest.digest())

    async def receive(self, size: int) -> None:
        """:raises CorruptError: where the digest is another."""
        digest = hashlib.sha256()
        for at in range(0, size, _CHUNK):
            digest.update(await self.read(min(_CHUNK, size - at)))
        if digest.digest() != await self.read(_DIGEST):
            raise CorruptError(f"{size} bytes came, and not those that were sent")

    async def at_end(self) -> None:
        """:raises CorruptError: where there is more."""
        if await self.reader.read(1):
            raise CorruptError("more came than was sent")

    def reset(self) -> None:
        """RST instead of FIN."""
        sock = self.writer.get_extra_info("socket")
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
        self.writer.transport.abort()


class Backend:
    """What answers on one route, and counts.

    :param random: where it misbehaves from; ``None`` for one that does not.
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
            pass  # a fault of either side, or a client that said nothing; clean routes are judged by their sums
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
            await asyncio.sleep(self._random.uniform(1, 8))  # says nothing for longer than the route allows
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
    """A ClientHello, short or long."""
    return client_hello.build(f"{name}.soak.test", post_quantum=random.random() < _FAULTS)


def header(random: Random) -> bytes:
    """A PROXY header of either version, that announces one of a few clients."""
    build = random.choice((proxy_v1.build, proxy_v2.build))
    client = f"192.0.2.{random.randint(1, 20)}", random.randint(1024, 65535)
    return build(client, ("198.51.100.1", 443))


async def connect(port: int, source: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection(HOST, port, local_addr=(source, 0))


async def begin(talk: Talk, route: str, random: Random) -> None:
    """What comes before an order; now and then in two pieces."""
    if route == "announced":
        talk.writer.write(header(random))  # the proxy takes it away: no payload
    prelude = {"sni": hello(route, random), "http": web_head(route)}.get(route, b"")
    cut = random.randint(0, len(prelude)) if random.random() < 0.2 else 0
    await talk.write(prelude[:cut])
    await asyncio.sleep(0.02 if cut else 0)
    await talk.write(prelude[cut:])


async def converse(talk: Talk, order: Order) -> None:
    """The client's side of an order, up to both ends."""
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
