"""The wall clock jumps by an hour in either direction, and no handshake times out because of it."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.errors import HandshakeFailed
from smartproxy.flow.clock import clock_of, use_monotonic_time
from smartproxy.flow.deadline import Deadlines
from smartproxy.flow.side import Side
from smartproxy.tls.channel import Channel
from smartproxy.tls.handshake import handshake
from tests.connections.test_wall_clock import HOUR, WallReactor
from tests.tls import talk
from tests.tls.made import Authority

if TYPE_CHECKING:
    from collections.abc import Callable

CA = Authority()
TIMEOUT = 10.0


class HandshakeTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.wall, self.monotonic = 1e9, 500.0
        self.patch(time, "time", lambda: self.wall)
        self.patch(time, "monotonic", lambda: self.monotonic)
        self.reactor = WallReactor()

    def begin(self) -> None:
        """Start a handshake: the client has sent its ClientHello and received the answer."""
        deadlines = Deadlines(clock_of(self.reactor))
        deadlines.start()
        self.addCleanup(deadlines.stop)
        to = talk.route(CA.leaf("a.example").plan())
        self.client = talk.client(CA)
        context = talk.contexts(talk.proxy(to)).for_hello(to, talk.hello())
        accepting = SSL.Connection(context, None)
        accepting.set_accept_state()
        self.side, self.sent = Side(), StringTransport()
        self.side.makeConnection(self.sent)
        self.handshake = Deferred.fromCoroutine(handshake(self.side, Channel(accepting), deadlines, TIMEOUT))
        self.step()
        self.assertNoResult(self.handshake)

    def step(self) -> None:
        """Let the client process what it has received, and answer."""
        if came := self.sent.value():
            self.sent.clear()
            self.client.bio_write(came)
        with contextlib.suppress(SSL.WantReadError):
            self.client.do_handshake()
        with contextlib.suppress(SSL.WantReadError):
            self.side.dataReceived(self.client.bio_read(1 << 16))

    def pass_time(self, seconds: float) -> None:
        for _ in range(round(seconds * 10)):
            self.wall += 0.1
            self.monotonic += 0.1
            self.reactor.run()

    def jump(self, hours: float) -> None:
        self.wall += hours * HOUR
        self.pass_time(0.2)

    def assert_completes(self, jumps: Callable[[], None]) -> None:
        self.begin()
        self.pass_time(TIMEOUT - 2)
        jumps()
        self.assertNoResult(self.handshake)
        self.step()
        self.successResultOf(self.handshake)

    def assert_times_out_on_time(self, jumps: Callable[[], None]) -> None:
        self.begin()
        jumps()
        self.pass_time(TIMEOUT - 1)
        self.assertNoResult(self.handshake)
        self.pass_time(1)
        why = self.failureResultOf(self.handshake, HandshakeFailed).value
        self.assertTrue(why.timed_out, why.detail)

    def test_jump_forward_changes_no_deadline(self) -> None:
        self.assert_completes(lambda: self.jump(1))
        self.assert_times_out_on_time(lambda: self.jump(1))

    def test_jump_back_changes_no_deadline_on_a_monotonic_reactor(self) -> None:
        """twistd's reactor is moved to the monotonic clock, and so is not affected."""
        use_monotonic_time(self.reactor)
        self.assert_completes(lambda: self.jump(-1))
        self.assert_times_out_on_time(lambda: self.jump(-1))
