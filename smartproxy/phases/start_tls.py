"""TLS that is asked for first, as PostgreSQL's clients do: saying yes to a client, and asking a target.

A client waits for its yes before it sends the hello that a route is chosen by. So it gets it from us, before
there is a target that could be asked. The target is asked later, when its turn comes, and one that says no is
as one whose handshake fails: the next may be willing.

Neither side may say more before the answer than its question or its answer. Such bytes were sent in plain text
by anybody, and who reads them as if they had come within the TLS believes what was stuffed in by somebody in the
middle (CVE-2021-23214 in the server, CVE-2021-23222 in its client). What has come in one flight is judged; what
comes later is read as TLS, and is none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from smartproxy.errors import DialFailed, HandshakeFailed
from smartproxy.flow.side import Ended, Expired
from smartproxy.model.outcome import RejectReason
from smartproxy.wire import postgres
from smartproxy.wire.postgres import Answer, Request
from smartproxy.wire.verdict import Done, Malformed

if TYPE_CHECKING:
    from smartproxy.flow.deadline import Deadlines
    from smartproxy.flow.side import Side

#: TLS is what there is here. GSSAPI would end at us, who have no key for it.
_ANSWERS = {Request.SSL: Answer.WILLING, Request.GSSENC: Answer.UNWILLING}


class AnswerStartTls:
    """Answers clients."""

    async def __call__(self, side: Side) -> Answer | None:
        """What was answered, once something has come behind it; ``None`` where nothing was asked, and nothing taken.

        :raises Refused: where something has come before the answer. Nothing is said then: an ErrorResponse
            must not be shown to anybody (55.2.10), and an alert belongs behind a yes.
        :raises Ended: where the client has left after its answer.
        """
        request = await _request(side)
        if request is None:
            return None
        side.take(request.consumed)
        if side.held:
            raise HandshakeFailed("bytes in plain text behind a request for encryption", told=False)
        answer = _ANSWERS[request.value]
        side.transport.write(postgres.build_answer(answer))
        await side.more(1)
        return answer


async def _request(side: Side) -> Done[Request] | None:
    """What ``side`` begins with, if that is a request, once that is clear."""
    while True:
        verdict = postgres.parse(side.held)
        if isinstance(verdict, Done):
            return verdict
        if isinstance(verdict, Malformed):
            return None
        try:
            await side.more(verdict.at_least)
        except Ended:
            return None


class AskForTls:
    """Asks targets."""

    def __init__(self, deadlines: Deadlines) -> None:
        self._deadlines = deadlines

    async def __call__(self, side: Side, host: str, seconds: float) -> tuple[int, int]:
        """Ask ``host``, and hear that it is willing: it awaits a ClientHello. ``side`` is paused, before and after.

        :param seconds: that the answer may take; 0 is for ever.
        :return: how many bytes went to it, and came from it.
        :raises DialFailed: for any other answer, or none; ``side`` is cut then.
        """
        question = postgres.build(Request.SSL)
        try:
            problem = await self._ask(side, question, seconds)
        except BaseException:  # the client has left
            side.transport.abortConnection()
            raise
        if problem:
            side.transport.abortConnection()
            raise DialFailed(RejectReason.TLS_ERROR, f"TLS with {host}: {problem}")
        return len(question), len(side.take())

    async def _ask(self, side: Side, question: bytes, seconds: float) -> str:
        """What is wrong with the answer, if it is not a yes and nothing else."""
        due = self._deadlines.after(seconds, side.expire) if seconds else None
        try:
            side.transport.write(question)
            side.transport.resumeProducing()
            if not side.held:
                await side.more(1)
        except Expired:
            return "it does not answer a request for TLS"
        except Ended:
            return "it has closed instead of answering a request for TLS"
        finally:
            if due is not None:
                due.drop()
        side.transport.pauseProducing()
        return _problem(side.held)


def _problem(held: bytes) -> str:
    verdict = postgres.parse_answer(held)
    if not isinstance(verdict, Done):
        return "it answers a request for TLS as no PostgreSQL server does"
    if verdict.value is Answer.UNWILLING:
        return "it is asked for TLS, and has none"
    if verdict.value is Answer.ERROR:
        return "it is asked for TLS, and answers with an error"
    return "bytes in plain text behind its answer" if len(held) > verdict.consumed else ""
