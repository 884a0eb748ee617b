"""What local answers ask of their surroundings."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from smartproxy.flow.carried_state import CarriesState

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IReactorTime

    from smartproxy.flow.deadline import Deadlines
    from smartproxy.flow.threads import Call
    from smartproxy.http.interfaces import Answerer, AnswerReceiver
    from smartproxy.http.splice import Splicer
    from smartproxy.model.exchange import Exchange


class LocalServices(NamedTuple):
    """What is the same for all exchanges.

    :ivar clock: monotonic.
    :ivar deadlines: found by one sweep.
    :ivar call_soon: calls a function in a later event loop iteration.
    :ivar in_turn: likewise, what takes a while: in one that has time for it.
    :ivar in_thread: calls a function that may wait for a disk.
    :ivar splicer: has files sent by the kernel.
    """

    clock: IReactorTime
    deadlines: Deadlines
    call_soon: Callable[[Callable[[], object]], object]
    in_turn: Callable[[Callable[[], object]], object]
    in_thread: Call
    splicer: Splicer


class LocalAnswers(CarriesState):
    """Makes the answerers of a route: the compiled form of its action. A base class."""

    def carry_over(self, former: object) -> None:
        """Nothing: most have no state."""

    def __call__(self, exchange: Exchange, client: AnswerReceiver, services: LocalServices, /) -> Answerer:
        """The answerer of one exchange."""
        raise NotImplementedError
