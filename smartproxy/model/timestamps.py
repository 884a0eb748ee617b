"""Monotonic seconds, told as dates when somebody reads them.

The proxy only knows monotonic seconds, which no jump of the wall clock can touch. A :class:`Moment` holds both
clocks at once and translates: ISO 8601 in UTC with milliseconds (``2026-01-02T03:04:05.678Z``).
"""

from __future__ import annotations

import time
from functools import lru_cache
from typing import NamedTuple


class Moment(NamedTuple):
    """One instant on both clocks, in seconds: since the epoch, and monotonic."""

    wall: float
    monotonic: float

    @classmethod
    def now(cls) -> Moment:
        """Both clocks, read one after the other."""
        return cls(time.time(), time.monotonic())

    def iso(self, monotonic: float) -> str:
        """When ``monotonic`` was, in UTC."""
        seconds, milliseconds = divmod(
            round((self.wall - self.monotonic + monotonic) * 1_000_000) // 1000, 1000
        )
        return f"{_to_the_second(seconds)}.{milliseconds:03d}Z"


@lru_cache(maxsize=1024)
def _to_the_second(since_epoch: int) -> str:
    """Kept, because an access log names the same second again and again: 3 microseconds less for each line."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(since_epoch))
