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

from smartproxy.errors import HandshakeFailed, PeerClosed
from smartproxy.wire import postgres
from smartproxy.wire.postgres import EncryptionAnswer, EncryptionRequest
from smartproxy.wire.verdict import Done, Malformed

if TYPE_CHECKING:
    from smartproxy.flow.side import Side

#: TLS is what there is here. GSSAPI would end at us, who have no key for it.
_ANSWERS = {
    EncryptionRequest.SSL: EncryptionAnswer.WILLING,
    EncryptionRequest.GSSENC: EncryptionAnswer.UNWILLING,
}


class AnswerStartTls:
    """Answers clients."""

    async def __call__(self, side: Side) -> EncryptionAnswer | None:
        """What was answered, once something has come behind it; ``None`` where nothing was asked, and nothing taken.

        :raises Refused: where something has come before the answer. Nothing is said then: an ErrorResponse
            must not be shown to anybody (55.2.10), and an alert belongs behind a yes.
        :raises PeerClosed: where the client has left after its answer.
        """
        request = await _request(side)
        if request is None:
            return None
        side.consume(request.consumed)
        if side.buffered:
            raise HandshakeFailed("bytes in plain text behind a request for encryption", told=False)
        answer = _ANSWERS[request.value]
        side.transport.write(postgres.build_answer(answer))
        await side.wait_for(1)
        return answer


async def _request(side: Side) -> Done[EncryptionRequest] | None:
    """What ``side`` begins with, if that is a request, once that is clear."""
    while True:
        verdict = postgres.parse(side.buffered)
        if isinstance(verdict, Done):
            return verdict
        if isinstance(verdict, Malformed):
            return None
        try:
            await side.wait_for(verdict.at_least)
        except PeerClosed:
            return None
