"""What a wall clock that is set back means for certificates.

Certificates have dates, so that their renewals follow the wall clock, whatever it was set to. The time until an order is tried
again does not: a machine that starts with a date in the future fails all orders, because every certificate looks expired, and
would then wait until that date.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from smartproxy.acme.managed import ManagedCertificate

#: Seconds of a step that are not followed: smaller ones are corrections, which change nothing.
_TOLERANCE: Final = 10.0


class WallClockSteps:
    """Finds steps of the wall clock by a monotonic one, which may stand still while the machine sleeps.

    :param wall: seconds since the epoch.
    :param seconds: monotonic seconds.
    """

    def __init__(self, wall: Callable[[], float], seconds: Callable[[], float]) -> None:
        self._wall = wall
        self._seconds = seconds
        self._last = wall(), seconds()

    def follow(self, all_: Iterable[ManagedCertificate]) -> None:
        """Keep the waits of ``all_`` as long as they were, if the wall clock was set back since the last call."""
        (wall, seconds), self._last = self._last, (self._wall(), self._seconds())
        back = (self._last[1] - seconds) - (self._last[0] - wall)
        if back > _TOLERANCE:
            for managed in all_:
                managed.clock_was_set_back(back)
