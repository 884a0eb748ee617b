"""Connections of routes that are no longer in the configuration: they go on for a while, and then end.

A route is the same route as long as it has its name, whatever else a change made of it. One that is back
before its connections' time was up has never been away.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from twisted.logger import Logger

from smartproxy.model.outcome import CloseReason

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from smartproxy.connections.registry import Registry
    from smartproxy.flow.deadline import Deadlines
    from smartproxy.model.record import ConnectionRecord

#: Seconds between two looks for those that were on their way to a route before it was removed, and not there yet.
_AGAIN = 1.0

log = Logger()


class RemovedRoutes:
    """Ends what is left of removed routes.

    :param clock: monotonic seconds. :param present: names of the routes that are there now.
    """

    def __init__(
        self,
        registry: Registry,
        deadlines: Deadlines,
        clock: Callable[[], float],
        present: Callable[[], Collection[str]],
    ) -> None:
        self._registry = registry
        self._deadlines = deadlines
        self._clock = clock
        self._present = present

    def remove(self, names: Collection[str], seconds: float) -> None:
        """These have been removed just now; their connections have so many seconds."""
        if names and self._registry.live:
            self._deadlines.call_later(seconds, partial(self._end, frozenset(names), self._clock()))

    def _end(self, names: frozenset[str], removed_at: float) -> None:
        gone = names.difference(self._present())
        live = self._registry.live.values()
        left = [record for record in live if record.route in gone]
        if left:
            log.info("{count} connections of removed routes are ended", count=len(left))
        for record in left:
            # One deadline each: they are worked off in slices, so that nobody else waits for all of them.
            self._deadlines.call_later(0.0, partial(_end, record))
        if gone and any(record.route is None and record.opened_at <= removed_at for record in live):
            self._deadlines.call_later(_AGAIN, partial(self._end, gone, removed_at))


def _end(record: ConnectionRecord) -> None:
    record.owner.abort(CloseReason.ROUTE_REMOVED)
