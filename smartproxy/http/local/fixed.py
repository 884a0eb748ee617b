"""The same response to every request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from smartproxy.http.local.answering import LocalAnswerer, octets
from smartproxy.http.local.services import LocalAnswers
from smartproxy.wire.http_fields import Fields
from smartproxy.wire.http_response import CONTENTLESS, PLAIN_TEXT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from smartproxy.http.interfaces import Answerer, AnswerReceiver
    from smartproxy.http.local.services import LocalServices
    from smartproxy.model.exchange import Exchange

#: Final statuses (RFC 9110, 15).
_STATUSES: Final = range(200, 600)


class FixedAnswers(LocalAnswers):
    """Answers every request alike.

    :raises ValueError: for a status that is not final or cannot have the body, and a header that is not one line.
    """

    def __init__(self, body: bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        body = bytes(octets(body))
        if status not in _STATUSES or (body and status in CONTENTLESS):
            raise ValueError(f"status {status} does not fit a response with {len(body)} bytes")
        default = {} if status in CONTENTLESS else PLAIN_TEXT
        names = {name.lower() for name in headers or {}}
        more = {name: value for name, value in default.items() if name.lower() not in names}
        self.body, self.status = body, status
        self.fields = Fields.of((more | dict(headers or {})).items())

    def __call__(self, exchange: Exchange, client: AnswerReceiver, services: LocalServices) -> Answerer:
        """The answerer of one exchange."""
        return _FixedAnswerer(self, exchange, client, services)


class _FixedAnswerer(LocalAnswerer):
    """Sends the response."""

    def __init__(
        self, answers: FixedAnswers, exchange: Exchange, client: AnswerReceiver, services: LocalServices
    ) -> None:
        super().__init__(exchange, client, services)
        self._answers = answers

    def respond(self) -> None:
        """Send it."""
        self.answer_whole(self._answers.status, self._answers.fields, self._answers.body)


def http_respond(body: bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> FixedAnswers:
    """A handler that sends the same HTTP response to every request.

    :param headers: besides those that frame it.
    :raises ValueError: as :class:`FixedAnswers`.
    """
    return FixedAnswers(body, status, headers)
