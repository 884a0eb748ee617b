"""Requests of a route that blocks (``type: block``), on a connection that had another route before.

The first request of a connection is refused before HTTP is spoken: see :mod:`smartproxy.phases.admit`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from smartproxy.flow.carried_state import TarpitRoom
from smartproxy.http.local.answering import LocalAnswerer
from smartproxy.http.local.services import LocalAnswers
from smartproxy.model.outcome import CloseReason

if TYPE_CHECKING:
    from smartproxy.flow.deadline import Deadline
    from smartproxy.http.interfaces import Answerer, AnswerReceiver
    from smartproxy.http.local.services import LocalServices
    from smartproxy.model.exchange import Exchange

_FORBIDDEN: Final = 403
_DETAIL: Final = "the route blocks every client"


class BlockAnswers(LocalAnswers):
    """Refuses every request.

    :param mode: ``close`` answers 403; ``reset`` resets the connection; ``tarpit`` answers after ``seconds``.
    :param most: most requests in the tarpit; further ones are answered at once.
    """

    def __init__(
        self, mode: Literal["close", "reset", "tarpit"], *, seconds: float = 60.0, most: int = 200
    ) -> None:
        self.mode = mode
        self.seconds = seconds
        self.most = most
        self.room = TarpitRoom(most)

    def carry_over(self, former: object) -> None:
        """Requests that wait since before a reload take up room, too."""
        if isinstance(former, BlockAnswers) and former.terms() == self.terms():
            self.room = former.room

    def terms(self) -> tuple[str, float, int]:
        """What its action says."""
        return self.mode, self.seconds, self.most

    def __call__(self, exchange: Exchange, client: AnswerReceiver, services: LocalServices) -> Answerer:
        """The answerer of one exchange."""
        return _BlockAnswerer(self, exchange, client, services)


class _BlockAnswerer(LocalAnswerer):
    """Refuses one request."""

    def __init__(
        self, terms: BlockAnswers, exchange: Exchange, client: AnswerReceiver, services: LocalServices
    ) -> None:
        super().__init__(exchange, client, services)
        self._terms = terms
        self._room = terms.room
        self._due: Deadline | None = None

    def respond(self) -> None:
        """Refuse it."""
        terms = self._terms
        if terms.mode == "reset":
            self._reset()
        elif terms.mode == "tarpit" and self._room.left:
            self._room.left -= 1
            self._due = self.services.deadlines.call_later(terms.seconds, self._refuse)
        else:
            self._refuse()

    def cancel(self) -> None:
        """The client has left."""
        super().cancel()
        self._leave()

    def _refuse(self) -> None:
        self._leave()
        self.fail(_FORBIDDEN, _DETAIL)

    def _leave(self) -> None:
        due, self._due = self._due, None
        if due is not None:
            due.cancel()
            self._room.left += 1

    def _reset(self) -> None:
        record = self.exchange.record
        self.exchange.status = _FORBIDDEN
        record.explain(CloseReason.UPSTREAM_RESET, _DETAIL)
        record.owner.abort(CloseReason.UPSTREAM_RESET)
