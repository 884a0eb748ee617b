"""Log lines that anybody's clients can cause: one in a while.

::

    interval = LogInterval(clock.seconds)
    if interval.may_log():
        log.error(...)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

#: Seconds between two lines: a day of failures has fewer than 1,500.
INTERVAL: Final = 60.0


class LogInterval:
    """Says when another line may be logged.

    :param clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._logged_at: float | None = None

    def may_log(self) -> bool:
        """Whether the last line was logged long enough ago; the caller logs another one then."""
        now = self._clock()
        if self._logged_at is not None and now - self._logged_at < INTERVAL:
            return False
        self._logged_at = now
        return True
