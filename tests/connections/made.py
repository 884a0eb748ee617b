"""A registry and records for tests, whose sockets are callables."""

from __future__ import annotations

from twisted.internet.task import Clock

from smartproxy.connections.registry import Registry
from smartproxy.metrics.counters import Counters
from smartproxy.model.address import Endpoint
from smartproxy.model.facts import Accepted
from smartproxy.model.outcome import ConnectionState
from smartproxy.model.plan import CleanupPlan


class StandIn:
    """The owner of a record, as a test wants it."""

    def __init__(
        self, gone=lambda: (False, False), abort=lambda reason: None, acknowledged=lambda: None
    ) -> None:
        self.gone = gone
        self.abort = abort
        self.acknowledged = acknowledged


class RegistryFixture:
    """A registry, its counters and a clock.

    :ivar ends: number and reason of every connection whose ``end`` was called.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock = clock or Clock()
        self.counters = Counters()
        self.registry = Registry(self.counters, CleanupPlan(), self.clock)
        self.ends: list[tuple[int, object]] = []

    def relayed(self, *, gone=(False, False), received=0, sent=0, tls=False, stuck_detection=True):
        """Add a relayed connection.

        :param gone: what its ``gone`` returns: whether the client's and the target's socket are gone.
        """
        now = self.clock.seconds()
        record = self.registry.open(Accepted(":443", 443, Endpoint("192.0.2.1", 5000), now))
        self.registry.identify(record, record.peer)
        self.registry.assign(record, "web")
        record.state = ConnectionState.RELAYING
        record.tls = tls
        record.stuck_detection = stuck_detection
        record.owner = StandIn(lambda: gone, lambda reason: self._end(record, reason))
        if received:
            record.moved_in(received, now)
        if sent:
            record.moved_out(sent, now)
        return record

    def _end(self, record, reason):
        self.ends.append((record.id, reason))
        self.registry.close(record, reason, self.clock.seconds())

    def reasons(self):
        """The reasons of :attr:`ends`."""
        return [reason for _, reason in self.ends]


def turn(clock):
    """Run one event loop iteration. ``Clock.advance(0)`` would also run the calls that are scheduled during it."""
    now = clock.seconds()
    due = [call for call in clock.calls if call.getTime() <= now]
    for call in due:
        clock.calls.remove(call)
        call.called = True
        call.func(*call.args, **call.kw)
    return bool(due)
