"""All attempts of a connection to reach a target share one limit of time."""

from __future__ import annotations

from twisted.internet import error
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import LogLevel, capturedLogs

from smartproxy.errors import DialFailed
from smartproxy.model.outcome import RejectReason
from smartproxy.model.plan import TargetPlan, Timeouts
from tests.upstream.connecting import ConnectCase, to


class DialingTimeTests(ConnectCase):
    def dial_silent(self, *times, **timeouts):
        """Twenty targets that do not answer; how long each dial was allowed, and when the client was refused."""
        targets = to(*(f"192.0.2.{number}" for number in range(1, 21)))
        connecting = self.connecting(targets, timeouts=Timeouts(**timeouts))
        ended = []
        connecting.addErrback(lambda why: ended.append((self.clock.seconds(), why.value.reason)))
        for seconds in times:
            self.clock.advance(seconds)
            self.dialer.fail(self.dialer.dialled[-1][0].host, error.TimeoutError())
        return [timeout for _, timeout in self.dialer.dialled], ended

    def test_all_attempts_together_have_three_times_the_timeout(self):
        """With twenty dead targets, a client is refused after 9 s, not after a minute."""
        allowed, ended = self.dial_silent(3.0, 3.0, 3.0, connection=3.0)
        self.assertEqual((allowed, ended), ([3.0] * 3, [(9.0, RejectReason.UPSTREAM_TIMEOUT)]))

    def test_the_last_attempt_has_what_time_is_left(self):
        """A target that refuses after a while takes time, too."""
        allowed, ended = self.dial_silent(2.0, 2.0, 2.0, 2.0, 1.0, connection=3.0)
        self.assertEqual(allowed, [3.0, 3.0, 3.0, 3.0, 1.0])
        self.assertEqual(ended, [(9.0, RejectReason.UPSTREAM_TIMEOUT)])

    def test_without_connection_timeout_every_target_is_tried(self):
        allowed, ended = self.dial_silent(*[50.0] * 20, connection=0.0)
        self.assertEqual((allowed, ended), ([0.0] * 20, [(1000.0, RejectReason.UPSTREAM_TIMEOUT)]))

    def test_names_and_callables_take_of_the_same_time(self):
        """Neither twenty silent names nor twenty callables that do not answer hold a client for a minute."""
        silent = [f"n{number}" for number in range(20)]
        never = TargetPlan(lambda _facts: Deferred(), 80)
        for targets in (to(*(f"{name}.test" for name in silent)), (never,) * 20):
            self.create(**{name: Deferred() for name in silent})
            connecting = self.connecting(targets, timeouts=Timeouts(connection=3.0))
            self.clock.pump([3.0, 3.0, 2.9])
            self.assertNoResult(connecting)
            self.clock.advance(0.1)
            self.failureResultOf(connecting, DialFailed)

    def test_each_address_of_a_name_takes_of_the_same_time(self):
        addresses = [f"192.0.2.{number}" for number in range(1, 5)]
        self.create(a=addresses)
        connecting = self.connecting(
            to("10.0.0.1", "10.0.0.2", "a.example"), timeouts=Timeouts(connection=3.0)
        )
        for host in ("10.0.0.1", "10.0.0.2"):
            self.clock.advance(3.0)
            self.dialer.fail(host, error.TimeoutError())
        self.clock.pump([0.25] * 3)
        self.assertEqual([timeout for _, timeout in self.dialer.dialled[2:]], [3.0, 2.75, 2.5, 2.25])
        connecting.addErrback(lambda why: why.trap(CancelledError))
        connecting.cancel()

    def test_unresolved_name_is_logged_by_the_resolver_alone(self):
        with capturedLogs() as logged:
            self.failureResultOf(self.connecting(to("gone.test")), DialFailed)
        warned = [event["log_format"] for event in logged if event["log_level"] is LogLevel.warn]
        self.assertEqual(warned, ["target {group}/{target} is ejected for {seconds:g} s: {why}"])
