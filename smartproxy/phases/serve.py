"""Serving a connection in this process by the handler of its route.

A handler is a Twisted protocol factory, a coroutine function that is given a
:class:`~smartproxy.serving.connection.Connection`, or any other callable: that is given the facts and returns one of the
first two, or a handler that answers HTTP requests (:mod:`smartproxy.http.local.handlers`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from smartproxy.flow.callables import ask, description_of
from smartproxy.flow.signatures import serves
from smartproxy.http.local.handlers import answers_of
from smartproxy.model.outcome import CloseReason
from smartproxy.model.plan import HttpPlan
from smartproxy.serving.connection import ServedCoroutine
from smartproxy.serving.protocols import ServedProtocol, address_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IReactorTime

    from smartproxy.flow.event import AwaitableEvent
    from smartproxy.flow.side import Side
    from smartproxy.model.facts import Routed
    from smartproxy.model.plan import Choice, RoutePlan
    from smartproxy.model.record import ConnectionRecord
    from smartproxy.serving.served import Served


class Serve:
    """Passes connections to the handlers of their routes.

    :param clock: monotonic.
    :param watch: begins to hold the timeouts of a connection. One that is served as HTTP has deadlines of its own.
    """

    def __init__(self, clock: IReactorTime, watch: Callable[[ConnectionRecord, RoutePlan], None]) -> None:
        self._clock = clock
        self._watch = watch

    async def __call__(
        self,
        record: ConnectionRecord,
        side: Side,
        routed: Routed,
        require_live: Callable[[], None],
        exchange: Callable[..., AwaitableEvent[CloseReason]],
        header: Callable[..., bytes],
    ) -> CloseReason:
        """Serve the connection to its end, and return the close reason.

        :param require_live: raises if the client's connection was ended; called after code of an embedder has run.
        :param exchange: serves it as HTTP, where a callable has chosen a handler that answers requests: the phase for that.
        :param header: the PROXY header for a target, for that phase.
        :raises Refused: where the handler refuses the client.
        """
        handler: object = routed.route.handler
        if not serves(handler):
            timeout = routed.route.timeouts.connection
            choice = cast("Choice", handler)  # a callable that cannot serve itself chooses what does
            handler = await ask("handler", choice, routed, timeout, self._clock)
            require_live()
            answers = answers_of(handler)
            if answers is not None:
                route = replace(routed.route, answers=answers, http=routed.route.chosen_http or HttpPlan())
                return await exchange(record, side, routed._replace(route=route), header)
        self._watch(record, routed.route)
        served = self._served(handler, record, side, routed)
        require_live()
        if served is None:
            side.transport.loseConnection()
            return CloseReason.NORMAL
        record.link(served)
        return await served.start()

    def _served(self, handler: Any, record: ConnectionRecord, side: Side, routed: Routed) -> Served | None:
        """The connection with its handler; ``None`` where a factory's ``buildProtocol`` returns none."""
        if not serves(handler):
            raise TypeError(
                f"{description_of('handler', routed.route.handler, routed.route.name)} gave "
                f"{type(handler).__name__}: must be a protocol factory or a coroutine function"
            )
        if not hasattr(handler, "buildProtocol"):
            return ServedCoroutine(record, side, self._clock, handler, routed)
        protocol = handler.buildProtocol(address_of(*routed.detected.announced.client))
        if protocol is None:
            return None
        return ServedProtocol(record, side, self._clock.seconds, protocol, routed)
