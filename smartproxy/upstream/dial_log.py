"""What is logged of failed attempts at targets, at most once per interval and target."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.logger import Logger

from smartproxy.errors import NameNotResolved

if TYPE_CHECKING:
    from collections.abc import Callable

    from smartproxy.errors import DialFailed
    from smartproxy.model.plan import RoutePlan
    from smartproxy.upstream.candidate import Candidate
    from smartproxy.upstream.log_limit import LogLimit

log = Logger()


class DialLog:
    """Logs failures of targets.

    :param limit: which of them are logged.
    :param seconds: the monotonic clock.
    """

    def __init__(self, limit: LogLimit, seconds: Callable[[], float]) -> None:
        self._limit = limit
        self._seconds = seconds

    def failed(self, candidate: Candidate, route: RoutePlan, why: DialFailed) -> None:
        """Log the failure of a candidate, at most once per interval: a dead one may fail a thousand times a second."""
        if not isinstance(why, NameNotResolved) and self._may_log(route, candidate.name):
            log.warn("route {route}: {why}", route=route.name, why=ascii(why.detail)[1:-1])

    def session_refused(self, candidate: Candidate, route: RoutePlan, why: DialFailed) -> None:
        """Log that a target has ended a connection instead of declining a TLS session."""
        if self._may_log(route, f"{candidate.name} session"):
            log.warn(
                "route {route}: {why}: connecting again without the former session",
                route=route.name,
                why=ascii(why.detail)[1:-1],
            )

    def _may_log(self, route: RoutePlan, what: str) -> bool:
        return self._limit.may_log(route.name, what, self._seconds())
