"""Makes the balancer of a group."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smartproxy.model.plan.group import Algorithm
from smartproxy.upstream.balancing.embedded import embedded
from smartproxy.upstream.balancing.first import First
from smartproxy.upstream.balancing.least_connections import LeastConnections
from smartproxy.upstream.balancing.random_two import RandomTwo
from smartproxy.upstream.balancing.round_robin import RoundRobin
from smartproxy.upstream.balancing.source import SourceHash

if TYPE_CHECKING:
    from collections.abc import Callable

    from smartproxy.upstream.interfaces import Balancer

#: Those that do not need :meth:`~smartproxy.upstream.interfaces.Balancer.changed`: it is not called for each connection.
WITHOUT_LOAD = (RoundRobin, RandomTwo, First)


def made_balancer(
    algorithm: Algorithm | Callable[[str], object], group: str, random: Callable[[], float]
) -> Balancer:
    """The balancer of ``algorithm``, which may be a factory of an embedding program.

    :param group: the name of the group.
    :param random: returns numbers from 0 to 1.
    """
    if callable(algorithm):
        return embedded(algorithm, group) or RoundRobin()
    match algorithm:
        case Algorithm.LEAST_CONNECTIONS:
            return LeastConnections()
        case Algorithm.RANDOM:
            return RandomTwo(random)
        case Algorithm.SOURCE:
            return SourceHash()
        case Algorithm.FIRST:
            return First()
        case _:
            return RoundRobin()
