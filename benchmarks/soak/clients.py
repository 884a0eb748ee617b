"""The clients of a soak: each has one conversation after the other, of a random kind and on a random route.

On clean routes, a conversation that does not end as expected is a failure. On the faulty route, where clients and
backends reset at random, only corrupt content is. :mod:`benchmarks.soak.hostile` has the clients that misbehave.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import NamedTuple

from OpenSSL import SSL

from benchmarks.soak.certificates import DOMAIN
from benchmarks.soak.hostile import Hostile, source
from benchmarks.soak.ledger import Ledger
from benchmarks.soak.proxy import Ports
from benchmarks.soak.secured import SecuredStream
from benchmarks.soak.talk import (
    FAULTY,
    RUDE,
    SECURED,
    TRUSTED,
    CorruptError,
    Order,
    Talk,
    begin,
    connect,
    converse,
)
from benchmarks.soak.web import WebClients

#: Seconds that a conversation may take; a big transfer on a busy machine takes longer.
PATIENCE = 60.0
BIG_PATIENCE = 600.0
#: Quiet tunnels on each of these routes.
_TUNNELS = 2
_QUIET = ("plain", "announced", "sni", "http", *SECURED)
_KIB = 1024
_MIB = 1 << 20
#: A client that reads 64 KiB in this many seconds, about 800 kB/s, through a small receive buffer.
_SLOW = 0.08
_SMALL_BUFFER = 1 << 16


def _short(random: Random) -> Order:
    return Order(random.randint(0, 2000), random.randint(0, 4000), backend_first=random.random() < 0.3)


def _trickle(random: Random) -> Order:
    return Order(random.randint(200, 600), random.randint(200, 600), piece=50, pause=random.randint(100, 900))


def _bulk(random: Random) -> Order:
    return Order(random.randint(0, 6000) * _KIB + 1, random.randint(0, 6000) * _KIB + 1)


def _half_closed(random: Random) -> Order:
    return Order(random.randint(0, 5000), random.randint(100, 2000) * _KIB, late=random.randint(1, 3000))


def _urgent(random: Random) -> Order:
    first, late = random.choice(((False, 0), (True, 0), (False, 1)))
    size = random.choice((3, 400, 400_000))
    return Order(
        random.randint(0, size), random.randint(0, size), 4096, 0, late, first, urgent=random.randint(1, 2)
    )


def _slow(random: Random) -> Order:
    return Order(100, random.randint(2, 5) * 1_000_000, backend_first=True)


def _stalled(random: Random) -> Order:
    return Order(100, random.randint(4, 16) * _MIB)


def _rude(random: Random) -> Order:
    return Order(random.randint(1, 3000), random.randint(1, 3000), backend_first=random.random() < 0.5)


class Kind(NamedTuple):
    """A kind of conversation.

    :ivar weight: how often it is chosen.
    :ivar routes: those that it takes place on, and their weights.
    """

    weight: int
    order: Callable[[Random], Order]
    routes: dict[str, int]


_ANY = {"plain": 3, "announced": 2, "sni": 2, "http": 2, "secure": 2, "reencrypt": 2, "spare": 1, FAULTY: 3}
_UNENCRYPTED = {route: weight for route, weight in _ANY.items() if route not in SECURED}
_KINDS: dict[str, Kind] = {
    "short": Kind(50, _short, _ANY),
    "trickle": Kind(12, _trickle, _ANY),
    "bulk": Kind(6, _bulk, _ANY),
    "half-closed": Kind(10, _half_closed, _ANY),
    "urgent": Kind(10, _urgent, _UNENCRYPTED),
    "slow reader": Kind(3, _slow, {"slow": 1}),
    "stalled": Kind(3, _stalled, {"plain": 2, "secure": 1}),
    "tiny records": Kind(4, _short, dict.fromkeys(SECURED, 1)),
    "last bytes": Kind(6, _rude, {RUDE: 1}),
    "silent": Kind(6, _short, dict.fromkeys(("plain", "announced", "sni", "http", *SECURED), 1)),
}


class Clients:
    """Workers, which have one conversation after the other.

    :param context: for TLS.
    """

    def __init__(self, ports: Ports, admin: int, context: SSL.Context, workers: int, seed: str) -> None:
        self.ledger = Ledger()
        self._ports = ports
        self._context = context
        self._chances = [Random(f"{seed}-{n}") for n in range(workers)]
        self._big_chance = Random(f"{seed}-big")
        self._hostile = Hostile(ports, admin, context, self.ledger)
        self._web = WebClients(ports.web, ports.web_faulty, self.ledger)
        self._tunnels: list[tuple[str, Talk]] = []

    async def run(self, until: float) -> None:
        """Start conversations until that time of the loop's clock, and finish those begun."""
        await asyncio.gather(*(self._work(random, until) for random in self._chances))

    async def _work(self, random: Random, until: float) -> None:
        now = asyncio.get_running_loop().time
        weights = {kind: found.weight for kind, found in _KINDS.items()}
        weights |= self._hostile.weights | self._web.weights
        while now() < until:
            (kind,) = random.choices(list(weights), list(weights.values()))
            if kind in _KINDS:
                routes = _KINDS[kind].routes
                (route,) = random.choices(list(routes), list(routes.values()))
                await self.ledger.judge(kind, route, self._attempt(kind, route, random), PATIENCE)
            elif kind in self._web.weights:
                await self.ledger.judge(kind, "HTTP", self._web.attempt(kind, random), PATIENCE)
            else:
                await self.ledger.judge(kind, "hostile", self._hostile.attempt(kind, random), PATIENCE)
            await asyncio.sleep(random.uniform(0, 0.6))

    # -- big transfers and quiet tunnels -----------------------------------------------------------------

    async def transfer(self, most: int) -> None:
        """One transfer of ``most // 4`` to ``most`` bytes, in one direction."""
        random = self._big_chance
        size, down = random.randint(most // 4, most), random.random() < 0.5
        route = random.choice(("plain", "sni", "secure", "reencrypt"))
        order = Order(0, size) if down else Order(size, 0)
        await self.ledger.judge("big", route, self._once(route, order, random), BIG_PATIENCE)

    async def open_tunnels(self) -> None:
        """Open connections that carry some bytes, and then none until :meth:`use_tunnels`."""
        for route in _QUIET * _TUNNELS:
            await self.ledger.judge("quiet, first bytes", route, self._open_tunnel(route), PATIENCE)

    async def _open_tunnel(self, route: str) -> None:
        talk = await self._dial(route, self._big_chance)
        await begin(talk, route, self._big_chance)
        await converse(talk, Order(500, 500, more=True))
        self._tunnels.append((route, talk))

    async def use_tunnels(self) -> None:
        """Carry bytes over the quiet connections again, and end them."""
        for route, talk in self._tunnels:
            await self.ledger.judge("quiet, last bytes", route, _finish(talk), PATIENCE)
        self._tunnels.clear()

    # -- one conversation --------------------------------------------------------------------------------

    async def _attempt(self, kind: str, route: str, random: Random) -> None:
        slow = kind == "slow reader"
        talk = await self._dial(
            route,
            random,
            record_size=random.randint(1, 40) if kind == "tiny records" else 0,
            receive_buffer=_SMALL_BUFFER if slow else 0,
            pace=_SLOW if slow else 0.0,
        )
        giving_up = self._giving_up(talk, route, random)
        try:
            if kind != "last bytes":
                await begin(talk, route, random)
            await self._act(kind, talk, random)
        finally:
            if giving_up:
                giving_up.cancel()
            await talk.close()

    async def _act(self, kind: str, talk: Talk, random: Random) -> None:
        acts: dict[str, Callable[[], Awaitable[None]]] = {
            "silent": lambda: _silence(talk, random),
            "stalled": lambda: _stall(talk, _stalled(random), random.uniform(2, 6)),
            "last bytes": lambda: _last_bytes(talk, _rude(random)),
        }
        await acts.get(kind, lambda: converse(talk, _KINDS[kind].order(random)))()

    async def _once(self, route: str, order: Order, random: Random) -> None:
        talk = await self._dial(route, random)
        try:
            await begin(talk, route, random)
            await converse(talk, order)
        finally:
            await talk.close()

    async def _dial(
        self, route: str, random: Random, record_size: int = 0, receive_buffer: int = 0, pace: float = 0.0
    ) -> Talk:
        address = TRUSTED if route == "announced" else source(random)
        reader, writer = await connect(self._ports.of(route), address, receive_buffer)
        self.ledger.opened[route] += 1
        moved = self.ledger.moved[route]
        if route not in SECURED:
            return Talk(reader, writer, moved, pace)
        stream = SecuredStream(reader, writer, self._context, f"{route}.{DOMAIN}", record_size)
        try:
            await stream.handshake()
        except BaseException:
            writer.close()
            raise
        certificate = stream.connection.get_peer_certificate()
        if certificate is None or f"{route}.{DOMAIN}" != certificate.get_subject().CN:
            raise CorruptError(f"another certificate than that of {route}")
        return Talk(stream, stream, moved, pace)

    def _giving_up(self, talk: Talk, route: str, random: Random) -> asyncio.TimerHandle | None:
        if route != FAULTY or random.random() < 0.5:
            return None
        return asyncio.get_running_loop().call_later(random.uniform(0, 1), talk.reset)


async def _silence(talk: Talk, random: Random) -> None:
    """No order, and a FIN after a while."""
    await asyncio.sleep(random.uniform(1, 8))
    talk.writer.write_eof()
    await talk.at_end()


async def _stall(talk: Talk, order: Order, seconds: float) -> None:
    """A download of which nothing is read for a while."""
    await talk.write_order(order)
    await talk.send(order.up, order)
    await asyncio.sleep(seconds)
    await talk.receive(order.down)
    talk.writer.write_eof()
    await talk.at_end()


async def _last_bytes(talk: Talk, order: Order) -> None:
    """The client's side of last bytes with a reset behind them; see the backend's."""
    if order.backend_first:
        await talk.write_order(order)
        await talk.read(1)
        await talk.write(bytes(order.up))
        await talk.read(order.down)
        await talk.at_reset()
    else:
        talk.deaf()
        await talk.write_order(order)
        await talk.leave_unread(order.down)
        await talk.write(bytes(order.up))


async def _finish(talk: Talk) -> None:
    try:
        await converse(talk, Order(3000, 30_000))
    finally:
        await talk.close()
