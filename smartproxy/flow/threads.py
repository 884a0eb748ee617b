"""Calling slow functions: in a thread of the reactor, or directly where it has none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from twisted.internet.defer import Deferred, execute
from twisted.internet.interfaces import IReactorThreads
from twisted.internet.threads import deferToThreadPool

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


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
