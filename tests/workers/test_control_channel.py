"""The control channel: what fails at the other end."""

from __future__ import annotations

from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.protocols.amp import UnknownRemoteError
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.errors import WorkerFailed
from smartproxy.workers import commands
from smartproxy.workers.control_channel import ControlChannel


class TellTests(SynchronousTestCase):
    def told(self, failure):
        channel = ControlChannel()
        channel.is_connected = True
        channel.callRemote = lambda *_, **__: fail(failure)
        return Deferred.fromCoroutine(channel.tell(commands.Commit))

    def test_what_goes_wrong_there_is_a_failure_of_the_worker(self):
        """Else a worker with a bug would end a change of the configuration half-way: others would not get it."""
        for failure in (
            ConnectionDone(),
            UnknownRemoteError("Unknown Error"),
            WorkerFailed("it cannot"),
        ):
            with self.subTest(repr(failure)):
                self.failureResultOf(self.told(failure), WorkerFailed)

    def test_one_that_has_ended_is_told_nothing(self):
        """AMP itself fails in another way where the command has a descriptor: a reload was an internal error then."""
        channel = ControlChannel()
        channel.makeConnection(StringTransport())
        channel.connectionLost(Failure(ConnectionDone()))
        for telling in (channel.tell(commands.Prepare, settings=0), channel.tell(commands.Commit)):
            self.failureResultOf(Deferred.fromCoroutine(telling), WorkerFailed)
