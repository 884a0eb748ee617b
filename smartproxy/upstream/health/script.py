"""A check by conversation: send and expect, in the order of the configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import CancelledError, Deferred
from zope.interface import implementer

from smartproxy.errors import CheckFailed, PeerClosed
from smartproxy.upstream.interfaces import ICheck

if TYPE_CHECKING:
    from smartproxy.flow.side import Side
    from smartproxy.model.plan.check import CheckPlan, StepPlan
    from smartproxy.upstream.candidate import Candidate
    from smartproxy.upstream.health.connections import CheckConnections

#: The most that is read while a check waits for what it expects. An answer is a line or a page.
_LONGEST_ANSWER = 64 * 1024
#: Bytes of an unexpected answer that are shown.
_SHOWN = 60


@implementer(ICheck)
class ScriptCheck:
    """Runs the steps of a script."""

    def __init__(self, connections: CheckConnections) -> None:
        self._connections = connections

    def __call__(self, candidate: Candidate, plan: CheckPlan) -> Deferred[str]:
        """See :class:`~smartproxy.upstream.interfaces.ICheck`."""
        return Deferred.fromCoroutine(self._ask(candidate, plan))

    async def _ask(self, candidate: Candidate, plan: CheckPlan) -> str:
        side = await self._connections.open(candidate, plan)
        try:
            return await _run(side, plan.steps)
        finally:
            self._connections.close(side)


async def _run(side: Side, steps: tuple[StepPlan, ...]) -> str:
    found = "the script has passed"
    side.transport.resumeProducing()
    for number, step in enumerate(steps, 1):
        if step.send:
            side.transport.write(step.send)
        else:
            found = await _expect(side, step, number)
    return found


async def _expect(side: Side, step: StepPlan, number: int) -> str:
    """Wait for what ``step`` expects. What was received up to it is consumed."""
    while True:
        received = bytes(side.buffered)
        match = _match(step, received)
        if match is not None:
            side.consume(match.stop)
            return f"step {number}: {_shown(received[match.start : match.stop])}"
        if len(received) >= _LONGEST_ANSWER:
            raise CheckFailed(f"step {number}: not in the first {_LONGEST_ANSWER} bytes")
        try:
            await side.wait_for(len(received) + 1)
        except (PeerClosed, CancelledError) as why:
            ended = "it closed the connection" if isinstance(why, PeerClosed) else "no more in time"
            raise CheckFailed(f"step {number}: got {_shown(received)}, and {ended}") from None


def _match(step: StepPlan, received: bytes) -> range | None:
    """Where the expected bytes are in ``received``; ``None`` if they are not there."""
    if step.pattern is not None:
        found = step.pattern.search(received)
        return None if found is None else range(*found.span())
    at = received.find(step.expect)
    return None if at < 0 else range(at, at + len(step.expect))


def _shown(received: bytes) -> str:
    more = "..." if len(received) > _SHOWN else ""
    return ascii(received[:_SHOWN])[1:] + more if received else "nothing"
