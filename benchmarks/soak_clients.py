"""The clients of a soak: each has one conversation after the other, of a random kind and on a random route.

On clean routes, a conversation that does not end as expected is a failure. On the faulty route, where clients and
backends reset at random, only corrupt content is.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable
from random import Random

from benchmarks.soak_proxy import Ports
from benchmarks.soaking import (
    CLEAN,
    FAULTY,
    TRUSTED,
    CorruptError,
    Order,
    Talk,
    begin,
    connect,
    converse,
    hello,
    web_head,
)

#: Seconds that a conversation may take.
_PATIENCE = 60.0
_TLS_ALERT = b"\x15"
_KIB = 1024


def _short(random: Random) -> Order:
    return Order(random.randint(0, 2000), random.randint(0, 4000), backend_first=random.random() < 0.3)


def _trickle(random: Random) -> Order:
    return Order(random.randint(200, 600), random.randint(200, 600), piece=50, pause=random.randint(100, 900))


def _bulk(random: Random) -> Order:
    return Order(random.randint(0, 6000) * _KIB + 1, random.randint(0, 6000) * _KIB + 1)


def _half_closed(random: Random) -> Order:
    return Order(random.randint(0, 5000), random.randint(100, 2000) * _KIB, late=random.randint(1, 3000))


_ORDERS: dict[str, tuple[int, Callable[[Random], Order]]] = {
    "short": (50, _short),
    "trickle": (12, _trickle),
    "bulk": (6, _bulk),
    "half-closed": (10, _half_closed),
}
#: Kinds of conversation and their weights.
_WEIGHTS = {
    **{kind: weight for kind, (weight, _) in _ORDERS.items()},
    "silent": 6,
    "refused": 5,
    "unknown": 5,
}


class Clients:
    """Workers and their counters.

    :ivar moved: bytes by route, as seen by the clients.
    :ivar opened: number of conversations by route.
    :ivar outcomes: number of conversations by ``kind: outcome``.
    :ivar errors: descriptions of the first failures.
    """

    def __init__(self, ports: Ports, workers: int, seed: str) -> None:
        self.moved = {route: {"received": 0, "sent": 0} for route in (*CLEAN, FAULTY)}
        self.opened: Counter[str] = Counter()
        self.outcomes: Counter[str] = Counter()
        self.errors: list[str] = []
        self.failed = 0
        self._ports = ports
        self._chances = [Random(f"{seed}-{n}") for n in range(workers)]

    async def run(self, until: float) -> None:
        """Start conversations until that time of the loop's clock, and finish those begun."""
        await asyncio.gather(*(self._work(random, until) for random in self._chances))

    async def _work(self, random: Random, until: float) -> None:
        now = asyncio.get_running_loop().time
        while now() < until:
            (kind,) = random.choices(list(_WEIGHTS), list(_WEIGHTS.values()))
            route = random.choices((*CLEAN, FAULTY), (3, 2, 2, 2, 3))[0] if kind in _ORDERS else "plain"
            if kind == "silent":
                route = random.choice(CLEAN)
            await self._one(kind, route, random)
            await asyncio.sleep(random.uniform(0, 0.6))

    async def _one(self, kind: str, route: str, random: Random) -> None:
        try:
            async with asyncio.timeout(_PATIENCE):
                await self._attempt(kind, route, random)
            outcome = "as it must"
        except (CorruptError, OSError, asyncio.IncompleteReadError, RuntimeError) as error:
            outcome = "broken" if route == FAULTY and not isinstance(error, CorruptError) else "failed"
            if outcome == "failed":
                self.failed += 1
                self.errors = [*self.errors, f"{kind} on {route}: {error!r}"][:20]
        self.outcomes[f"{kind}, {'faulty' if route == FAULTY else 'clean'}: {outcome}"] += 1

    async def _attempt(self, kind: str, route: str, random: Random) -> None:
        special = {"refused": self._refused, "unknown": self._unknown}
        if kind in special:
            await special[kind](random)
            return
        source = TRUSTED if route == "announced" else _source(random)
        streams = await connect(self._ports.of(route), source)
        talk = Talk(*streams, self.moved[route])
        self.opened[route] += 1
        giving_up = self._giving_up(talk, route, random)
        try:
            await begin(talk, route, random)
            await (_silence(talk, random) if kind == "silent" else converse(talk, _ORDERS[kind][1](random)))
        finally:
            if giving_up:
                giving_up.cancel()
            await _closed(talk)

    def _giving_up(self, talk: Talk, route: str, random: Random) -> asyncio.TimerHandle | None:
        if route != FAULTY or random.random() < 0.5:
            return None
        return asyncio.get_running_loop().call_later(random.uniform(0, 1), talk.reset)

    async def _refused(self, random: Random) -> None:
        await self._expect(self._ports.refused, b"anything", (b"",), random)

    async def _unknown(self, random: Random) -> None:
        """Ask for an unknown name: TLS gets an alert, HTTP a status."""
        tls = random.random() < 0.5
        said = hello("nobody", random) if tls else web_head("nobody")
        await self._expect(self._ports.named, said, (_TLS_ALERT if tls else b"HTTP/1.1 404 ",), random)

    async def _expect(self, port: int, said: bytes, answers: tuple[bytes, ...], random: Random) -> None:
        try:
            heard = await _exchange(port, said, _source(random))
        except ConnectionError:
            heard = b""  # reset, perhaps while connecting: a client without a detected protocol is refused so
        if not heard.startswith(answers):
            raise CorruptError(f"answered {heard[:40]!r}")


async def _exchange(port: int, said: bytes, source: str) -> bytes:
    talk = Talk(*await connect(port, source), {"received": 0, "sent": 0})
    try:
        await talk.write(said)
        return await talk.reader.read()
    finally:
        await _closed(talk)


def _source(random: Random) -> str:
    return f"127.0.1.{random.randint(1, 20)}"


async def _silence(talk: Talk, random: Random) -> None:
    await asyncio.sleep(random.uniform(1, 8))
    talk.writer.write_eof()
    await talk.at_end()


async def _closed(talk: Talk) -> None:
    talk.writer.close()
    with contextlib.suppress(OSError):
        await talk.writer.wait_closed()


async def every(seconds: float, until: float, act: Callable[[], Awaitable[object]]) -> None:
    """Call ``act`` periodically, up to that time of the loop's clock."""
    now = asyncio.get_running_loop().time
    while now() + seconds < until:
        await asyncio.sleep(seconds)
        await act()
