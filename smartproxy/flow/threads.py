"""Calling what takes long: in a thread of the reactor's, or here where there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from twisted.internet.defer import Deferred, execute
from twisted.internet.interfaces import IReactorThreads
from twisted.internet.threads import deferToThreadPool

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class Call(Protocol):
    """A way to call."""

    def __call__(self, call: Callable[[], T], /) -> Deferred[T]:
        """Fires with what ``call`` returns, or fails with what it raises."""


def call_here(call: Callable[[], T], /) -> Deferred[T]:
    """At once."""
    return execute(call)


def thread_of(reactor: Any) -> Call:
    """In one of the reactor's threads, while it goes on; at once where it has none, as in a test."""
    if not IReactorThreads.providedBy(reactor):
        return call_here

    def call_there(call: Callable[[], T], /) -> Deferred[T]:
        return deferToThreadPool(reactor, reactor.getThreadPool(), call)

    return call_there
