"""What is kept for the connection that a request to cancel is sent on: it is released however that ends."""

from __future__ import annotations

from unittest.mock import Mock

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.errors import PeerClosed
from smartproxy.phases.forward_cancel import ForwardCancel


class ReleasedTests(SynchronousTestCase):
    def test_however_the_target_ends_it(self):
        for end in (
            lambda waiting: waiting.errback(PeerClosed()),
            lambda waiting: waiting.callback(None),  # it has answered
            lambda waiting: waiting.cancel(),
        ):
            connected, waiting = Mock(header=b""), Deferred()
            connected.side.wait_for = lambda _, waiting=waiting: waiting

            async def to(*_, connected=connected):
                return connected

            forward = ForwardCancel(Mock(), Mock(to=to), Mock(), Mock(), set(), Mock(), Clock(), Mock())
            done = Deferred.fromCoroutine(forward._forward(Mock(), b"cancel", Mock()))
            done.addErrback(lambda _: None)
            end(waiting)
            connected.on_closed.assert_called_once()
