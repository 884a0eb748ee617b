"""What the logs say of refused connections: one row for each reason, and for each way to it."""

from __future__ import annotations

from typing import Any, NamedTuple

from twisted.internet import error
from twisted.internet.address import IPv4Address

from smartproxy.model.outcome import RejectReason
from smartproxy.wire import client_hello, proxy_v1
from tests.sessions.all_phases import ALL_PHASES, DESTINATION, HEADER, HELLO, OUTER, REQUEST, SOURCE
from tests.sessions.explaining import ExplainedCase
from tests.sessions.memory_proxy import route

LISTS = {"ipBlockList": ["192.0.2.64/26", "192.0.2.66-192.0.2.67"], "ipAllowList": ["192.0.0.0/16"]}
LISTED = {"routes": [route(security=LISTS)]}
NAMED = {"routes": [route(match={"domains": ["a.example"]})]}
TWO_TARGETS = {"routes": [route(match={"domains": ["a.example"]}, hosts=["10.0.0.1", "2001:db8::2"])]}
NONE: dict[str, Any] = {}
SAID_BY_HELLO = {"sni": "a.example", "route": "web"}
SAID_BY_REQUEST = {"host": "a.example", "path": "/", "route": "web"}


def says(data=b"", ip="192.0.2.1", times=1):
    """Clients that send ``data``."""

    def act(proxy):
        for _ in range(times):
            proxy.client(ip).write(data)
            proxy.settle()

    return act


def waits(data, seconds, ip="192.0.2.1", *, fin=False):
    """A client that sends ``data``, and nothing more for so long."""

    def act(proxy):
        client = proxy.client(ip)
        client.write(data)
        if fin:
            client.fin()
        proxy.settle()
        proxy.pass_time(seconds)

    return act


def fails(data, *exceptions):
    """A client whose targets fail, one after the other."""

    def act(proxy):
        proxy.client().write(data)
        proxy.settle()
        for exception in exceptions:
            proxy.backend_fails(exception)

    return act


def late_header(proxy):
    client = proxy.client(OUTER)
    proxy.pass_time(5.3)
    client.write(HEADER)
    proxy.settle()
    proxy.backend().write(b"too late")


def drains(proxy):
    """A client that the kernel accepts while the proxy closes its port."""
    listener = proxy.network.ports["::", 8080]
    proxy.service.drain()
    listener.factory.buildProtocol(IPv4Address("TCP", "192.0.2.1", 50000))


class Row(NamedTuple):
    """:ivar logged: the line of the log behind ``refused 1 connection:``, without the reason and the address."""

    reason: RejectReason
    act: Any
    configuration: dict[str, Any]
    detail: str
    more: dict[str, Any] = NONE
    side: str = "proxy"
    logged: str = ""
    ip: str = "192.0.2.1"


def limited(**action):
    """A group of one target, which takes one connection."""
    target = {"host": "10.0.0.1", "port": 9000, "maxConnections": 1}
    return {
        "targetGroups": {"app": {"targets": [target], **action}},
        "routes": [route(action={"group": "app"})],
    }


def queues(times, seconds=0.0):
    """Clients that come while the target is at its limit, and wait for so long."""

    def act(proxy):
        for number in range(times):
            proxy.client(f"192.0.2.{number + 1}")
        proxy.pass_time(seconds)

    return act


def by_hand(weight=None, state="drain"):
    """A client that comes when the target has been set by hand."""

    def act(proxy):
        if weight is None:
            proxy.service.groups.set_state("app", "10.0.0.1:9000", state)
        else:
            proxy.service.groups.set_weight("app", "10.0.0.1:9000", weight)
        proxy.client()

    return act


def drained_meanwhile(proxy):
    """A client that waits when the last target is taken out."""
    proxy.client()
    proxy.client("192.0.2.2")
    proxy.service.groups.set_state("app", "10.0.0.1:9000", "down")


EXCLUDED = "every target of group app is set to drain or down, or has the weight 0: smartproxy targets"
ROUTED = {"route": "web"}
R = RejectReason
ROWS = [
    Row(R.TARGET_LIMIT, queues(2), limited(), "every target of group app is at its maxConnections, and it has no queue",
        ROUTED, ip="192.0.2.2"),
    Row(R.QUEUE_FULL, queues(3), limited(queue={"size": 1}), "the queue of group app is full (queue.size 1)", ROUTED,
        ip="192.0.2.3"),
    Row(R.QUEUE_TIMEOUT, queues(2, 4.3), limited(queue={"size": 1, "timeout": "4s"}),
        "no target of group app had room in 4 s (queue.timeout)", ROUTED, ip="192.0.2.2"),
    Row(R.NO_TARGET, by_hand(), limited(), EXCLUDED, ROUTED),
    Row(R.NO_TARGET, by_hand(state="down"), limited(), EXCLUDED, ROUTED),
    Row(R.NO_TARGET, by_hand(weight=0), limited(), EXCLUDED, ROUTED),
    Row(R.NO_TARGET, drained_meanwhile, limited(queue={"size": 1}), EXCLUDED, ROUTED, ip="192.0.2.2"),
    Row(R.IP_BLOCKED, says(ip="192.0.2.66"), LISTED, "security.ipBlockList 192.0.2.66-192.0.2.67", {"route": "web"},
        ip="192.0.2.66"),
    Row(R.IP_BLOCKED, says(ip="192.0.2.99"), LISTED, "security.ipBlockList 192.0.2.64/26", {"route": "web"},
        ip="192.0.2.99"),
    Row(R.IP_BLOCKED, says(ip="::ffff:192.0.2.66"), LISTED, "security.ipBlockList 192.0.2.66-192.0.2.67",
        {"route": "web"}, ip="192.0.2.66"),
    Row(R.IP_BLOCKED, says(REQUEST), {"routes": [route(match={"domains": ["a.example"]}, action={"type": "block"})]},
        "the route blocks every client; answered 403", SAID_BY_REQUEST),
    Row(R.IP_NOT_ALLOWED, says(HELLO, "10.9.9.9"),
        {"routes": [route(match={"domains": ["a.example"]}, security=LISTS)]},
        "not in security.ipAllowList (192.0.0.0/16); sent alert access_denied", SAID_BY_HELLO, ip="10.9.9.9"),
    Row(R.IP_LIMIT, says(times=2), {"maxConnectionsPerIP": 1}, "maxConnectionsPerIP 1"),
    Row(R.ROUTE_LIMIT, says(times=2), {"routes": [route(security={"maxConnections": 1})]},
        "security.maxConnections 1", {"route": "web"}),
    Row(R.RATE_LIMIT, says(times=2), {"connectionRateLimitPerMinute": 1}, "connectionRateLimitPerMinute 1"),
    Row(R.PROXY_HEADER_INVALID, says(HEADER[:12] + b"\xff" * 4, OUTER), ALL_PHASES,
        "unknown version or command", ip=OUTER),
    Row(R.PROXY_HEADER_INVALID, waits(HEADER[:20], 0.2, OUTER, fin=True), ALL_PHASES,
        "the peer sent a FIN within the header", side="client", ip=OUTER),
    Row(R.PROXY_HEADER_MISSING, says(b"hello", OUTER), ALL_PHASES | {"acceptProxyProtocol": "require"},
        "the first bytes are no PROXY header, which acceptProxyProtocol requires", ip=OUTER),
    Row(R.PROXY_HEADER_MISSING, waits(b"", 5.3, OUTER), ALL_PHASES | {"acceptProxyProtocol": "require"},
        "the peer sent nothing in 5 s (proxyHeaderTimeout)", ip=OUTER),
    Row(R.PROXY_HEADER_TIMEOUT, waits(HEADER[:20], 5.3, OUTER), ALL_PHASES,
        "incomplete after 20 bytes in 5 s (proxyHeaderTimeout)", ip=OUTER),
    Row(R.PROXY_HEADER_TIMEOUT, late_header, {"proxyIPs": [OUTER], "proxyHeaderTimeout": "5s"},
        "received after 5 s (proxyHeaderTimeout)", {"route": "web", "target": "10.0.0.1:9000", "attempts": 1},
        logged="listener :8080, route web, target 10.0.0.1:9000, 1 attempt: ", ip=OUTER),
    Row(R.INITIAL_DATA_TIMEOUT, waits(b"", 60.3), NAMED, "no byte was received in 60 s (initialDataTimeout)"),
    Row(R.INITIAL_DATA_TIMEOUT, waits(REQUEST[:20], 2.3), NAMED | {"initialDataTimeout": "2s"},
        "incomplete after 20 bytes in 2 s (initialDataTimeout); answered 408"),
    Row(R.NO_ROUTE, says(client_hello.build("b.example")), NAMED,
        "no route of the listener matches, protocol tls; sent alert unrecognized_name", {"sni": "b.example"},
        logged="listener :8080, name b.example: "),
    Row(R.NO_ROUTE, says(REQUEST.replace(b"a.example", b"b.example:8080")), NAMED,
        "no route of the listener matches, protocol http; answered 404", {"host": "b.example", "path": "/"},
        logged="listener :8080, name b.example: "),
    Row(R.NO_ROUTE, says(b"\0 neither\r\n"), NAMED, "no route of the listener matches, protocol raw"),
    Row(R.TLS_ERROR, says(b"\x16\x03\x01\x00\x05\x02\x00\x00\x01\x00"), NAMED,
        "another handshake message than the one expected; sent alert unexpected_message"),
    Row(R.TLS_ERROR, waits(HELLO[:40], 0.2, fin=True), NAMED,
        "the client sent a FIN within its first bytes; sent alert decode_error", side="client"),
    Row(R.PENDING_DATA_LIMIT, says(HELLO[:20]), NAMED | {"maxPendingDataSize": 30},
        f"its first bytes are {len(HELLO)} or more, and 30 may be buffered"),
    Row(R.UPSTREAM_REFUSED, fails(HELLO, error.TimeoutError(), None), TWO_TARGETS,
        "10.0.0.1:9000: Connection timed out; [2001:db8::2]:9000: Connection refused; sent alert internal_error",
        SAID_BY_HELLO | {"target": "[2001:db8::2]:9000", "attempts": 2}, "target",
        "listener :8080, name a.example, route web, target [2001:db8::2]:9000, 2 attempts: "),
    Row(R.UPSTREAM_TIMEOUT, fails(REQUEST, error.TimeoutError()), NAMED,
        "10.0.0.1:9000: Connection timed out; answered 504",
        SAID_BY_REQUEST | {"target": "10.0.0.1:9000", "attempts": 1}, "target",
        "listener :8080, name a.example, route web, target 10.0.0.1:9000, 1 attempt: "),
    Row(R.UPSTREAM_UNREACHABLE, fails(b"", error.NoRouteError()), {},
        "10.0.0.1:9000: No route to host", {"route": "web", "target": "10.0.0.1:9000", "attempts": 1}, "target",
        "listener :8080, route web, target 10.0.0.1:9000, 1 attempt: "),
    Row(R.UPSTREAM_UNREACHABLE, says(), {"routes": [route(hosts=["no-such.example"])]},
        "no-such.example has no address", {"route": "web", "target": "no-such.example:9000"}, "target",
        "listener :8080, route web, target no-such.example:9000: "),
]  # fmt: skip

#: Refused before anything is known of them: the access log has no line, so that a flood is no flood of lines.
AT_ACCEPT = [
    (R.GLOBAL_LIMIT, says(times=2), {"maxConnections": 1}, "maxConnections 1"),
    (R.DRAINING, drains, {}, "no new connections are accepted"),
]


class RefusalTests(ExplainedCase):
    def test_both_logs_explain_each_refusal(self):
        for row in ROWS:
            with self.subTest(row.reason, detail=row.detail):
                fields, lines = self.explained(row.act, **row.configuration)
                expected = {"outcome": row.reason, "side": row.side, "detail": row.detail} | row.more
                self.assertEqual(fields, expected)
                refused = [line for line in lines if line.startswith("refused 1 connection")]
                about = row.logged or self.about(row.more)
                self.assertEqual(
                    refused, [f"refused 1 connection: {row.reason} ({row.ip}): {about}{row.detail}"]
                )

    def about(self, known):
        """What a line names of a connection that nothing was dialed for."""
        name = known.get("sni") or known.get("host")
        named = "" if name is None else f", name {name}"
        return f"listener :8080{named}{', route web' * ('route' in known)}: "

    def test_connections_refused_at_accept_are_in_the_log_only(self):
        for reason, act, configuration, detail in AT_ACCEPT:
            with self.subTest(reason):
                _, lines = self.explained(act, **configuration)
                self.assertEqual(
                    lines, [f"refused 1 connection: {reason} (192.0.2.1): listener :8080: {detail}"]
                )

    def test_every_reason_is_in_the_tables(self):
        tested = {row.reason for row in ROWS} | {reason for reason, *_ in AT_ACCEPT}
        self.assertEqual(set(RejectReason) - tested, set())

    def test_limit_of_the_announced_client_names_that_client(self):
        announced = proxy_v1.build(SOURCE, DESTINATION)
        _, lines = self.explained(says(announced, OUTER, times=2), proxyIPs=[OUTER], maxConnectionsPerIP=1)
        self.assertEqual(
            lines, [f"refused 1 connection: ip_limit ({SOURCE[0]}): listener :8080: maxConnectionsPerIP 1"]
        )

    def test_later_refusals_name_the_last_one(self):
        def act(proxy):
            for name in ("b.example", "c.example", "d.example"):
                proxy.client().write(client_hello.build(name))
                proxy.settle()
            proxy.pass_time(6)

        _, lines = self.explained(act, **NAMED)
        self.assertEqual(len(lines), 2)
        self.assertTrue(
            lines[1].startswith("refused 2 connections in 5.")
            and ": no_route (192.0.2.1): listener :8080, name d.example: no route" in lines[1],
            lines[1],
        )

    def test_hostile_name_is_quoted_and_bounded(self):
        """A name must not be taken for another part of the line, nor for a line of its own."""
        for name in ("a, route admin: x", "x" * 5000 + ".example", "caf\u00e9\u202e"):

            def act(proxy, name=name):
                proxy.client()
                proxy.record.sni = name
                proxy.backend_fails()

            _, lines = self.explained(act)
            line = next(line for line in lines if line.startswith("refused"))
            shown = name[:255] if name.startswith("x") else ascii(name)
            self.assertIn(f": listener :8080, name {shown}, route web, target 10.0.0.1:9000", line)
            self.assertTrue(line.isprintable() and line.isascii() and len(line) < 1000, line)
