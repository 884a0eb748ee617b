"""HTTP in a soak: its target, and its clients.

Clean routes: kept connections whose requests alternate between two routes, in both framings and pipelined; slow readers;
WebSockets. Every byte of theirs is compared with the proxy's counters, by route. On another port there are clients and answers
that are cut, and hostile heads behind an honest request; what the proxy must do with each is checked.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

from benchmarks.backends import BLOCK
from benchmarks.soak.ledger import Ledger
from benchmarks.soak.talk import HOST, WEB, WEB_FAULTY, CorruptError, connect

_NAME = b"web.soak.example"
_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)
_ASKED = re.compile(rb"[A-Z]+ /[a-z-]+/([a-z]+)\?down=([0-9]+)&chunked=([01]) ")
_UPGRADE = b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
_CHUNK = 20_000
#: A head after which the connection must be answered with 400 and closed.
_HOSTILE = (
    b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    b"GET / HTTP/1.1\nHost: a\n\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100),
)


def _content(size: int) -> bytes:
    return BLOCK[size % 1000 : size % 1000 + size]


def _framed(body: bytes, *, chunked: bool) -> bytes:
    """The field that frames a body, the blank line, and the body."""
    if not chunked:
        return b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    pieces = (body[at : at + _CHUNK] for at in range(0, len(body), _CHUNK))
    return (
        b"Transfer-Encoding: chunked\r\n\r\n"
        + b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
        + b"0\r\n\r\n"
    )


async def _read_message(reader: asyncio.StreamReader) -> tuple[bytes, bytes, int]:
    """Head, content, and the bytes of both on the wire."""
    head = await reader.readuntil(b"\r\n\r\n")
    if b"transfer-encoding: chunked" not in head.lower():
        found = _LENGTH.search(head)
        body = await reader.readexactly(int(found[1]) if found else 0)
        return head, body, len(head) + len(body)
    body, size = b"", len(head)
    while True:
        line = await reader.readuntil(b"\r\n")
        piece = await reader.readexactly(int(line, 16) + 2)
        size += len(line) + len(piece)
        body += piece[:-2]
        if len(piece) == 2:
            return head, body, size


class WebTarget:
    """Answers ``/ROUTE/give`` with content and the digest of the request's; ``cut`` ends within it, ``ws`` echoes."""

    def __init__(self) -> None:
        self.moved = {"received": 0, "sent": 0, "corrupt": 0, "resumptions refused": 0}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._answer(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError):
            pass  # the proxy has closed a kept connection, or a client has left
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head, body, _ = await _read_message(reader)
        asked = _ASKED.match(head)
        if asked is None or head.count(b"\r\nHost:") != 1:
            self.moved["corrupt"] += 1
            return False
        kind, down, chunked = asked[1], int(asked[2]), asked[3] == b"1"
        if kind == b"ws":
            writer.write(b"HTTP/1.1 101 Switching Protocols\r\n" + _UPGRADE + b"\r\n")
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
            return False
        digest = hashlib.sha256(body).hexdigest().encode()
        answer = b"HTTP/1.1 200 OK\r\nX-Digest: %b\r\n%b" % (digest, _framed(_content(down), chunked=chunked))
        if kind == b"cut":
            writer.write(answer[: len(answer) // 2])
            return False
        writer.write(answer)
        await writer.drain()
        return True


class _Visitor:
    """A client's connection, which counts its bytes in the ledger."""

    def __init__(self, reader: Any, writer: Any, ledger: Ledger) -> None:
        self.reader = reader
        self.writer = writer
        self._ledger = ledger

    def send(self, route: str, data: bytes) -> None:
        self.writer.write(data)
        self._ledger.moved[route]["sent"] += len(data)

    def ask(self, route: str, body: bytes, down: int, *, chunked: bool, kind: str = "give") -> None:
        line = b"POST /%b/%b?down=%d&chunked=%d HTTP/1.1" % (route.encode(), kind.encode(), down, chunked)
        self.send(route, b"%b\r\nHost: %b\r\n%b" % (line, _NAME, _framed(body, chunked=chunked)))

    async def receive(self, route: str, body: bytes, down: int) -> None:
        """Receive the answer to a request with ``body``.

        :raises CorruptError: if it is another one.
        """
        head, content, size = await _read_message(self.reader)
        self._ledger.moved[route]["received"] += size
        digest = hashlib.sha256(body).hexdigest().encode()
        if not head.startswith(b"HTTP/1.1 200 ") or digest not in head or content != _content(down):
            raise CorruptError(f"answered {head[:60]!r} and {len(content)} bytes")

    async def read_rest(self) -> bytes:
        """What is received up to the end; of a reset, nothing."""
        try:
            rest: bytes = await self.reader.read()
        except ConnectionError:
            return b""
        return rest

    def reset(self) -> None:
        self.writer.transport.abort()


class WebClients:
    """Conversations by kind.

    :ivar weights: how often each kind is chosen.
    """

    def __init__(self, port: int, faulty: int, ledger: Ledger) -> None:
        self._ports = {**dict.fromkeys(WEB, port), WEB_FAULTY: faulty}
        self._ledger = ledger
        self._acts: dict[str, tuple[int, Callable[[Random], Awaitable[None]]]] = {
            "web, kept": (20, self._kept),
            "web, pipelined": (8, self._pipelined),
            "web, slow reader": (3, self._slow),
            "web, tunnel": (8, self._tunnel),
            "web, cut request": (5, self._cut_request),
            "web, cut answer": (5, self._cut_answer),
            "web, hostile": (8, self._hostile),
        }
        self.weights = {kind: weight for kind, (weight, _) in self._acts.items()}

    async def attempt(self, kind: str, random: Random) -> None:
        await self._acts[kind][1](random)

    async def _visit(self, first: str, random: Random, receive_buffer: int = 0) -> _Visitor:
        reader, writer = await connect(self._ports[first], f"127.0.1.{random.randint(1, 20)}", receive_buffer)
        self._ledger.opened[first] += 1
        return _Visitor(reader, writer, self._ledger)

    async def _kept(self, random: Random) -> None:
        route = random.choice(WEB)
        visitor = await self._visit(route, random)
        for _ in range(random.randint(1, 15)):
            body, down = (
                _content(random.choice((0, 10, 3000, 200_000))),
                random.choice((0, 10, 3000, 400_000)),
            )
            visitor.ask(route, body, down, chunked=random.random() < 0.5)
            await visitor.receive(route, body, down)
            await asyncio.sleep(random.uniform(0, 0.1))
            route = random.choice(WEB)
        await self._leave(visitor)

    async def _leave(self, visitor: _Visitor) -> None:
        visitor.writer.write_eof()
        if rest := await visitor.read_rest():
            raise CorruptError(f"at the end {rest[:60]!r}")
        visitor.writer.close()

    async def _pipelined(self, random: Random) -> None:
        """The next requests are sent before the first is answered."""
        routes = [random.choice(WEB) for _ in range(random.randint(2, 20))]
        visitor = await self._visit(routes[0], random)
        for number, route in enumerate(routes):
            visitor.ask(route, b"", number, chunked=False)
        for number, route in enumerate(routes):
            await visitor.receive(route, b"", number)
        await self._leave(visitor)

    async def _slow(self, random: Random) -> None:
        route = random.choice(WEB)
        visitor = await self._visit(route, random, 1 << 16)
        size = random.randint(500_000, 900_000)
        visitor.ask(route, b"", size, chunked=random.random() < 0.5)
        await asyncio.sleep(random.uniform(1, 5))
        await visitor.receive(route, b"", size)
        await self._leave(visitor)

    async def _tunnel(self, random: Random) -> None:
        """Behind a request of the other route."""
        first, route = random.sample(WEB, 2)
        visitor = await self._visit(first, random)
        visitor.ask(first, b"", 5, chunked=False)
        await visitor.receive(first, b"", 5)
        line = b"GET /%b/ws?down=0&chunked=0 HTTP/1.1\r\nHost: %b\r\n" % (route.encode(), _NAME)
        visitor.send(route, line + _UPGRADE + b"\r\n")
        head = await visitor.reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 101 "):
            raise CorruptError(f"answered {head[:60]!r}")
        self._ledger.moved[route]["received"] += len(head)
        for _ in range(random.randint(1, 8)):
            message = _content(random.choice((1, 1024, 60_000)))
            visitor.send(route, message)
            if await visitor.reader.readexactly(len(message)) != message:
                raise CorruptError("another message came back")
            self._ledger.moved[route]["received"] += len(message)
            await asyncio.sleep(random.uniform(0, 0.5))
        await self._leave(visitor)

    # -- cut, and hostile --------------------------------------------------------------------------------

    async def _cut_request(self, random: Random) -> None:
        """A body that is not complete, and a RST or a FIN."""
        visitor = await self._visit(WEB_FAULTY, random)
        line = b"POST /%b/give?down=0&chunked=0 HTTP/1.1\r\nHost: %b\r\n" % (WEB_FAULTY.encode(), _NAME)
        visitor.writer.write(line + b"Content-Length: 5000\r\n\r\n" + bytes(random.randint(0, 4999)))
        await asyncio.sleep(random.uniform(0, 0.3))
        if random.random() < 0.5:
            visitor.reset()
            return
        visitor.writer.write_eof()
        if rest := await visitor.read_rest():
            raise CorruptError(f"answered {rest[:60]!r}")
        visitor.writer.close()

    async def _cut_answer(self, random: Random) -> None:
        """The target closes within its answer: it must not look complete."""
        visitor = await self._visit(WEB_FAULTY, random)
        visitor.ask(WEB_FAULTY, b"", 100_000, chunked=random.random() < 0.5, kind="cut")
        try:
            await _read_message(visitor.reader)
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            visitor.writer.close()
        raise CorruptError("a cut answer is complete")

    async def _hostile(self, random: Random) -> None:
        visitor = await self._visit(WEB_FAULTY, random)
        visitor.ask(WEB_FAULTY, b"", 5, chunked=False)
        await visitor.receive(WEB_FAULTY, b"", 5)
        visitor.writer.write(random.choice(_HOSTILE) + b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
        rest = await visitor.read_rest()
        visitor.writer.close()
        if rest and (not rest.startswith(b"HTTP/1.1 400 ") or rest.count(b"HTTP/1.1") != 1):
            raise CorruptError(f"answered {rest[:60]!r}")


def routes(port: int, faulty: int, target: int) -> list[dict[str, Any]]:
    """The routes of HTTP, by path."""
    return [
        {
            "name": name,
            "match": {
                "ports": [faulty if name == WEB_FAULTY else port],
                "address": HOST,
                "path": f"/{name}/*",
            },
            "action": {"protocol": "http", "targets": [{"host": HOST, "port": target}]},
        }
        for name in (*WEB, WEB_FAULTY)
    ]
