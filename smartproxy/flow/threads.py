"""Calling slow functions: in a thread of the reactor, or directly where it has none."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from twisted.internet.defer import Deferred, execute
from twisted.internet.interfaces import IReactorThreads
from twisted.internet.threads import deferToThreadPool

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

#: Seconds of work after which a thread pauses, and seconds of the pause.
_WORK: Final = 0.0005
_PAUSE: Final = 0.0005


class Call(Protocol):
    """Calls a function, here or in a thread."""

    def __call__(self, call: Callable[[], T], /) -> Deferred[T]:
        """Fires with the result of ``call``, or fails with its exception."""


def call_here(call: Callable[[], T], /) -> Deferred[T]:
    """Call ``call`` now, in this thread."""
    return execute(call)


def thread_of(reactor: Any) -> Call:
    """A :class:`Call` that uses the reactor's thread pool; :func:`call_here` where it has none, as in a test."""
    if not IReactorThreads.providedBy(reactor):
        return call_here

    def call_there(call: Callable[[], T], /) -> Deferred[T]:
        return deferToThreadPool(reactor, reactor.getThreadPool(), call)

    return call_there


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
