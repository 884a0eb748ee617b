"""A poller whose reactor is turned by hand, and owners that record their events."""

from __future__ import annotations

import socket

from twisted.trial.unittest import SynchronousTestCase

from smartproxy.net import poller as poller_module
from smartproxy.net.poller import Poller
from tests.pumps import HandReactor


class Owner:
    """Records its events, and runs an action of the test for each."""

    def __init__(self, then=lambda events: None):
        self.events = []
        self.failures = []
        self.then = then

    def ready(self, events):
        self.events.append(events)
        self.then(events)

    def failed(self, why):
        self.failures.append(why.type)


class PollerCase(SynchronousTestCase):
    def setUp(self):
        self.reactor = HandReactor()
        self.poller = Poller(self.reactor, self.reactor.seconds)
        self.poller.start()
        self.addCleanup(self.stop)

    def stop(self):
        if not self.poller._epoll.closed:
            self.poller.stop()

    def pair(self, owner):
        near, far = socket.socketpair()
        self.addCleanup(near.close)
        self.addCleanup(far.close)
        near.setblocking(False)
        self.poller.add(near.fileno(), owner)
        return near, far

    def quietened(self, *owners):
        """Dispatch the first event of each, which says that it is writable."""
        self.poller.doRead()
        for owner in owners:
            owner.events.clear()

    def crowd(self, count):
        """Many sockets whose peers have closed, and one that has received bytes after that."""
        self.patch(poller_module, "_BATCH", 10)
        self.patch(poller_module, "_ENDS_A_BATCH", 4)
        self.told = []
        ending = [Owner(lambda _, number=number: self.told.append(number)) for number in range(count)]
        ends = [self.pair(owner) for owner in ending]
        living = Owner(lambda _: self.told.append("living"))
        _, far = self.pair(living)
        while self.told[-1:] != ["living"]:
            self.poller.doRead()
        self.told.clear()
        for _, end in ends:
            end.close()
        far.send(b"x")
        return ending, ends

    def turn(self):
        """Run one event loop iteration; ``Clock.advance`` would run those that follow, too."""
        call = self.reactor.calls.pop(0)
        call.called = True
        call.func()
