"""Hosts, ports and whole targets that are chosen for each connection: by an embedder's callable, or by the client's name.

What a callable raises, and an answer that cannot be connected to, ends that one connection; both are logged with the
route by :mod:`smartproxy.session`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, cast

from smartproxy.errors import DialFailed
from smartproxy.flow.callables import ask, description_of
from smartproxy.model.outcome import RejectReason
from smartproxy.model.plan.target import CLIENT_NAME
from smartproxy.routing.domains import DomainSet
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


def asked_name(routed: Routed) -> str:
    """The name that the client asks for, where a target's host is ``{domain}``: in lower case, without port and final dot.

    A client must not choose what the proxy connects to beyond the names of its route. A connection may have come to the
    route without one of them: by ``fallback``, or by ``silence``.

    :raises DialFailed: where the client asks for no name, for an address, or for a name that is not in ``domains``.
    """
    name = routed.detected.asked_name
    if name is None:
        why = "the client asks for no name"
    elif is_address(name):
        why = f"{name} is an address"
    elif _domains(routed.route.match.domains).best(name) is None:
        why = f"{name} is not in the domains of the route"
    else:
        return name
    raise DialFailed(RejectReason.UPSTREAM_UNREACHABLE, f"{CLIENT_NAME}: {why}")


@lru_cache(maxsize=1024)
def _domains(patterns: tuple[str, ...]) -> DomainSet:
    return DomainSet(patterns)


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
