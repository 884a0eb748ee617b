"""Asking a target for TLS as PostgreSQL's clients do, before the handshake (PostgreSQL manual, 55.2.10)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smartproxy.errors import DeadlineExpired, DialFailed, PeerClosed
from smartproxy.model.outcome import RejectReason
from smartproxy.wire import postgres
from smartproxy.wire.postgres import EncryptionAnswer, EncryptionRequest
from smartproxy.wire.verdict import Done

if TYPE_CHECKING:
    from smartproxy.flow.deadline import Deadlines
    from smartproxy.flow.side import Side


class RequestTls:
    """Asks targets."""

    def __init__(self, deadlines: Deadlines) -> None:
        self._deadlines = deadlines

    async def __call__(self, side: Side, host: str, seconds: float) -> tuple[int, int]:
        """Ask ``host``, and hear that it is willing: it awaits a ClientHello. ``side`` is paused, before and after.

        :param seconds: that the answer may take; 0 is for ever.
        :return: how many bytes went to it, and came from it.
        :raises DialFailed: for any other answer, or none; ``side`` is cut then.
        """
        question = postgres.build(EncryptionRequest.SSL)
        try:
            problem = await self._ask(side, question, seconds)
        except BaseException:  # the client has left
            side.transport.abortConnection()
            raise
        if problem:
            side.transport.abortConnection()
            raise DialFailed(RejectReason.TLS_ERROR, f"TLS with {host}: {problem}")
        return len(question), len(side.consume())

    async def _ask(self, side: Side, question: bytes, seconds: float) -> str:
        """What is wrong with the answer, if it is not a yes and nothing else."""
        due = self._deadlines.call_later(seconds, side.expire) if seconds else None
        try:
            side.transport.write(question)
            side.transport.resumeProducing()
            if not side.buffered:
                await side.wait_for(1)
        except DeadlineExpired:
            return "it does not answer a request for TLS"
        except PeerClosed:
            return "it has closed instead of answering a request for TLS"
        finally:
            if due is not None:
                due.cancel()
        side.transport.pauseProducing()
        return _problem(side.buffered)


def _problem(held: bytes) -> str:
    verdict = postgres.parse_answer(held)
    if not isinstance(verdict, Done):
        return "it answers a request for TLS as no PostgreSQL server does"
    if verdict.value is EncryptionAnswer.UNWILLING:
        return "it is asked for TLS, and has none"
    if verdict.value is EncryptionAnswer.ERROR:
        return "it is asked for TLS, and answers with an error"
    return "bytes in plain text behind its answer" if len(held) > verdict.consumed else ""
