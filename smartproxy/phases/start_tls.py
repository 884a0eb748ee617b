"""Answering a client that asks for TLS before its ClientHello, as PostgreSQL's clients do (STARTTLS).

The client waits for the answer before it sends the ClientHello that a route is chosen by. So it is answered here,
before there is a target that could be asked; :mod:`smartproxy.upstream.request_tls` asks the target later. A target
that refuses then counts as one whose handshake has failed, and the next target is tried.

A client must not send anything between its request and the answer. Such bytes are plaintext that anybody on the
network may have injected, and a reader that treats them as part of the TLS stream trusts that attacker (CVE-2021-23214
in the server, CVE-2021-23222 in its client). Bytes that have arrived with the request are refused here; later ones are
read as TLS, and fail there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from smartproxy.errors import HandshakeFailed, PeerClosed
from smartproxy.wire import postgres
from smartproxy.wire.postgres import EncryptionAnswer, EncryptionRequest
from smartproxy.wire.verdict import Done, Malformed

if TYPE_CHECKING:
    from smartproxy.flow.side import Side

#: TLS is offered, GSSAPI is not: its encryption would have to end here, where there is no key for it.
_ANSWERS = {
    EncryptionRequest.SSL: EncryptionAnswer.WILLING,
    EncryptionRequest.GSSENC: EncryptionAnswer.UNWILLING,
}


class AnswerStartTls:
    """Answers a client's request for encryption."""

    async def __call__(self, side: Side) -> EncryptionAnswer | None:
        """The answer sent, once the client has sent something after it; ``None`` if it has not asked.

        The request is consumed; without one, nothing is.

        :raises Refused: if bytes came with the request. The client gets no reason: it must not show an
            ErrorResponse to its user (55.2.10), and an alert is possible only after TLS was agreed to.
        :raises PeerClosed: if the client disconnects after the answer.
        """
        request = await _request(side)
        if request is None:
            return None
        side.consume(request.consumed)
        if side.buffered:
            raise HandshakeFailed("plaintext bytes after a request for encryption", told=False)
        answer = _ANSWERS[request.value]
        side.transport.write(postgres.build_answer(answer))
        await side.wait_for(1)
        return answer


async def _request(side: Side) -> Done[EncryptionRequest] | None:
    """The request at the beginning of ``side``, waiting for as many bytes as it takes to tell."""
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
