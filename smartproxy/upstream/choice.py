"""Hosts, ports and whole targets that an embedder's callable chooses for each connection.

What a callable raises, and an answer that cannot be connected to, ends that one connection; both are logged with the
route by :mod:`smartproxy.session`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from smartproxy.flow.callables import ask, description_of
from smartproxy.wire.host import host_name, is_address

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from smartproxy.model.facts import Routed
    from smartproxy.model.plan import Choice, RoutePlan, TargetPlan

#: RFC 9293, 3.1: port numbers have sixteen bits.
_HIGHEST_PORT = 65535


async def chosen_target(
    target: TargetPlan, routed: Routed, seconds: float, clock: IReactorTime
) -> TargetPlan:
    """The plan of the target that the callable of ``target`` answers within ``seconds``; 0 is no limit.

    :raises ValueError: where the answer is not a valid target.
    :raises DialFailed: where there is none in time.
    """
    choice = cast("Choice", target.hosts)
    answer = await ask("target", choice, routed, seconds, clock)
    assert target.made is not None  # noqa: S101 - the caller has seen it
    try:
        return target.made(answer)
    except ValueError as problem:
        name = description_of("target", choice, routed.route.name)
        raise ValueError(f"{name} gave {problem}") from None


async def chosen_host(choice: Choice, routed: Routed, seconds: float, clock: IReactorTime) -> str:
    """The host name or IP address that ``choice`` answers within ``seconds``; 0 is no limit.

    :raises ValueError: where the answer is neither.
    :raises DialFailed: where there is none in time.
    """
    answer = await ask("host", choice, routed, seconds, clock)
    if isinstance(answer, str) and (is_address(answer) or host_name(answer.encode("utf-8", "replace"))):
        return answer
    raise ValueError(_unusable("host", choice, "a host name or an IP address", answer, routed.route))


async def chosen_port(choice: Choice, routed: Routed, seconds: float, clock: IReactorTime) -> int | None:
    """The port that ``choice`` answers within ``seconds``; ``None`` keeps the client's (``"preserve"``).

    :raises ValueError: where the answer is no port.
    :raises DialFailed: where there is none in time.
    """
    answer = await ask("port", choice, routed, seconds, clock)
    if answer == "preserve":
        return None
    if isinstance(answer, int) and not isinstance(answer, bool) and 1 <= answer <= _HIGHEST_PORT:
        return answer
    raise ValueError(_unusable("port", choice, '1..65535 or "preserve"', answer, routed.route))


def _unusable(what: str, choice: Choice, needed: str, answer: object, route: RoutePlan) -> str:
    return f"{description_of(what, choice, route.name)} gave {answer!a}: must be {needed}"
