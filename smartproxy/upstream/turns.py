"""Whose turn it is among the targets of a route: the part of balancing that outlives a reload.

A configuration compiles to a fixed round of targets (:mod:`smartproxy.upstream.balance`). How many turns a route has
had, and when the failures of its targets were last logged, is kept here by the names of route and target. So a reload
does not send every new connection to the first target again, and does not repeat log lines.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

#: Seconds during which the failure of one target is logged once.
LOG_INTERVAL = 5.0


class RouteTurn:
    """The state of one route.

    :ivar taken: turns taken so far. A change of targets goes on from the same number, so even a route that is changed
        after every connection uses all of its targets.
    """

    __slots__ = ("_logged_at", "taken")

    def __init__(self) -> None:
        self.taken = 0
        self._logged_at: dict[str, float] = {}

    def may_log(self, target: str, now: float) -> bool:
        """Whether a failure of ``target`` is logged now; a repetition within :data:`LOG_INTERVAL` is not.

        :param now: monotonic seconds.
        """
        logged_at = self._logged_at.get(target)
        if logged_at is not None and now - logged_at < LOG_INTERVAL:
            return False
        self._logged_at[target] = now
        return True

    def keep(self, targets: Collection[str]) -> None:
        """Forget targets that the route no longer has."""
        for name in self._logged_at.keys() - targets:
            del self._logged_at[name]


class Turns:
    """The state of every route that is configured, by name. Lives as long as the proxy.

    :ivar postgres: names of the routes by which a PostgreSQL client has been connected.
    """

    def __init__(self) -> None:
        self.postgres: set[str] = set()
        self._routes: dict[str, RouteTurn] = {}

    def of(self, route: str) -> RouteTurn:
        """The state of the route named ``route``."""
        turn = self._routes.get(route)
        if turn is None:
            turn = self._routes[route] = RouteTurn()
        return turn

    def keep(self, routes: Collection[str]) -> None:
        """Forget routes that are no longer configured."""
        self.postgres.intersection_update(routes)
        for name in self._routes.keys() - routes:
            del self._routes[name]
