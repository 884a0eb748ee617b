"""The conversations of a soak, which clients and backends share.

A conversation consists of a prelude that the proxy inspects (nothing, a ClientHello, or an HTTP head), an order, and
content in both directions, each followed by its SHA-256. Both ends count payload, so that their counters can be
compared with the proxy's. An urgent byte (``MSG_OOB``) is no payload: a receiver that does not ask for it never reads it.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import os
import socket
import struct
import termios
from dataclasses import dataclass
from random import Random
from typing import Any, NamedTuple

from benchmarks.backends import BLOCK
from smartproxy.wire import client_hello, proxy_v1, proxy_v2
from smartproxy.wire.verdict import Done

HOST = "127.0.0.1"
#: A peer whose PROXY headers are accepted.
TRUSTED = "127.0.0.2"
#: Routes whose TLS ends in the proxy; to the target of the last one it is encrypted again.
SECURED = ("secure", "reencrypt")
#: Routes over which every conversation ends as it must, and every byte is counted. ``slow`` has slow readers; ``spare``
#: is removed and added by reloads.
CLEAN = ("plain", "announced", "sni", "http", *SECURED, "slow", "spare")
#: The route whose conversations end with a reset behind their last bytes, which are counted, too.
RUDE = "rude"
#: The route on which both sides reset at random.
FAULTY = "faulty"
#: All routes with a backend.
ROUTES = (*CLEAN, RUDE, FAULTY)
#: Routes that speak HTTP, over which every byte is counted, and one with cut messages. They have one target.
WEB = ("web", "web-other")
WEB_FAULTY = "web-faulty"

_DIGEST = hashlib.sha256().digest_size
_RECORD_HEAD = 5
#: Less than a conversation may take, and much for a few kilobytes, also on a busy machine.
_ARRIVES_WITHIN = 50.0
_CHUNK = 65536
_CONTENT = BLOCK + BLOCK[:_CHUNK]
#: SO_LINGER with timeout 0: closing sends a RST.
_AT_ONCE = struct.pack("ii", 1, 0)


class CorruptError(Exception):
    """The content received is complete but differs from what was sent, or it has another end."""


class Order(NamedTuple):
    """The content of one conversation.

    :ivar up: bytes from the client.
    :ivar down: bytes to the client.
    :ivar piece: bytes per write.
    :ivar pause: milliseconds after each write.
    :ivar late: milliseconds between the client's FIN and the answer; 0 does not wait for the FIN.
    :ivar backend_first: the backend sends its FIN first.
    :ivar urgent: each side sends an urgent byte: 1 within its content, 2 behind it, right before its FIN.
    :ivar more: another order follows in place of the FINs.
    """

    up: int
    down: int
    piece: int = _CHUNK
    pause: int = 0
    late: int = 0
    backend_first: bool = False
    urgent: int = 0
    more: bool = False


_ORDER = struct.Struct("!IIIHH?B?")


@dataclass(frozen=True, slots=True)
class Talk:
    """One end of a connection, and its byte counters.

    :ivar reader: an ``asyncio.StreamReader``, or a ``SecuredStream``, as is the writer.
    :ivar pace: seconds between two reads of 64 KiB.
    """

    reader: Any
    writer: Any
    moved: dict[str, int]
    pace: float = 0.0

    async def write(self, data: bytes) -> None:
        self.writer.write(data)
        self.moved["sent"] += len(data)
        await self.writer.drain()

    async def read(self, size: int) -> bytes:
        """Read exactly ``size`` bytes.

        :raises asyncio.IncompleteReadError: if the connection ends before.
        """
        try:
            data: bytes = await self.reader.readexactly(size)
        except asyncio.IncompleteReadError as cut:
            self.moved["received"] += len(cut.partial)
            raise
        self.moved["received"] += size
        return data

    async def read_order(self) -> Order:
        return Order(*_ORDER.unpack(await self.read(_ORDER.size)))

    async def write_order(self, order: Order) -> None:
        await self.write(_ORDER.pack(*order))

    async def send(self, size: int, order: Order) -> None:
        """Send content and its digest."""
        digest = hashlib.sha256()
        for at in range(0, size, order.piece):
            begin = at % len(BLOCK)
            data = _CONTENT[begin : begin + min(order.piece, size - at)]
            digest.update(data)
            await self.write(data)
            if order.urgent == 1 and at <= size // 2 < at + order.piece:
                await self.urge()
            await asyncio.sleep(order.pause / 1000)
        await self.write(digest.digest())

    async def receive(self, size: int) -> None:
        """Receive content and compare its digest.

        :raises CorruptError: if the digest differs.
        """
        digest = hashlib.sha256()
        for at in range(0, size, _CHUNK):
            digest.update(await self.read(min(_CHUNK, size - at)))
            if self.pace:
                await asyncio.sleep(self.pace)
        if digest.digest() != await self.read(_DIGEST):
            raise CorruptError(f"{size} bytes received differ from those sent")

    async def end(self, order: Order) -> None:
        """Send a FIN, behind an urgent byte if the order wants one there."""
        if order.urgent == 2:
            await self.urge()
        self.writer.write_eof()

    async def urge(self) -> None:
        """Send an urgent byte behind everything written.

        One in each direction of a connection: if a second one follows before the first was read, the kernel delivers the
        first as a normal byte.
        """
        sock = self.writer.get_extra_info("socket")
        with socket.socket(fileno=os.dup(sock.fileno())) as twin:
            while True:
                if not self.writer.transport.get_write_buffer_size():
                    with contextlib.suppress(BlockingIOError):
                        twin.send(b"!", socket.MSG_OOB)
                        return
                await asyncio.sleep(0.01)

    async def at_end(self) -> None:
        """Wait for the peer's FIN.

        :raises CorruptError: if more bytes come before it.
        """
        if await self.reader.read(1):
            raise CorruptError("more bytes received than were sent")

    async def at_reset(self) -> None:
        """Wait for a reset.

        :raises CorruptError: at a FIN: what was cut would look whole.
        """
        try:
            more = await self.reader.read(1)
        except ConnectionError:
            return
        raise CorruptError("more bytes received than were sent" if more else "a FIN in place of a RST")

    async def leave_unread(self, size: int) -> None:
        """Wait until the kernel holds ``size`` bytes that are never read; they count as received.

        :raises TimeoutError: if they do not come in time.
        """
        sock = self.writer.get_extra_info("socket")
        until = asyncio.get_running_loop().time() + _ARRIVES_WITHIN
        while struct.unpack("i", fcntl.ioctl(sock.fileno(), termios.FIONREAD, bytes(4)))[0] < size:
            if asyncio.get_running_loop().time() > until:
                raise TimeoutError(f"{size} bytes were not received")
            await asyncio.sleep(0.002)
        self.moved["received"] += size

    def deaf(self) -> None:
        """Read nothing more into the process."""
        self.writer.transport.pause_reading()

    def reset(self) -> None:
        """Close with a RST instead of a FIN."""
        sock = self.writer.get_extra_info("socket")
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
        self.writer.transport.abort()

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()


def web_head(name: str) -> bytes:
    return f"GET / HTTP/1.1\r\nHost: {name}.soak.test\r\nConnection: close\r\n\r\n".encode()


def hello(name: str, random: Random) -> bytes:
    """A ClientHello: every second one has a post-quantum key share, which makes it long; some are in tiny records."""
    size = random.randint(1, 40) if random.random() < 0.1 else 1 << 14
    return client_hello.build(f"{name}.soak.test", post_quantum=random.random() < 0.5, record_size=size)


async def read_hello(talk: Talk) -> None:
    """Read a ClientHello in records of any size."""
    data = b""
    while not isinstance(client_hello.parse(data), Done):
        head = await talk.read(_RECORD_HEAD)
        data += head + await talk.read(int.from_bytes(head[3:], "big"))


def header(random: Random) -> bytes:
    """A PROXY header of a random version that announces one of 20 client addresses."""
    build = random.choice((proxy_v1.build, proxy_v2.build))
    client = f"192.0.2.{random.randint(1, 20)}", random.randint(1024, 65535)
    return build(client, ("198.51.100.1", 443))


async def connect(
    port: int, source: str, receive_buffer: int = 0
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect from the address ``source``.

    :param receive_buffer: bytes; 0 is the kernel's choice.
    """
    sock = socket.socket()
    try:
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_IP, socket.IP_BIND_ADDRESS_NO_PORT, 1)
        sock.bind((source, 0))
        await asyncio.get_running_loop().sock_connect(sock, (HOST, port))
    except BaseException:
        sock.close()
        raise
    return await asyncio.open_connection(sock=sock)


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
    await talk.write_order(order)
    if order.late:
        await talk.send(order.up, order)
        await talk.end(order)
        await talk.receive(order.down)
    else:
        await asyncio.gather(talk.send(order.up, order), talk.receive(order.down))
    if order.more:
        return
    if order.backend_first:
        await talk.at_end()
    if not order.late:
        await talk.end(order)
    await talk.at_end()
