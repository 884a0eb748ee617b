"""Long work in a thread beside the event loop, in small portions."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

T = TypeVar("T")

#: Seconds of work after which a thread pauses, and seconds of the pause.
_WORK: Final = 0.00025
_PAUSE: Final = 0.0005


class Pace:
    """Lets the event loop run while a thread does long work: called between the items of that work.

    Python hands its lock from one thread to another only after 5 ms. The event loop gives it up in every system call, so
    that beside a busy thread each of its calls would take so long. In the main thread this does nothing.
    """

    def __init__(self) -> None:
        self._is_needed = threading.current_thread() is not threading.main_thread()
        self._pause_at = time.perf_counter() + _WORK

    def __call__(self) -> None:
        if self._is_needed and time.perf_counter() > self._pause_at:
            time.sleep(_PAUSE)
            self._pause_at = time.perf_counter() + _WORK

    def over(self, items: Iterable[T]) -> Iterator[T]:
        """The same items; it is called before each."""
        for item in items:
            self()
            yield item
