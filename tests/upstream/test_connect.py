"""Connecting to a target: whose turn it is, and the others where that fails."""

from __future__ import annotations

from twisted.internet import error
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.errors import DialFailed, ResumptionFailed
from smartproxy.flow.side import Side
from smartproxy.metrics.counters import Counters
from smartproxy.model.address import Endpoint
from smartproxy.model.outcome import RejectReason
from smartproxy.model.plan import KeepAlive, OriginationPlan, TargetPlan, TerminationPlan, Timeouts
from smartproxy.testing import connection
from smartproxy.upstream.connect import Connect
from smartproxy.upstream.originate_tls import Encrypted
from smartproxy.upstream.turns import Turns
from smartproxy.wire.client_hello import ClientHello
from tests.phases.made import routed


class FakeDialer:
    """The test says how each attempt ends. ``refusing``: who refuses at once."""

    def __init__(self, clock):
        self.clock = clock
        self.asked = []
        self.pending = {}
        self.refusing = set()
        self.given_up = []

    def dial(self, to, factory, timeout):
        self.asked.append((to, timeout))
        if to.host in self.refusing:
            factory.clientConnectionFailed(None, Failure(error.ConnectionRefusedError()))
            return None
        self.pending[to.host] = factory
        return _Connecting(self, to.host)

    def stand(self, host):
        transport, far = connection(self.clock)
        transport.carry(self.pending.pop(host).buildProtocol(None))
        return far

    def fail(self, host, exception):
        self.pending.pop(host).clientConnectionFailed(None, Failure(exception))


class _Connecting:
    def __init__(self, dialer, host):
        self.dialer = dialer
        self.host = host

    def stopConnecting(self):
        self.dialer.given_up.append(self.host)


class FakeResolver:
    def __init__(self, **names):
        self.names = names

    def resolve(self, name):
        answer = self.names.get(name.partition(".")[0])
        if answer is None:
            return fail(DialFailed(RejectReason.UPSTREAM_UNREACHABLE, "no such name"))
        return answer if isinstance(answer, Deferred) else succeed(answer)


def to(*hosts, port=80):
    return tuple(TargetPlan((host,), port) for host in hosts)


class ConnectTests(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.dialer = FakeDialer(self.clock)
        self.counters = Counters()
        self.begin()

    async def originate(self, side, tls, host, seconds, *, resume=True):
        """TLS that is ready at once, or not at all: see ``handshakes``."""
        self.originated.append((side.address.host, host, seconds))
        self.resumes.append(resume)
        failure = self.handshakes.pop(0) if self.handshakes else None
        if failure is not None:
            raise failure
        return Encrypted(Side(), lambda: self.originated.append("over"))

    async def ask_for_tls(self, side, host, seconds):
        """A target that is willing, unless it is one of ``unwilling``."""
        self.asked_for_tls.append((side, host, seconds, len(self.originated)))
        if host in self.unwilling:
            raise DialFailed(RejectReason.TLS_ERROR, "it has none")
        return 8, 1

    def begin(self, **names):
        self.originated, self.handshakes, self.resumes = [], [], []
        self.asked_for_tls, self.unwilling = [], []
        self.connect = Connect(
            self.dialer,
            FakeResolver(**names),
            self.clock,
            self.counters,
            self.originate,
            self.ask_for_tls,
            Turns(),
        )

    def connecting(self, targets, **more):
        return Deferred.fromCoroutine(self.connect(routed(targets=targets, **more)))

    def asked(self):
        return [str(endpoint) for endpoint, _ in self.dialer.asked]

    def dials(self):
        return sum(self.counters.route("web").dial_seconds.counts)

    def test_the_first_that_stands(self):
        targets = to("192.0.2.1")
        connecting = self.connecting(targets, timeouts=Timeouts(connection=7.0))
        self.clock.advance(0.5)
        self.dialer.stand("192.0.2.1")
        connected = self.successResultOf(connecting)
        self.assertEqual((connected.address, connected.target), (Endpoint("192.0.2.1", 80), targets[0]))
        self.assertEqual(self.dialer.asked, [(Endpoint("192.0.2.1", 80), 7.0)])
        self.assertEqual(self.counters.route("web").dial_seconds.total, 0.5)

    def test_keep_alive_is_the_routes(self):
        connecting = self.connecting(to("192.0.2.1"), keep_alive=KeepAlive(enabled=False))
        self.dialer.stand("192.0.2.1")
        self.assertFalse(self.successResultOf(connecting).side.transport.getTcpKeepAlive())

    def test_the_next_where_one_fails(self):
        """F8, F9."""
        self.dialer.refusing = {"192.0.2.1"}
        connecting = self.connecting(to("192.0.2.1", "192.0.2.2", "192.0.2.3"))
        self.dialer.fail("192.0.2.2", error.TimeoutError())
        self.dialer.stand("192.0.2.3")
        self.assertEqual(self.successResultOf(connecting).address.host, "192.0.2.3")
        self.assertEqual(self.asked(), ["192.0.2.1:80", "192.0.2.2:80", "192.0.2.3:80"])
        self.assertEqual(self.dials(), 1)

    def test_all_fail_as_the_last_did(self):
        self.dialer.refusing = {"192.0.2.1"}
        connecting = self.connecting(to("192.0.2.1", "192.0.2.2"))
        self.dialer.fail("192.0.2.2", error.TimeoutError())
        self.assertIs(
            self.failureResultOf(connecting, DialFailed).value.reason, RejectReason.UPSTREAM_TIMEOUT
        )
        self.assertEqual(self.dials(), 0)

    def test_no_target_is_unreachable(self):
        self.failureResultOf(self.connecting(()), DialFailed)

    def test_targets_take_turns_over_connections(self):
        targets = to("192.0.2.1", "192.0.2.2")
        route = routed(targets=targets)
        for _ in range(4):
            Deferred.fromCoroutine(self.connect(route))
        self.assertEqual(self.asked(), ["192.0.2.1:80", "192.0.2.2:80"] * 2)

    def test_a_port_that_is_preserved_is_the_listeners(self):
        self.connecting(to("192.0.2.1", port=None))
        self.assertEqual(self.asked(), ["192.0.2.1:443"])

    def test_a_mapped_address_is_plain_ipv4(self):
        self.connecting(to("::ffff:192.0.2.1"))
        self.assertEqual(self.asked(), ["192.0.2.1:80"])

    def test_a_name_that_is_not_resolved_in_time_is_as_one_that_does_not_answer(self):
        """And the next has its turn."""
        self.begin(slow=Deferred())
        connecting = self.connecting(to("slow.test", "192.0.2.7"), timeouts=Timeouts(connection=3.0))
        self.clock.advance(2.9)
        self.assertEqual(self.asked(), [])
        self.clock.advance(0.1)
        self.dialer.stand("192.0.2.7")
        self.assertEqual(self.successResultOf(connecting).address.host, "192.0.2.7")
        self.begin(slow=Deferred())
        connecting = self.connecting(to("slow.test"), timeouts=Timeouts(connection=3.0))
        self.clock.advance(3)
        self.assertIs(
            self.failureResultOf(connecting, DialFailed).value.reason, RejectReason.UPSTREAM_TIMEOUT
        )

    def test_a_name_that_is_known_needs_no_timer(self):
        self.begin(known=["192.0.2.7"])
        self.connecting(to("known.test"))
        self.assertEqual((self.asked(), self.clock.getDelayedCalls()), (["192.0.2.7:80"], []))

    def test_a_name_is_resolved_and_its_addresses_are_raced(self):
        self.begin(a=["2001:db8::1", "192.0.2.1"])
        connecting = self.connecting(to("a.example"))
        self.assertEqual(self.asked(), ["[2001:db8::1]:80"])
        self.clock.advance(0.25)
        self.dialer.stand("192.0.2.1")
        self.assertEqual(self.successResultOf(connecting).address, Endpoint("192.0.2.1", 80))
        self.assertEqual(self.dialer.given_up, ["2001:db8::1"])

    def test_a_name_with_one_address(self):
        self.begin(a=["192.0.2.1"])
        connecting = self.connecting(to("a.example"))
        self.dialer.stand("192.0.2.1")
        self.successResultOf(connecting)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_name_that_is_not_there_is_followed_by_the_next_target(self):
        connecting = self.connecting(to("b.example", "192.0.2.2"))
        self.dialer.stand("192.0.2.2")
        self.successResultOf(connecting)

    def test_a_client_that_leaves_cancels_what_is_under_way(self):
        for targets in (to("192.0.2.1"), to("a.example")):
            self.setUp()
            self.begin(a=["192.0.2.1", "192.0.2.2"])
            connecting = self.connecting(targets)
            connecting.cancel()
            self.failureResultOf(connecting, CancelledError)
            self.assertEqual(self.dialer.given_up, ["192.0.2.1"])
            self.clock.advance(10)
            self.assertEqual(len(self.dialer.asked), 1)

    def test_a_client_that_leaves_cancels_the_question(self):
        question = Deferred()
        self.begin(a=question)
        connecting = self.connecting(to("a.example"))
        connecting.cancel()
        self.failureResultOf(connecting, CancelledError)
        self.assertTrue(question.called)

    # -- TLS -----------------------------------------------------------------------------------------

    def test_the_header_is_given_to_whoever_links(self):
        connecting = Deferred.fromCoroutine(
            self.connect(routed(targets=to("192.0.2.1")), lambda target: b"PROXY %d" % target.port)
        )
        far = self.dialer.stand("192.0.2.1")
        self.clock.advance(0)
        self.assertEqual((self.successResultOf(connecting).header, far.received), (b"PROXY 80", b""))

    def test_the_header_goes_before_the_tls_of_the_target(self):
        target = TargetPlan(("192.0.2.1",), 443, tls=OriginationPlan())
        connecting = Deferred.fromCoroutine(
            self.connect(
                routed(targets=(target,), timeouts=Timeouts(tls_handshake=3.0)), lambda target: b"PROXY"
            )
        )
        far = self.dialer.stand("192.0.2.1")
        self.clock.advance(0)
        connected = self.successResultOf(connecting)
        self.assertEqual((connected.header, far.received), (b"", b"PROXY"))
        self.assertEqual(self.originated, [("192.0.2.1", "192.0.2.1", 3.0)])
        connected.on_closed()
        self.assertEqual(self.originated[1:], ["over"])

    def test_a_target_is_verified_by_its_name_and_not_by_its_address(self):
        self.begin(a=["192.0.2.1"])
        self.connecting((TargetPlan(("a.example",), 443, tls=OriginationPlan()),))
        self.dialer.stand("192.0.2.1")
        self.assertEqual(self.originated[0][:2], ("192.0.2.1", "a.example"))

    def test_the_next_where_a_handshake_fails(self):
        self.handshakes = [DialFailed(RejectReason.TLS_ERROR, "it has expired")]
        connecting = self.connecting(
            (TargetPlan(("192.0.2.1",), 443, tls=OriginationPlan()), *to("192.0.2.2"))
        )
        self.dialer.stand("192.0.2.1")
        self.dialer.stand("192.0.2.2")
        self.assertEqual(self.successResultOf(connecting).address.host, "192.0.2.2")

    def test_a_handshake_that_failed_with_the_last_is_a_tls_error(self):
        self.handshakes = [DialFailed(RejectReason.TLS_ERROR, "it has expired")]
        connecting = self.connecting((TargetPlan(("192.0.2.1",), 443, tls=OriginationPlan()),))
        self.dialer.stand("192.0.2.1")
        self.assertIs(self.failureResultOf(connecting, DialFailed).value.reason, RejectReason.TLS_ERROR)

    def test_a_target_that_fails_to_resume_is_dialed_once_more_without_a_session(self):
        target = TargetPlan(("192.0.2.1",), 443, tls=OriginationPlan())
        refused = ResumptionFailed(RejectReason.TLS_ERROR, "TLS with it: it disconnected")
        self.handshakes = [refused]
        with capturedLogs() as logged:
            connecting = Deferred.fromCoroutine(
                self.connect(routed(targets=(target,)), lambda target: b"PROXY")
            )
            self.dialer.stand("192.0.2.1")
            far = self.dialer.stand("192.0.2.1")
            self.clock.advance(0)
            self.successResultOf(connecting)
        self.assertEqual((self.resumes, far.received), ([True, False], b"PROXY"))
        self.assertEqual(
            [formatEvent(event) for event in logged],
            ["route web: TLS with it: it disconnected: connected again without the former session"],
        )

    def test_a_target_that_fails_without_a_session_too_is_not_dialed_again(self):
        for second in (
            DialFailed(RejectReason.TLS_ERROR, "it has expired"),
            ResumptionFailed(RejectReason.TLS_ERROR, "it disconnected"),
        ):
            self.setUp()
            self.handshakes = [ResumptionFailed(RejectReason.TLS_ERROR, "it disconnected"), second]
            connecting = self.connecting((TargetPlan(("192.0.2.1",), 443, tls=OriginationPlan()),))
            self.dialer.stand("192.0.2.1")
            self.dialer.stand("192.0.2.1")
            self.failureResultOf(connecting, DialFailed)
            self.assertEqual(self.resumes, [True, False])

    def test_name_of_the_client_is_asked_for_where_it_is_wanted(self):
        """Without one, the target's host."""
        for tls, hello, name in (
            (OriginationPlan(client_name=True), ClientHello("a.example"), "a.example"),
            (OriginationPlan(client_name=True), ClientHello(), "target.example"),
            (OriginationPlan(client_name=True), None, "target.example"),
            (OriginationPlan(server_name="b.example"), ClientHello("a.example"), "b.example"),
            (OriginationPlan(), ClientHello("a.example"), "target.example"),
        ):
            self.begin(target=["192.0.2.1"])
            facts = routed(targets=(TargetPlan(("target.example",), 443, tls=tls),))
            facts = facts._replace(detected=facts.detected._replace(hello=hello))
            Deferred.fromCoroutine(self.connect(facts))
            self.dialer.stand("192.0.2.1")
            self.assertEqual(self.originated[0][1], name)

    # -- TLS that is asked for first -----------------------------------------------------------------

    def asking(self, *targets, header=b"", **more):
        facts = routed(targets=targets, timeouts=Timeouts(tls_handshake=3.0), **more)
        facts = facts._replace(detected=facts.detected._replace(start_tls=True))
        return Deferred.fromCoroutine(self.connect(facts, lambda target: header))

    def test_where_the_clients_tls_passes_through_its_question_does_too(self):
        """Behind the header; it is payload."""
        connecting = self.asking(*to("192.0.2.1"), header=b"PROXY")
        far = self.dialer.stand("192.0.2.1")
        self.clock.advance(0)
        connected = self.successResultOf(connecting)
        self.assertEqual(self.asked_for_tls, [(connected.side, "192.0.2.1", 3.0, 0)])
        self.assertEqual((connected.header, far.received), (b"", b"PROXY"))
        self.assertEqual(connected.exchanged, (8, 1))

    def test_where_it_ends_here_a_plain_target_is_asked_nothing(self):
        connecting = self.asking(*to("192.0.2.1"), tls=TerminationPlan())
        self.dialer.stand("192.0.2.1")
        self.assertEqual(self.successResultOf(connecting).exchanged, (0, 0))
        self.assertEqual((self.asked_for_tls, self.originated), ([], []))

    def test_where_it_ends_here_and_begins_again_the_target_is_asked_before(self):
        connecting = self.asking(
            TargetPlan(("192.0.2.1",), 5432, tls=OriginationPlan()), tls=TerminationPlan(), header=b"PROXY"
        )
        far = self.dialer.stand("192.0.2.1")
        self.clock.advance(0)
        connected = self.successResultOf(connecting)
        ((side, *_, originated),) = self.asked_for_tls
        self.assertEqual((originated, len(self.originated)), (0, 1))
        self.assertIsNot(side, connected.side)
        self.assertEqual((connected.exchanged, connected.header, far.received), ((0, 0), b"", b"PROXY"))

    def test_where_it_passes_through_another_tls_it_is_asked_within(self):
        connecting = self.asking(TargetPlan(("192.0.2.1",), 5432, tls=OriginationPlan()))
        self.dialer.stand("192.0.2.1")
        connected = self.successResultOf(connecting)
        self.assertEqual(self.asked_for_tls, [(connected.side, "192.0.2.1", 3.0, 1)])
        self.assertEqual(connected.exchanged, (8, 1))

    def test_whoever_has_not_asked_asks_nobody(self):
        for tls in (None, OriginationPlan()):
            self.setUp()
            connecting = self.connecting((TargetPlan(("192.0.2.1",), 443, tls=tls),))
            self.dialer.stand("192.0.2.1")
            self.assertEqual(self.successResultOf(connecting).exchanged, (0, 0))
            self.assertEqual(self.asked_for_tls, [])

    def test_the_next_where_one_is_unwilling(self):
        self.unwilling = ["192.0.2.1"]
        connecting = self.asking(*to("192.0.2.1", "192.0.2.2"))
        self.dialer.stand("192.0.2.1")
        self.dialer.stand("192.0.2.2")
        self.assertEqual(self.successResultOf(connecting).address.host, "192.0.2.2")

    def test_where_all_are_unwilling_it_is_a_tls_error(self):
        self.unwilling = ["192.0.2.1"]
        connecting = self.asking(*to("192.0.2.1"))
        self.dialer.stand("192.0.2.1")
        self.assertIs(self.failureResultOf(connecting, DialFailed).value.reason, RejectReason.TLS_ERROR)

    # -- callables -----------------------------------------------------------------------------------

    def test_callables_may_answer_in_any_way(self):
        async def soon(facts):
            return await succeed("192.0.2.1")

        for host in (lambda facts: "192.0.2.1", soon, lambda facts: succeed("192.0.2.1")):
            self.setUp()
            connecting = self.connecting((TargetPlan(host, lambda facts: 8080),))
            self.dialer.stand("192.0.2.1")
            self.assertEqual(str(self.successResultOf(connecting).address), "192.0.2.1:8080")

    def test_callables_are_given_the_facts(self):
        given = []
        self.connecting((TargetPlan(lambda facts: given.append(facts) or "192.0.2.1", 80),))
        self.assertEqual(given[0].route.name, "web")
        self.assertEqual(given[0].detected.client_ip, "192.0.2.1")

    def test_a_callable_may_name_a_name(self):
        self.begin(a=["192.0.2.7"])
        self.connecting((TargetPlan(lambda facts: "a.example", 80),))
        self.assertEqual(self.asked(), ["192.0.2.7:80"])

    def test_a_callable_that_raises_ends_the_connection(self):
        async def raises(facts):
            raise ZeroDivisionError

        for host in (lambda facts: 1 / 0, raises, lambda facts: fail(ZeroDivisionError())):
            self.setUp()
            connecting = self.connecting((TargetPlan(host, 80), *to("192.0.2.2")))
            self.failureResultOf(connecting, ZeroDivisionError)
            self.assertEqual(self.asked(), [])

    def test_a_callable_is_asked_for_each_connection(self):
        hosts = iter(["192.0.2.1", "192.0.2.2"])
        target = (TargetPlan(lambda facts: next(hosts), 80),)
        route = routed(targets=target)
        for _ in range(2):
            Deferred.fromCoroutine(self.connect(route))
        self.assertEqual(self.asked(), ["192.0.2.1:80", "192.0.2.2:80"])
