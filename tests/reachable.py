"""What is still in memory, cycles aside."""

from __future__ import annotations

import gc
from typing import TypeVar

T = TypeVar("T")


def reachable(kind: type[T]) -> list[T]:
    """All objects of ``kind`` that something refers to."""
    gc.collect()
    return [each for each in gc.get_objects() if isinstance(each, kind)]
