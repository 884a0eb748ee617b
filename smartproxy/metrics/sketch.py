"""Percentiles of a stream in bounded memory: a histogram whose buckets grow by a fixed ratio.

::

    sizes = Sketch()
    sizes.add(1500)
    sizes.quantile(0.95)     # within 1 % of the true one

The bucket of a value is the rounded-up logarithm of it to a base just above 1, and all values in it are told as one that is
at most 1 % from either of its ends. This is the DDSketch of Masson, Rim and Lee ("DDSketch: a fast and fully-mergeable
quantile sketch with relative-error guarantees", VLDB 2019), without its collapsing: our values are seconds and
bytes, from a microsecond to 2**63 bytes, and between these lie 2,900 buckets at the most. Adding costs half a microsecond.
"""

from __future__ import annotations

from math import ceil, log

#: How far a quantile may be from the true one, relative to that.
ERROR = 0.01
_RATIO = (1 + ERROR) / (1 - ERROR)
_PER_E = 1 / log(_RATIO)
#: What is smaller is told as 0, and what is larger as this: a microsecond, and 2**63 bytes.
SMALLEST, LARGEST = 1e-6, 2.0**63


class Sketch:
    """How often there was about such a value.

    :ivar count: values in all.
    """

    __slots__ = ("_buckets", "_zeros", "count")

    def __init__(self) -> None:
        self._buckets: dict[int, int] = {}
        self._zeros = 0
        self.count = 0

    def __len__(self) -> int:
        """How many buckets are in use."""
        return len(self._buckets)

    def add(self, value: float) -> None:
        """There was ``value``, which is 0 or more."""
        self.count += 1
        if value < SMALLEST:
            self._zeros += 1
            return
        bucket = ceil(log(min(value, LARGEST)) * _PER_E)
        self._buckets[bucket] = self._buckets.get(bucket, 0) + 1

    def quantile(self, part: float) -> float | None:
        """The value that ``part`` of all values (0.5 is the median) do not exceed; ``None`` of no values."""
        if not self.count:
            return None
        rank = part * (self.count - 1)
        seen = self._zeros
        if rank < seen:
            return 0.0
        for bucket in sorted(self._buckets):
            seen += self._buckets[bucket]
            if rank < seen:
                break
        return 2 * _RATIO**bucket / (_RATIO + 1)
