"""Answering a request by the handler that a callable of its route chooses for it.

On a connection whose first request has such a route, the callable is asked once, for the connection
(:mod:`smartproxy.phases.serve`). On any other it is asked for each request, and has to give a handler of requests: the connection
speaks HTTP already. The client is not read while it is waited for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from smartproxy.errors import Refused
from smartproxy.flow.callables import ask, description_of
from smartproxy.flow.coroutines import CancellableCoroutine
from smartproxy.http.errors import status_of
from smartproxy.http.local.handlers import answers_of
from smartproxy.http.local.services import LocalAnswers
from smartproxy.model.ending import about, in_words

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from twisted.python.failure import Failure

    from smartproxy.http.interfaces import Answerer, AnswerReceiver
    from smartproxy.http.local.services import LocalServices
    from smartproxy.model.exchange import Exchange
    from smartproxy.model.plan import Choice, RoutePlan

_FAILED = 500

log = Logger()


class ChosenAnswers(LocalAnswers):
    """Answers each request by what the callable of ``route`` chooses for it."""

    def __init__(self, route: RoutePlan) -> None:
        self.route = route

    def __call__(self, exchange: Exchange, client: AnswerReceiver, services: LocalServices) -> Answerer:
        """The answerer of one exchange."""
        return ChosenAnswerer(self.route, exchange, client, services)


class ChosenAnswerer:
    """Answers one exchange: by the answerer of the handler, once that is chosen."""

    def __init__(
        self, route: RoutePlan, exchange: Exchange, client: AnswerReceiver, services: LocalServices
    ) -> None:
        self._route = route
        self._exchange = exchange
        self._client = client
        self._services = services
        self._choosing: CancellableCoroutine[None] | None = None
        self._chosen: Answerer | None = None
        #: What has come for the handler before it was chosen, in order.
        self._early: list[Callable[[Answerer], None]] = []

    def begin(self) -> None:
        """Ask the callable."""
        self._client.pause_request()
        self._choosing = CancellableCoroutine(self._choose(), self._services.call_soon)
        self._choosing.start().addErrback(self._failed)

    async def _choose(self) -> None:
        route, exchange = self._route, self._exchange
        choice = cast("Choice", route.handler)
        handler = await ask(
            "handler", choice, exchange.routed, route.timeouts.connection, self._services.clock
        )
        answers = answers_of(handler)
        if answers is None:
            description = description_of("handler", choice, route.name)
            raise TypeError(f"{description} gave {type(handler).__name__}, which takes no requests")
        self._choosing = None
        if exchange.is_over:
            return
        chosen = self._chosen = answers(exchange, self._client, self._services)
        self._client.resume_request()
        chosen.begin()
        early, self._early = self._early, []
        for pass_on in early:
            if not exchange.is_over:
                pass_on(chosen)

    def _failed(self, why: Failure) -> None:
        self._choosing = None
        failed = why.value
        if self._exchange.is_over or isinstance(failed, CancelledError):
            return
        if isinstance(failed, Refused):
            self._client.failed(status_of(failed), failed.detail)
            return
        record = self._exchange.record
        log.failure(
            "connection {id} on route {route} failed: {about}",
            failure=why,
            id=record.id,
            route=self._route.name,
            about=about(record),
        )
        self._client.failed(_FAILED, f"the handler callable has failed: {in_words(failed)}")

    # -- the request: see Answerer -------------------------------------------------------------------

    def request_data(self, pieces: Sequence[bytes | memoryview]) -> None:
        """Pass it on."""
        if self._chosen is not None:
            self._chosen.request_data(pieces)
        else:
            held = list(map(bytes, pieces))
            self._early.append(lambda chosen: chosen.request_data(held))

    def body_sink(self) -> object | None:
        """That of the handler."""
        return None if self._chosen is None else self._chosen.body_sink()

    def request_end(self, trailers: bytes) -> None:
        """Pass it on."""
        if self._chosen is not None:
            self._chosen.request_end(trailers)
        else:
            self._early.append(lambda chosen: chosen.request_end(trailers))

    def client_ended(self) -> None:
        """Pass it on."""
        if self._chosen is not None:
            self._chosen.client_ended()
        else:
            self._early.append(lambda chosen: chosen.client_ended())

    def cancel(self) -> None:
        """No answer is wanted any more."""
        choosing, self._choosing = self._choosing, None
        if choosing is not None:
            choosing.cancel()
        if self._chosen is not None:
            self._chosen.cancel()

    def pause_answer(self) -> None:
        """Pass it on; before, there is none."""
        if self._chosen is not None:
            self._chosen.pause_answer()

    def resume_answer(self) -> None:
        """Likewise."""
        if self._chosen is not None:
            self._chosen.resume_answer()
