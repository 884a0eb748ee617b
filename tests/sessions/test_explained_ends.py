"""What the logs say of connections that were not refused: one row for each close reason, and for each way to it."""

from __future__ import annotations

from typing import Any, NamedTuple

from twisted.internet import error
from twisted.internet.protocol import Factory, Protocol

from smartproxy.downstream.connection import SILENT_FIN
from smartproxy.model.outcome import CloseReason
from tests.sessions.all_phases import ALL_PHASES, HELLO, OUTER
from tests.sessions.explaining import ExplainedCase
from tests.sessions.memory_proxy import route

LINKED = {"route": "web", "target": "10.0.0.1:9000", "attempts": 1}
DIALED = LINKED
ZOMBIE = "1 of 192.0.2.1:50000 (listener :8080, route web, target 10.0.0.1:9000, 1 attempt)"
NONE: dict[str, Any] = {}
NAMED = {"routes": [route(match={"domains": ["a.example"]})]}
CHECKED = {
    "routes": [
        route(
            action={
                "targets": [{"host": "10.0.0.1", "port": 9000}],
                "healthCheck": {"interval": "1s", "fall": 1},
                "whenDown": "reset",
            }
        )
    ]
}


def handled(name):
    action = {"type": "handler", "handler": f"tests.sessions.test_explained_ends:{name}"}
    return {"routes": [route(action=action)]}


class Talk(Protocol):
    """A protocol of an embedder that does what the client says."""

    def dataReceived(self, data):
        if data == b"raise":
            raise ZeroDivisionError("no such thing")
        getattr(self.transport, data.decode())()


TALK = Factory.forProtocol(Talk)
TALK.noisy = False


async def returns(connection):
    await connection.write(b"done")


async def raises(connection):
    raise KeyError("x\ny")


async def aborts(connection):
    connection.abort()


def raise_error(facts):
    raise ZeroDivisionError("division by zero")


# -- what happens ------------------------------------------------------------------------------------


def linked(act):
    """A connection with its backend, on which ``act(proxy, client, backend)`` happens."""

    def begin(proxy):
        client = proxy.client()
        act(proxy, client, proxy.backend())
        proxy.settle()

    return begin


def both_end(first, second):
    def act(proxy, *ends):
        for end in (first, second):
            ends[end].fin()
            proxy.settle()

    return linked(act)


def passes(seconds):
    return linked(lambda proxy, client, backend: proxy.pass_time(seconds))


def half_close(proxy, client, backend):
    client.fin()
    proxy.settle()
    proxy.pass_time(61)


def looks(gone):
    """The sockets of a linked connection are ``gone``, and nothing tells the proxy."""

    def act(proxy, client, backend):
        client.write(b"ask")
        proxy.settle()
        owner = proxy.record.owner

        class Owner:
            def gone(self):
                return gone

            def abort(self, reason):
                owner.abort(reason)

            def acknowledged(self):
                return None

        proxy.record.owner = Owner()
        proxy.pass_time(100)

    return linked(act)


def stops(proxy, client, backend):
    proxy.service.stopService()
    proxy.pass_time(31)


def removed(proxy, client, backend):
    proxy.service.update_routes([route("other", port=8081)])
    proxy.settle()
    proxy.pass_time(32)


def found_down(proxy, client, backend):
    """The first check of the target, within its interval, fails."""
    proxy.pass_time(1.2)
    proxy.backend_fails(error.ConnectionRefusedError())
    proxy.pass_time(0.1)


def callable_raises(proxy):
    (candidate,) = proxy.service._runtime.targets.groups.find("web").candidates
    candidate.host, candidate.is_literal, candidate.endpoint = raise_error, False, None
    proxy.client()


def says(data):
    def act(proxy):
        client = proxy.client()
        client.write(data)
        proxy.settle()
        proxy.pass_time(1)
        client.fin()
        proxy.settle()

    return act


def leaves(how, data=b"", ip="192.0.2.1"):
    """A client that disconnects before it is linked."""

    def act(proxy):
        client = proxy.client(ip)
        client.write(data)
        proxy.settle()
        getattr(client, how)()
        proxy.settle()
        proxy.pass_time(SILENT_FIN + 0.3)

    return act


def path_fails(proxy):
    """A bug: a phase of the path raises."""
    client = proxy.client()
    proxy.network.dials[-1]._factory._waiting.fail(RuntimeError("impossible"))
    proxy.settle()
    client.fin()


class Row(NamedTuple):
    """:ivar logged: lines of the log."""

    reason: CloseReason
    act: Any
    detail: str | None
    side: str
    more: dict[str, Any]
    configuration: dict[str, Any] = NONE
    logged: tuple[str, ...] = ()


C = CloseReason
ROWS = [
    Row(C.NORMAL, both_end(0, 1), None, "client", LINKED),
    Row(C.NORMAL, both_end(1, 0), None, "target", LINKED),
    Row(C.NORMAL, leaves("close", ip=OUTER), "the client disconnected before it had a route", "client", {}, ALL_PHASES),
    Row(C.NORMAL, leaves("close"), "the client disconnected before it had a route", "client", {}, NAMED),
    Row(C.NORMAL, leaves("fin"), "the client disconnected while its target was dialed", "client", DIALED),
    Row(C.NORMAL, says(b"loseConnection"), None, "target", {"route": "web"}, handled("TALK")),
    Row(C.NORMAL, leaves("fin"), None, "client", {"route": "web"}, handled("TALK")),
    Row(C.NORMAL, says(b""), None, "target", {"route": "web"}, handled("returns")),
    Row(C.CLIENT_RESET, leaves("rst", HELLO), "the client reset the connection while its target was dialed", "client",
        DIALED | {"sni": "a.example"}, NAMED),
    Row(C.CLIENT_RESET, linked(lambda proxy, client, _: client.rst()),
        "the client reset the connection, or its connection timed out", "client", LINKED),
    Row(C.UPSTREAM_RESET, linked(lambda proxy, _, backend: backend.rst()),
        "the target reset the connection, or its connection timed out", "target", LINKED),
    Row(C.UPSTREAM_RESET, says(b"abortConnection"), "its handler reset the connection", "target", {"route": "web"},
        handled("TALK")),
    Row(C.UPSTREAM_RESET, says(b""), "its handler reset the connection", "target", {"route": "web"}, handled("aborts")),
    Row(C.INACTIVITY, passes(5.5), "no byte moved for 5 s (inactivityTimeout)", "proxy", LINKED,
        {"inactivityTimeout": "5s", "keepAliveTreatment": "standard"}),
    Row(C.INACTIVITY, passes(31), "no byte moved for 30 s (inactivityTimeout, times keepAliveInactivityMultiplier)",
        "proxy", LINKED, {"inactivityTimeout": "5s"}),
    Row(C.LIFETIME, passes(10.5), "open for 10 s (maxConnectionLifetime)", "proxy", LINKED,
        {"maxConnectionLifetime": "10s", "keepAliveTreatment": "standard"}),
    Row(C.LIFETIME, passes(20.5), "open for 20 s (extendedKeepAliveLifetime)", "proxy", LINKED,
        {"extendedKeepAliveLifetime": "20s"}),
    Row(C.HALF_CLOSE_TIMEOUT, linked(half_close),
        "one direction has ended, and no byte moved for 60 s (halfCloseTimeout)", "proxy", LINKED),
    Row(C.ZOMBIE_FULL, looks((True, True)), "both sockets were closed without an event: a bug in smartproxy", "proxy",
        LINKED, logged=(f"zombies: 1 full (a bug in smartproxy), 0 half, 0 stuck: full {ZOMBIE}",)),
    Row(C.ZOMBIE_HALF, looks((True, False)),
        "one socket was closed, and no byte moved for 30 s (zombieDetection.halfGracePlain)", "proxy",
        LINKED, logged=(f"zombies: 0 full (a bug in smartproxy), 1 half, 0 stuck: half {ZOMBIE}",)),
    Row(C.ZOMBIE_STUCK, looks((False, False)),
        "no reply to 3 bytes of the client, and no byte moved for 60 s (zombieDetection.stuckPlain)", "proxy",
        LINKED, logged=(f"zombies: 0 full (a bug in smartproxy), 0 half, 1 stuck: stuck {ZOMBIE}",)),
    Row(C.SHUTDOWN, linked(stops), "still open after 30 s (gracefulShutdownTimeout)", "proxy", LINKED),
    Row(C.ADMIN, linked(lambda proxy, *_: proxy.service.end_connection(1)), "ended through the admin API", "proxy", LINKED),
    Row(C.ROUTE_REMOVED, linked(removed), "its route was removed, and gracefulShutdownTimeout has passed", "proxy", LINKED),
    Row(C.TARGET_DOWN, linked(found_down),
        "a check found target web/10.0.0.1:9000 down (whenDown: reset): 10.0.0.1:9000: Connection refused", "proxy", LINKED, CHECKED,
        ("target web/10.0.0.1:9000 is down: 10.0.0.1:9000: Connection refused",)),
    Row(C.ERROR, callable_raises, "the host callable raise_error of route 'web' raised ZeroDivisionError: division by zero", "proxy",
        {"route": "web"}, {}, ("connection 1 on route web failed: listener :8080, route web",)),
    Row(C.ERROR, says(b"raise"), "its handler raised ZeroDivisionError: no such thing", "target", {"route": "web"},
        handled("TALK"), ("connection 1 on route web: its handler failed: listener :8080, route web",)),
    Row(C.ERROR, says(b""), r"its handler raised KeyError: 'x\\ny'", "target", {"route": "web"}, handled("raises"),
        ("connection 1 on route web: its handler failed: listener :8080, route web",)),
    Row(C.ERROR, path_fails, "RuntimeError: impossible", "proxy", DIALED, {},
        ("connection 1 on route web failed: listener :8080, route web, target 10.0.0.1:9000, 1 attempt",)),
]  # fmt: skip


class EndTests(ExplainedCase):
    def test_both_logs_explain_each_end(self):
        for row in ROWS:
            with self.subTest(row.reason, detail=row.detail):
                fields, lines = self.explained(row.act, **row.configuration)
                self.flushLoggedErrors(ZeroDivisionError, KeyError, RuntimeError)
                expected = {"outcome": row.reason, "side": row.side} | row.more
                self.assertEqual(fields, expected | ({} if row.detail is None else {"detail": row.detail}))
                self.assertEqual(lines, list(row.logged))

    def test_every_reason_is_in_the_table(self):
        self.assertEqual(set(CloseReason) - {row.reason for row in ROWS}, set())

    def test_attempts_before_a_connection_are_counted(self):
        """A line of a served client shows that its first target was down, and what it cost."""

        def act(proxy):
            client = proxy.client()
            proxy.pass_time(0.5)
            proxy.backend_fails(error.ConnectionRefusedError())
            proxy.backend().close()
            client.close()

        fields, _ = self.explained(act, routes=[route(hosts=["10.0.0.1", "10.0.0.2"])])
        self.assertEqual(
            (fields["outcome"], fields["attempts"], fields["target"]), ("normal", 2, "10.0.0.2:9000")
        )
