"""A check by a callable of the embedding program.

It is not trusted to be correct: it may raise, answer with something else, ignore that it is cancelled, and never end. Then the
check fails, and the next one is not begun before the former one has ended, so that they do not pile up.
"""

from __future__ import annotations

from asyncio import isfuture
from contextlib import suppress
from inspect import isawaitable
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure
from zope.interface import implementer

from smartproxy.errors import CheckFailed
from smartproxy.model.address import UnixEndpoint
from smartproxy.model.target_status import CheckedTarget
from smartproxy.upstream.health.connections import port_of
from smartproxy.upstream.interfaces import ICheck

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from smartproxy.model.plan.check import CheckPlan
    from smartproxy.upstream.candidate import Candidate
    from smartproxy.upstream.member import Member

#: Characters of its answer that are shown.
_SHOWN = 200


@implementer(ICheck)
class ProgramCheck:
    """Calls callables."""

    def __init__(self) -> None:
        self._running: set[tuple[Member, object]] = set()

    def __call__(self, candidate: Candidate, plan: CheckPlan) -> Deferred[str]:
        """See :class:`~smartproxy.upstream.interfaces.ICheck`.

        :raises CheckFailed: or the Deferred fails with it.
        """
        assert plan.program is not None  # noqa: S101 - it is of this kind
        member = candidate.member
        running = member, plan.program
        if running in self._running:
            raise CheckFailed("its former check has not ended yet")
        asked = CheckedTarget(member.group, member.name, str(candidate.host), _port(candidate, plan))
        try:
            answer = plan.program(asked)
        except Exception as why:
            raise _failed(why) from None
        waiting = _deferred(answer)
        if waiting is None:
            answered: Deferred[str] = Deferred()
            answered.callback(_detail(answer))
            return answered
        self._running.add(running)
        waiting.addBoth(self._ended, running)
        return _ProgramAnswer(waiting).answered

    def _ended(self, answer: object, running: tuple[Member, object]) -> object:
        self._running.discard(running)
        return answer


def _port(candidate: Candidate, plan: CheckPlan) -> int:
    return 0 if isinstance(candidate.host, UnixEndpoint) else port_of(candidate.target, plan)


def _deferred(answer: Any) -> Deferred[object] | None:
    """A Deferred of what a callable has returned; ``None`` if that need not be waited for."""
    if isinstance(answer, Deferred):
        return answer
    if isfuture(answer):
        return Deferred.fromFuture(answer)
    return Deferred.fromCoroutine(_awaited(answer)) if isawaitable(answer) else None


async def _awaited(answer: Awaitable[object]) -> object:
    return await answer


class _ProgramAnswer:
    """Waits for a callable's Deferred until :attr:`answered` is cancelled. What comes later is dropped, exceptions included."""

    __slots__ = ("_waiting", "answered")

    def __init__(self, waiting: Deferred[object]) -> None:
        self._waiting: Deferred[object] | None = waiting
        self.answered: Deferred[str] = Deferred(self._cancelled)
        waiting.addBoth(self._settle)

    def _settle(self, answer: object) -> None:
        if self._waiting is None:
            return
        self._waiting = None
        try:
            if isinstance(answer, Failure):
                raise _failed(answer.value)
            detail = _detail(answer)
        except CheckFailed:
            self.answered.errback()
        else:
            self.answered.callback(detail)

    def _cancelled(self, _: Deferred[str]) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            with suppress(Exception):  # of a canceller, which is the program's; the check has failed already
                waiting.cancel()


def _detail(answer: object) -> str:
    """What was found.

    :raises CheckFailed: where it is not a string.
    """
    if answer is None:
        return "passed"
    if not isinstance(answer, str):
        raise CheckFailed(
            f"the callable returned {_line(repr(answer))}: it must return a string or None, or raise"
        )
    return _line(answer)


def _failed(why: BaseException | None) -> CheckFailed:
    if isinstance(why, CheckFailed):
        return CheckFailed(_line(why.detail))
    if isinstance(why, CancelledError):
        return CheckFailed("the callable was cancelled")
    text = str(why)
    name = type(why).__name__
    return CheckFailed(_line(f"{name}: {text}" if text else name))


def _line(text: str) -> str:
    """``text`` as one line of ASCII."""
    shown = ascii(text)[1:-1]
    return shown[:_SHOWN] + "..." if len(shown) > _SHOWN else shown
