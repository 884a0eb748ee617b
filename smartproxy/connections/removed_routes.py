"""Closes the connections of removed routes, ``gracefulShutdownTimeout`` after the reload that removed them.

An HTTP connection ends with the route of its request under way, or of the one that has made a tunnel of it; between two, with
that of its first one.

Routes are identified by name. A route that a later reload adds again before that time keeps its connections; removed once
more, it gets the whole time again.

A connection keeps the configuration that it was accepted with, so one that has no route yet when the time is over may still
be assigned to a removed one. Such connections are few, and only they are checked again.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from twisted.logger import Logger

from smartproxy.model.outcome import CloseReason

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from collections.abc import Set as AbstractSet

    from smartproxy.connections.registry import Registry
    from smartproxy.flow.deadline import Deadlines
    from smartproxy.model.record import ConnectionRecord

#: Seconds between two checks of connections without a route.
_CHECK_INTERVAL = 1.0

log = Logger()


class _Removal:
    """What one reload has removed.

    :ivar names: the routes that no later reload has added again.
    :ivar at: monotonic seconds.
    """

    __slots__ = ("at", "names")

    def __init__(self, names: Collection[str], at: float) -> None:
        self.names = set(names)
        self.at = at


class RemovedRoutes:
    """Closes the connections of removed routes.

    :param clock: monotonic seconds.
    :param present: returns the names of the routes in the current configuration.
    """

    def __init__(
        self,
        registry: Registry,
        deadlines: Deadlines,
        clock: Callable[[], float],
        present: Callable[[], AbstractSet[str]],
    ) -> None:
        self._registry = registry
        self._deadlines = deadlines
        self._clock = clock
        self._present = present
        self._removals: list[_Removal] = []

    def remove(self, names: Collection[str], seconds: float) -> None:
        """Schedule the end of the connections of the routes ``names``, in ``seconds``.

        Called after every reload, also if it has removed none: those that it has added again keep their connections.
        """
        if self._removals:
            for removal in self._removals:
                removal.names -= self._present()
        if names and self._registry.live:
            removal = _Removal(names, self._clock())
            self._removals.append(removal)
            self._deadlines.call_later(seconds, partial(self._end, removal))

    def _end(self, removal: _Removal) -> None:
        """The time is over."""
        without_route = []
        ending = []
        for record in self._registry.live.values():
            if record.route_in_use in removal.names:
                ending.append(record)
            elif record.route is None and record.opened_at <= removal.at:
                without_route.append(record)
        self._end_all(ending)
        self._check_later(removal, without_route)

    def _check(self, removal: _Removal, without_route: list[ConnectionRecord]) -> None:
        """See which route those without one have got since."""
        live = self._registry.live
        checked = [record for record in without_route if record.id in live]
        self._end_all([record for record in checked if record.route_in_use in removal.names])
        self._check_later(removal, [record for record in checked if record.route is None])

    def _check_later(self, removal: _Removal, without_route: list[ConnectionRecord]) -> None:
        if removal.names and without_route:
            self._deadlines.call_later(_CHECK_INTERVAL, partial(self._check, removal, without_route))
        else:
            self._removals.remove(removal)

    def _end_all(self, records: list[ConnectionRecord]) -> None:
        if records:
            log.info("closing {count} connections of removed routes", count=len(records))
        for record in records:
            # One deadline per connection: deadlines run in slices, so that closing thousands does not block the reactor.
            self._deadlines.call_later(0.0, partial(_end, record))


def _end(record: ConnectionRecord) -> None:
    record.owner.abort(CloseReason.ROUTE_REMOVED)
