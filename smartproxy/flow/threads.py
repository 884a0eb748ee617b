"""Calling slow functions: in a thread of our own, or directly where the reactor has no threads.

The reactor's thread pool has ten threads, which the whole process shares, and a reactor that stops waits for all of them.
A function that the outside can make slow (a name server that does not answer, a file system that hangs) would take these
threads, and everything else that needs one would wait. So each kind of slow work has its own :class:`DaemonThreads`, and
nothing ever waits for such a thread to end.
"""

from __future__ import annotations

import errno
import os
from collections import deque
from functools import partial
from threading import Thread
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from twisted.internet.defer import Deferred, execute
from twisted.internet.interfaces import IReactorThreads
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class Call(Protocol):
    """Calls a function, here or in a thread."""

    def __call__(self, call: Callable[[], T], /) -> Deferred[T]:
        """Fires with the result of ``call``, or fails with its exception."""


class DaemonThreads:
    """Runs functions in threads, at most ``most`` at once; the others wait in order.

    It takes the place of Twisted's ``ThreadPool`` in ``deferToThreadPool``. Each function gets a new thread, which takes
    less than 0.1 ms; so no thread has to be kept, or stopped. The threads are daemons: the process does not wait for a
    function that never returns.

    :param name: of the threads, for debuggers.
    """

    def __init__(self, reactor: Any, name: str, most: int) -> None:
        self._reactor = reactor
        self._name = name
        self._most = most
        self._running = 0
        self._waiting: deque[tuple[Callable[..., object], Callable[[], object]]] = deque()

    def callInThreadWithCallback(
        self,
        onResult: Callable[..., object],
        func: Callable[..., object],
        *args: object,
        **kwargs: object,
    ) -> None:
        """As that of ``ThreadPool``; must be called in the reactor's thread. ``onResult`` is called in the other one."""
        self._waiting.append((onResult, partial(func, *args, **kwargs)))
        self._start_waiting()

    def _start_waiting(self) -> None:
        while self._waiting and self._running < self._most:
            on_result, call = self._waiting.popleft()
            thread = Thread(target=self._run, args=(on_result, call), name=self._name, daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the system has no more threads (RLIMIT_NPROC, pids.max)
                on_result(False, Failure(OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))))
            else:
                self._running += 1

    def _run(self, on_result: Callable[..., object], call: Callable[[], object]) -> None:
        """In the thread."""
        try:
            result: object = call()
        except BaseException:
            success, result = False, Failure()
        else:
            success = True
        self._reactor.callFromThread(self._ended)
        on_result(success, result)

    def _ended(self) -> None:
        self._running -= 1
        self._start_waiting()


def call_here(call: Callable[[], T], /) -> Deferred[T]:
    """Call ``call`` now, in this thread."""
    return execute(call)


def thread_for(purpose: str, reactor: Any, most: int = 1) -> Call:
    """A :class:`Call` with threads of its own; :func:`call_here` where the reactor has no threads, as in a test.

    :param purpose: part of the threads' names.
    :param most: how many run at once.
    """
    if not IReactorThreads.providedBy(reactor):
        return call_here
    # They have the one method of a ThreadPool that is used.
    threads: Any = DaemonThreads(reactor, f"smartproxy-{purpose}", most)

    def call_there(call: Callable[[], T], /) -> Deferred[T]:
        return deferToThreadPool(reactor, threads, call)

    return call_there
