"""Which repetitions of an event are logged. It outlives a reload, so that reloads do not repeat log lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

#: Seconds during which the same event is logged once: a dead target may fail a thousand times a second.
LOG_INTERVAL = 5.0


class LogLimit:
    """Events by route and name."""

    def __init__(self) -> None:
        self._logged_at: dict[tuple[str, str], float] = {}

    def may_log(self, route: str, what: str, now: float) -> bool:
        """Whether the event ``what`` of ``route`` is logged now; a repetition within :data:`LOG_INTERVAL` is not.

        :param now: monotonic seconds.
        """
        logged_at = self._logged_at.get((route, what))
        if logged_at is not None and now - logged_at < LOG_INTERVAL:
            return False
        self._logged_at[route, what] = now
        return True

    def keep(self, routes: Collection[str]) -> None:
        """Forget routes that are no longer configured."""
        for key in [key for key in self._logged_at if key[0] not in routes]:
            del self._logged_at[key]
