"""Calling an embedder's callable and waiting for its answer.

It may return a value, an awaitable (an asyncio future, too) or a Deferred. Exceptions propagate to the caller.

A callable may swallow a cancel: by ``except Exception: return fallback``, or in a library that retries. Therefore a
connection never waits for the callable's Deferred but for another one (:func:`answer_of`), which fails as soon as it is
cancelled. A later answer of the callable is dropped.
"""

from __future__ import annotations

from asyncio import isfuture
from inspect import isawaitable
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from smartproxy.errors import DialFailed
from smartproxy.flow.coroutines import unfailed
from smartproxy.model.outcome import RejectReason

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from twisted.internet.interfaces import IReactorTime

    from smartproxy.model.facts import Routed
    from smartproxy.model.plan import Choice

log = Logger()


async def ask(what: str, choice: Choice, facts: Routed, seconds: float, clock: IReactorTime) -> object:
    """The answer of ``choice`` for a connection with these facts.

    :param what: what the callable chooses, for messages.
    :param seconds: the time it may take (``connectionTimeout``); 0 is no limit.
    :raises DialFailed: when it takes longer; it is cancelled then.
    """
    name = description_of(what, choice, facts.route.name)
    try:
        answer = answer_of(name, choice(facts))
        if not isinstance(answer, Deferred):
            return answer
        return await unfailed(_in_time(name, answer, seconds, clock))
    except Exception as failed:
        if name not in getattr(failed, "__notes__", ()):
            failed.add_note(name)
        raise


def _in_time(name: str, answer: Deferred[object], seconds: float, clock: IReactorTime) -> Deferred[object]:
    def give_up(_: object, after: float) -> None:
        raise DialFailed(RejectReason.UPSTREAM_TIMEOUT, f"{name} has not answered in {round(after, 3)} s")

    return answer.addTimeout(seconds, clock, give_up) if seconds else answer


def description_of(what: str, choice: object, route: str) -> str:
    """``the host callable tenant of route 'web'``, for messages.

    :param what: what the callable chooses.
    """
    name = getattr(choice, "__qualname__", None) or type(choice).__qualname__
    return f"the {what} callable {ascii(name)[1:-1]} of route {route!a}"


def answer_of(name: str, answer: object) -> Any:
    """``answer`` itself, or a Deferred of it where it has to be waited for. Cancelling that ends it at once.

    :param answer: what a callable has returned.
    :param name: of the callable, for the log.
    """
    if isfuture(answer):
        answer = Deferred.fromFuture(answer)
    elif isawaitable(answer) and not isinstance(answer, Deferred):
        question = _Question(name)
        return question.waiting_for(Deferred.fromCoroutine(question.awaited(answer)))
    if isinstance(answer, Deferred):
        return _Question(name).waiting_for(answer)
    return answer


class _Question:
    """Waits for a callable's Deferred until :attr:`answered` is cancelled.

    :ivar answered: fires as the callable's Deferred does.
    """

    __slots__ = ("_asked", "_is_cancelled", "_name", "answered")

    def __init__(self, name: str) -> None:
        self._name = name
        self._asked: Deferred[object] | None = None
        self._is_cancelled = False
        self.answered: Deferred[object] = Deferred(self._cancelled)

    def waiting_for(self, asked: Deferred[object]) -> Deferred[object]:
        """:attr:`answered`, by what ``asked`` gives."""
        self._asked = asked
        asked.addBoth(self._settle)
        return self.answered

    async def awaited(self, answer: Awaitable[object]) -> object:
        """What ``answer`` gives; ``None`` where the question was cancelled.

        Twisted would keep that exception in a circle with the frames of the coroutine, and so with what has called it.
        """
        try:
            return await answer
        except CancelledError:
            if not self._is_cancelled:
                raise
        return None

    def _settle(self, answer: object) -> None:
        if self._asked is not None:
            self._asked = None
            self.answered.callback(answer)
        elif isinstance(answer, Failure) and not answer.check(CancelledError):
            self._failed_late(answer)

    def _cancelled(self, _: Deferred[object]) -> None:
        asked, self._asked = self._asked, None
        self._is_cancelled = True
        if asked is not None:
            try:
                asked.cancel()
            except Exception:  # of a canceller, which is the embedder's code
                self._failed_late(Failure())

    def _failed_late(self, why: Failure) -> None:
        """Log an exception that no connection waits for any more."""
        log.failure("{name} failed after it was cancelled", failure=why, name=self._name)
