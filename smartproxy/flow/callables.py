"""Calling an embedder's callable and waiting for its answer.

It may return a value, an awaitable (an asyncio future, too) or a Deferred. Exceptions propagate to the caller.
"""

from __future__ import annotations

from asyncio import isfuture
from inspect import isawaitable
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred

from smartproxy.errors import DialFailed
from smartproxy.model.outcome import RejectReason

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from twisted.internet.interfaces import IReactorTime

    from smartproxy.model.facts import Routed
    from smartproxy.model.plan import Choice


async def ask(what: str, choice: Choice, facts: Routed, seconds: float, clock: IReactorTime) -> object:
    """The answer of ``choice`` for a connection with these facts.

    :param what: the configuration key of the callable, for messages.
    :param seconds: the time it may take (``connectionTimeout``); 0 is no limit.
    :raises DialFailed: when it takes longer; it is cancelled then.
    """
    answer = choice(facts)
    if isfuture(answer):
        answer = Deferred.fromFuture(answer)
    elif isawaitable(answer) and not isinstance(answer, Deferred):
        answer = Deferred.fromCoroutine(_awaited(answer))
    if not isinstance(answer, Deferred):
        return answer

    def give_up(_: object, after: float) -> None:
        detail = f"the {what} callable of route {facts.route.name!a} has not answered in {round(after, 3)} s"
        raise DialFailed(RejectReason.UPSTREAM_TIMEOUT, detail)

    if seconds:
        answer.addTimeout(seconds, clock, give_up)
    return await answer


async def _awaited(answer: Awaitable[object]) -> object:
    return await answer
