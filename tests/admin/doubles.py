"""Doubles for the admin tests: a proxy with real counters, and an HTTP client of the real site."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from smartproxy.admin.site import make_admin_site
from smartproxy.connections.registry import Registry
from smartproxy.errors import ConfigurationError, NotAutomatic, UnknownCertificate
from smartproxy.metrics.counters import Counters
from smartproxy.metrics.service import make_metrics
from smartproxy.model.address import Endpoint
from smartproxy.model.facts import Accepted
from smartproxy.model.outcome import CloseReason
from smartproxy.model.plan import (
    AdminPlan,
    CleanupPlan,
    GroupPlan,
    MatchPlan,
    MetricsPlan,
    ProxyPlan,
    RoutePlan,
    TargetPlan,
)
from smartproxy.model.timestamps import Moment
from smartproxy.proxy.local_control import LocalControl
from smartproxy.upstream.groups import Groups
from smartproxy.upstream.member import Members
from smartproxy.upstream.steering import TargetGroups

WEB = RoutePlan(
    "web",
    0,
    MatchPlan((range(443, 444), range(8000, 8011)), domains=("*.example.com",)),
    group=GroupPlan("web", (TargetPlan(("10.0.0.1",), 9000), TargetPlan(lambda _facts: "x", None, weight=2))),
)
#: Monotonic 100 s is 2026-01-02 03:04:05.678 UTC.
MOMENT = Moment(1767323045.678, 100.0)


class FakeControl:
    """What :class:`LocalControl` uses of a proxy, with real counters, groups and metrics, without a network."""

    def __init__(self, *routes):
        self.counters = Counters()
        self.clock = Clock()
        self.clock.advance(100.0)
        self.registry = Registry(self.counters, CleanupPlan(), self.clock)
        self.metrics = make_metrics(MetricsPlan(), self.registry, self.counters, self.clock)
        self.metrics.startService()
        self.plan = ProxyPlan(routes or (WEB,))
        members = Groups(Members(), self.clock, lambda: 0.5)
        self.groups = TargetGroups(members, self.registry.live, self.clock.seconds, dict)
        self.counters.targets = self.groups
        plans = [route.group for route in self.plan.routes if route.group is not None]
        members.apply({plan.name: plan for plan in plans}, plans)
        self.draining = False
        self.changes = []
        self.problems = []
        self.unbound = None
        self.waiting = []
        self.pending = None
        self.shown = []
        self.renewed = []

    def status(self):
        return {"version": "1.2.3", "draining": self.draining}

    def reload(self):
        self.changes.append("reload")
        return self._changed()

    def replace_routes(self, routes):
        self.changes.append(routes)
        return self._changed()

    def _changed(self) -> Deferred[None]:
        if self.problems:
            return fail(ConfigurationError(self.problems))
        if self.unbound is not None:
            return fail(self.unbound)
        return self.pending or succeed(None)

    def waiting_for_restart(self):
        return self.waiting

    def drain(self):
        self.draining = True

    def certificates(self):
        return self.shown

    def renew_certificate(self, name):
        for shown in self.shown:
            if name in shown.names:
                if shown.acme is None:
                    raise NotAutomatic(f"the certificate for {name!a} is read from {shown.source!a}")
                self.renewed.append(name)
                return shown.names
        raise UnknownCertificate(f"there is no certificate for {name!a}")

    def end_connection(self, number):
        record = self.registry.live.get(number)
        return record is not None and self.registry.close(record, CloseReason.ADMIN, 100.0)

    def settle(self):
        """Run the clean-up of closed connections now."""
        self.registry.ended.empty()

    def connect(self, client="192.0.2.1", route="web", at=90.0, received=0, sent=0):
        """Add a live connection, with the calls that the control path makes."""
        record = self.registry.open(Accepted(":443", 443, Endpoint("198.51.100.9", 5000), at))
        self.registry.identify(record, Endpoint(client, 4000))
        if route is not None:
            self.registry.assign(record, route)
        record.moved_in(received, at + 1)
        record.moved_out(sent, at + 2)
        return record


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class HalfClosable(StringTransport):
    """A StringTransport that records a half-close and an abort."""

    half_closed = aborted = False

    def loseWriteConnection(self):
        self.half_closed = True

    def abortConnection(self):
        self.aborted = True


class Listener:
    """The real site, with a new connection per request."""

    def __init__(self, control=None, plan=None):
        self.control = control or FakeControl()
        self.clock = Clock()
        control = LocalControl(self.control, lambda: MOMENT)
        self.site = make_admin_site(control, plan or AdminPlan(), self.clock, lambda: MOMENT)
        self.site.doStart()

    def connect(self):
        transport = HalfClosable()
        self.channel = self.site.buildProtocol(None)
        self.channel.makeConnection(transport)
        return transport

    def send(self, raw: bytes) -> HalfClosable:
        transport = self.connect()
        self.channel.dataReceived(raw)
        return transport

    def ask(self, method, path, *headers, body=b"", host="127.0.0.1:8404") -> Answer:
        lines = [f"{method} {path} HTTP/1.1", *([f"Host: {host}"] if host else []), *headers]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        raw = "\r\n".join((*lines, "", "")).encode("latin-1") + body
        return parsed(self.send(raw).value())

    def get(self, path, *headers, **more) -> Answer:
        return self.ask("GET", path, *headers, **more)


def parsed(raw: bytes) -> Answer:
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    return Answer(int(first.split()[1]), dict(line.split(": ", 1) for line in lines), body)
