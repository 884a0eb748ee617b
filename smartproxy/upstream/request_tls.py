"""Asking a target for TLS before the handshake, as PostgreSQL's clients do (PostgreSQL manual, 55.2.10)."""

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
    """Asks targets for TLS."""

    def __init__(self, deadlines: Deadlines) -> None:
        self._deadlines = deadlines

    async def __call__(self, side: Side, host: str, seconds: float) -> tuple[int, int]:
        """Ask ``host`` for TLS and wait for its consent; it expects a ClientHello then.

        ``side`` is paused, before and after.

        :param seconds: deadline of the answer; 0 for none.
        :return: how many bytes were sent to it and received from it.
        :raises DialFailed: if the answer is any other, or there is none; ``side`` is aborted then.
        """
        question = postgres.build(EncryptionRequest.SSL)
        try:
            problem = await self._ask(side, question, seconds)
        except BaseException:  # the client disconnected, which cancels this coroutine
            side.transport.abortConnection()
            raise
        if problem:
            side.transport.abortConnection()
            raise DialFailed(RejectReason.TLS_ERROR, f"TLS with {host}: {problem}")
        return len(question), len(side.consume())

    async def _ask(self, side: Side, question: bytes, seconds: float) -> str:
        """What is wrong with the answer; empty if it is a consent and nothing else."""
        due = self._deadlines.call_later(seconds, side.expire) if seconds else None
        try:
            side.transport.write(question)
            side.transport.resumeProducing()
            # Bytes that came before the question are no answer to it: _problem() refuses them.
            if not side.buffered:
                await side.wait_for(1)
        except DeadlineExpired:
            return "it did not answer the request for TLS in time"
        except PeerClosed:
            return "it closed the connection instead of answering the request for TLS"
        finally:
            if due is not None:
                due.cancel()
        side.transport.pauseProducing()
        return _problem(side.buffered)


def _problem(received: bytes | bytearray) -> str:
    verdict = postgres.parse_answer(received)
    if not isinstance(verdict, Done):
        return "its answer to the request for TLS is not that of a PostgreSQL server"
    if verdict.value is EncryptionAnswer.UNWILLING:
        return "it does not support TLS"
    if verdict.value is EncryptionAnswer.ERROR:
        return "it answered the request for TLS with an error"
    # Plaintext that must not be read as if it had come within the TLS (CVE-2021-23222).
    return "plaintext bytes after its answer" if len(received) > verdict.consumed else ""
