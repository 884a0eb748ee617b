"""Closes the connections of removed routes, ``gracefulShutdownTimeout`` after the reload that removed them.

Routes are identified by name. A route that a later reload adds again before that time keeps its connections.
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

#: Seconds between two checks for connections accepted before the removal that may still be assigned to the removed route:
#: a connection keeps the configuration that it was accepted with.
_CHECK_INTERVAL = 1.0

log = Logger()


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
        present: Callable[[], Collection[str]],
    ) -> None:
        self._registry = registry
        self._deadlines = deadlines
        self._clock = clock
        self._present = present

    def remove(self, names: Collection[str], seconds: float) -> None:
        """Schedule the end of the connections of the routes ``names``, in ``seconds``."""
        if names and self._registry.live:
            self._deadlines.call_later(seconds, partial(self._end, frozenset(names), self._clock()))

    def _end(self, names: frozenset[str], removed_at: float) -> None:
        removed = names.difference(self._present())
        live = self._registry.live.values()
        remaining = [record for record in live if record.route in removed]
        if remaining:
            log.info("closing {count} connections of removed routes", count=len(remaining))
        for record in remaining:
            # One deadline per connection: deadlines run in slices, so that closing thousands does not block the reactor.
            self._deadlines.call_later(0.0, partial(_end, record))
        # A connection without a route yet may be assigned to a removed one: check again.
        if removed and any(record.route is None and record.opened_at <= removed_at for record in live):
            self._deadlines.call_later(_CHECK_INTERVAL, partial(self._end, removed, removed_at))


def _end(record: ConnectionRecord) -> None:
    record.owner.abort(CloseReason.ROUTE_REMOVED)
