"""Who would get the next connection, without giving it one.

Balancers change when they choose: turns go on, and a slow start counts. So a copy of the balancer is asked, with copies
of its candidates and of their members. Of a balancer that draws at random, or that is not one of ours, the answer is each
candidate that it may choose.
"""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING

from smartproxy.upstream.balancing.first import First
from smartproxy.upstream.balancing.least_connections import LeastConnections
from smartproxy.upstream.balancing.round_robin import RoundRobin
from smartproxy.upstream.balancing.source import SourceHash

if TYPE_CHECKING:
    from collections.abc import Sequence

    from smartproxy.upstream.candidate import Candidate
    from smartproxy.upstream.interfaces import Balancer


def would_choose(balancer: Balancer, candidates: Sequence[Candidate], client: str | None) -> list[str]:
    """The names of the candidates of which ``balancer`` would choose one now; none where none is inside.

    :param client: the address of the client; ``None`` where it is not known.
    """
    if isinstance(balancer, SourceHash) and client is not None:
        chosen = balancer.choose(client, ())  # it keeps no turns
    elif isinstance(balancer, RoundRobin | LeastConnections | First):
        chosen = _of_copy(balancer, candidates, client or "")
    else:
        return [candidate.name for candidate in candidates if candidate.inside]
    return [] if chosen is None else [chosen.name]


def _of_copy(balancer: Balancer, candidates: Sequence[Candidate], client: str) -> Candidate | None:
    copied, stand_ins = copy(balancer), [_stand_in(candidate) for candidate in candidates]
    copied.begin(stand_ins)
    for candidate in stand_ins:
        if candidate.inside:
            copied.enter(candidate)
    return copied.choose(client, ())


def _stand_in(candidate: Candidate) -> Candidate:
    copied = copy(candidate)
    copied.member = copy(candidate.member)
    copied.queued = False
    return copied
