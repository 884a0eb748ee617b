"""An in-memory client for tests of one phase, with its clock and deadlines."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from smartproxy.flow.deadline import TICK, Deadlines
from smartproxy.flow.side import Side
from smartproxy.model.address import Endpoint
from smartproxy.model.facts import Accepted, Announced, Detected, Routed
from smartproxy.model.plan import GroupPlan, MatchPlan, RoutePlan
from smartproxy.testing import connection

PEER = Endpoint("198.51.100.9", 5000)
CLIENT = Endpoint("192.0.2.1", 4000)
ACCEPTED = Accepted(":443", 443, PEER, 0.0)


def announced(client=CLIENT, header=None) -> Announced:
    return Announced(ACCEPTED, client, header)


def a_route(name="web", targets=None, **more) -> RoutePlan:
    if targets is not None:
        more["group"] = GroupPlan(name, targets)
    return RoutePlan(name, 0, MatchPlan((range(443, 444),)), **more)


def routed(*, header=None, client=CLIENT, **more) -> Routed:
    return Routed(Detected(announced(client, header)), a_route(**more))


class Client:
    """A side whose transport is connected to an in-memory peer, and a clock to advance.

    :ivar far: the peer's end of the connection.
    """

    def __init__(self, side=None, nature=None, *, near=("203.0.113.5", 443)) -> None:
        self.clock = Clock()
        self.deadlines = Deadlines(self.clock)
        self.deadlines.start()
        self.side = side or Side()
        self.transport, self.far = connection(self.clock, nature, near=near)
        self.transport.carry(self.side)

    def say(self, data: bytes) -> None:
        self.far.write(data)
        self.clock.advance(0)

    def fin(self) -> None:
        self.far.fin()
        self.clock.advance(0)

    def pass_time(self, seconds: float) -> None:
        for _ in range(round(seconds / TICK)):
            self.clock.advance(TICK)

    def run(self, coroutine) -> Deferred:
        return Deferred.fromCoroutine(coroutine)
