"""Pending challenges of ACME before any route: HTTP-01 (RFC 8555, 8.3) and TLS-ALPN-01 (RFC 8737).

::

    table = ChallengeTable(RouteTable(routes), answers, port)       # in the place of the table, for one listener

A request for a token that is pending, and a ClientHello of an authority that validates a name, get routes of their own: the
one is answered with the key authorization, and the other is shown a certificate that proves control, and closed. Every other
connection and request goes on to the routes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from smartproxy.http.local.answering import LocalAnswerer
from smartproxy.http.local.services import LocalAnswers
from smartproxy.model.plan import ActionKind, HttpPlan, MatchPlan, RoutePlan, TerminationPlan
from smartproxy.tls.challenge import ACME_TLS, challenge_certificate
from smartproxy.wire.http_fields import Fields

if TYPE_CHECKING:
    from smartproxy.acme.answers import ChallengeAnswers
    from smartproxy.http.interfaces import Answerer, AnswerReceiver
    from smartproxy.http.local.services import LocalServices
    from smartproxy.model.exchange import Exchange
    from smartproxy.model.facts import Detected
    from smartproxy.model.plan import CertificatePlan
    from smartproxy.routing.listener_routes import ListenerRoutes
    from smartproxy.routing.table import RouteTable

#: Where an authority asks (RFC 8555, 8.3).
PREFIX: Final = "/.well-known/acme-challenge/"
#: The name under which challenges are counted and logged.
ROUTE: Final = "(acme)"
#: Seconds for the handshake with an authority.
_HANDSHAKE: Final = 10.0

_OK: Final = 200
_GONE: Final = 404
_FIELDS: Final = Fields.of({"Content-Type": "application/octet-stream", "Cache-Control": "no-store"}.items())


class ChallengeTable:
    """A route table of one listener in which pending challenges come first.

    :param table: the routes of the configuration.
    :param is_plain: whether HTTP-01 is answered on the listener.
    """

    def __init__(self, table: RouteTable, answers: ChallengeAnswers, *, is_plain: bool) -> None:
        self._table = table
        self._answers = answers
        self._is_plain = is_plain
        self._http = RoutePlan(
            ROUTE,
            -1,
            MatchPlan(()),
            ActionKind.RESPOND,
            answers=_TokenAnswers(answers),
            http=HttpPlan(remembers=False),
        )
        self._tls = RoutePlan(
            ROUTE,
            -1,
            MatchPlan(()),
            ActionKind.HANDLER,
            handler=_close,
            tls=TerminationPlan(
                certificate_for=self._certificate, alpn=ACME_TLS, handshake_timeout=_HANDSHAKE
            ),
        )

    def find(self, facts: Detected) -> RoutePlan | None:
        """The route for a connection, or for a request on it."""
        return self._challenge(facts) or self._table.find(facts)

    def _challenge(self, facts: Detected) -> RoutePlan | None:
        """The route for what asks for a pending challenge."""
        hello, request = facts.hello, facts.request
        if hello is not None:
            is_tls = hello.alpn == ACME_TLS and hello.server_name is not None
            return self._tls if is_tls and self._answers.tls_answer(hello.server_name or "") else None
        if request is None or not self._is_plain or not request.path.startswith(PREFIX):
            return None
        answer = self._answers.http_answer(request.path.removeprefix(PREFIX))
        return None if answer is None else self._http

    def inside(self, facts: Detected, route: RoutePlan) -> ListenerRoutes | None:
        """As that of the table."""
        return self._table.inside(facts, route)

    def alike(self, facts: Detected, route: RoutePlan) -> ListenerRoutes | None:
        """As that of the table."""
        return self._table.alike(facts, route)

    def _certificate(self, server_name: str | None) -> CertificatePlan | None:
        answer = None if server_name is None else self._answers.tls_answer(server_name)
        return None if answer is None else challenge_certificate(answer)


async def _close(_connection: object) -> None:
    """The authority has seen the certificate: there is nothing to serve."""


class _TokenAnswers(LocalAnswers):
    """Answers requests for pending challenges."""

    def __init__(self, answers: ChallengeAnswers) -> None:
        self.pending = answers

    def __call__(self, exchange: Exchange, client: AnswerReceiver, services: LocalServices) -> Answerer:
        """The answerer of one exchange."""
        return _TokenAnswerer(self, exchange, client, services)


class _TokenAnswerer(LocalAnswerer):
    """Sends a key authorization."""

    def __init__(
        self, answers: _TokenAnswers, exchange: Exchange, client: AnswerReceiver, services: LocalServices
    ) -> None:
        super().__init__(exchange, client, services)
        self._answers = answers

    def respond(self) -> None:
        """Send it."""
        token = self.exchange.head.path.removeprefix(PREFIX)
        answer = self._answers.pending.http_answer(token)
        if answer is None:  # it has just been cleaned up
            self.fail(_GONE, "no challenge is pending for this token")
        else:
            self.answer_whole(_OK, _FIELDS, answer.encode())
