"""Compare the proxy's byte counters with 10,000 mixed connections: ``python -m benchmarks.accounting [--connections N]``.

Clients, proxy and backend run in one process over loopback, once with each relay. A client sends 0 to 64 KiB, at once
or in two parts, and half-closes; the backend answers with another length and closes. The bytes that both ends
moved must equal the proxy's counters in Python, in ``/api/v1/metrics`` and in ``/metrics``, with no connection active
in the end. Exit code 1 if they differ.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sys
from typing import Any

import treq
from twisted.internet import protocol, task
from twisted.internet.defer import Deferred, DeferredSemaphore, gatherResults
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint, connectProtocol
from twisted.internet.interfaces import IHalfCloseableProtocol
from zope.interface import implementer

from benchmarks.processes import free_port
from smartproxy import Settings, SmartProxy

_AT_ONCE = 50
_MOST = 64 * 1024
_BLOCK = bytes(_MOST)


class Moved:
    """Bytes that the peers read from the proxy.

    :ivar received: by the backends.
    :ivar sent: by the clients.
    """

    def __init__(self) -> None:
        self.received = 0
        self.sent = 0


@implementer(IHalfCloseableProtocol)
class Answer(protocol.Protocol):
    """Reads to the client's FIN, then answers and closes."""

    def __init__(self, moved: Moved, chance: random.Random) -> None:
        self.moved = moved
        self.size = chance.choice((0, 1, 100, 5_000, _MOST))

    def dataReceived(self, data: bytes) -> None:
        self.moved.received += len(data)

    def readConnectionLost(self) -> None:
        self.transport.write(_BLOCK[: self.size])
        self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        pass


@implementer(IHalfCloseableProtocol)
class Ask(protocol.Protocol):
    """Sends at once or in two parts, half-closes, and reads to the end."""

    def __init__(self, reactor: Any, moved: Moved, chance: random.Random) -> None:
        self.reactor = reactor
        self.moved = moved
        self.size = chance.choice((0, 1, 64, 3_000, _MOST))
        self.late = chance.random() < 0.2
        self.over: Deferred[None] = Deferred()

    def connectionMade(self) -> None:
        first = self.size // 2 if self.late else self.size
        self.transport.write(_BLOCK[:first])
        self.reactor.callLater(0.01 if self.late else 0, self.finish, self.size - first)

    def finish(self, rest: int) -> None:
        self.transport.write(_BLOCK[:rest])
        self.transport.loseWriteConnection()

    def dataReceived(self, data: bytes) -> None:
        self.moved.sent += len(data)

    def readConnectionLost(self) -> None:
        self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        pass

    def connectionLost(self, reason: Any = protocol.connectionDone) -> None:
        self.over.callback(None)


def _proxy(port: int, admin: int, backend: int, acceleration: str) -> SmartProxy:
    route = {
        "name": "mixed",
        "match": {"ports": [port], "address": "127.0.0.1"},
        "action": {"targets": [{"host": "127.0.0.1", "port": backend}]},
    }
    settings = {"routes": [route], "acceleration": acceleration, "admin": {"port": admin}}
    return SmartProxy(Settings.parse(json.dumps(settings), "json"))


async def _reported(proxy: SmartProxy, admin: int) -> dict[str, tuple[int, int]]:
    """Bytes received and sent as reported by each of the three interfaces."""
    totals = proxy.metrics.totals()
    api = await treq.json_content(await treq.get(f"http://127.0.0.1:{admin}/api/v1/metrics"))
    text = await treq.text_content(await treq.get(f"http://127.0.0.1:{admin}/metrics"))
    lines = dict(re.findall(r'^smartproxy_(\w+)_bytes_total\{route="mixed"\} (\S+)', text, re.MULTILINE))
    return {
        "Python": (totals.bytes_received, totals.bytes_sent),
        "API": (api["totals"]["bytesReceived"], api["totals"]["bytesSent"]),
        "/metrics": (int(float(lines["received"])), int(float(lines["sent"]))),
    }


async def _run(reactor: Any, acceleration: str, count: int, chance: random.Random) -> bool:
    moved = Moved()
    factory = protocol.Factory()
    factory.noisy = False
    factory.buildProtocol = lambda _addr: Answer(moved, chance)  # type: ignore[method-assign]
    backend = await TCP4ServerEndpoint(reactor, 0, 4096, "127.0.0.1").listen(factory)
    port, admin = free_port(), free_port()
    proxy = _proxy(port, admin, backend.getHost().port, acceleration)
    proxy.startService()
    gate = DeferredSemaphore(_AT_ONCE)

    async def one() -> None:
        client = Ask(reactor, moved, chance)
        await connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", port), client)
        await client.over

    await gatherResults([gate.run(lambda: Deferred.fromCoroutine(one())) for _ in range(count)])
    await proxy.registry.emptied()
    await task.deferLater(reactor, 0.3)
    reported = await _reported(proxy, admin)
    wanted = (moved.received, moved.sent)
    right = all(said == wanted for said in reported.values()) and not proxy.connections
    print(f"{acceleration:5} {count} connections, moved {wanted}, active {len(proxy.connections)}")
    for who, said in reported.items():
        print(f"      {who:9} {said} {'equal' if said == wanted else 'NOT EQUAL'}")
    await proxy.stopService()
    await backend.stopListening()
    return right


async def _main(reactor: Any, count: int, seed: int) -> None:
    verdicts = [await _run(reactor, relay, count, random.Random(seed)) for relay in ("auto", "off")]
    if not all(verdicts):
        sys.exit(1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Compare the byte counters with mixed connections.")
    parser.add_argument("--connections", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    task.react(lambda reactor: Deferred.fromCoroutine(_main(reactor, given.connections, given.seed)))
