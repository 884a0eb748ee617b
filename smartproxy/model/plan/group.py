"""Compiled target groups: how a target of a group is chosen, and when one is left out."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from smartproxy.model.plan.target import Discover

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from smartproxy.model.plan.target import TargetPlan
    from smartproxy.model.plan.target_file import TargetFile


class Algorithm(StrEnum):
    """How the next target is chosen (``loadBalancing.algorithm``)."""

    ROUND_ROBIN = "roundRobin"
    LEAST_CONNECTIONS = "leastConnections"
    RANDOM = "random"
    SOURCE = "source"
    FIRST = "first"


@dataclass(frozen=True, slots=True)
class BalancingPlan:
    """How targets share the connections.

    :ivar algorithm: or what a program has in its place: called with the name of a group, it gives the group's balancer.
    :ivar slow_start: seconds in which the weight of a target that comes back or joins grows from near 0; 0 is off.
    """

    algorithm: Algorithm | Callable[[str], object] = Algorithm.ROUND_ROBIN
    slow_start: float = 0.0


@dataclass(frozen=True, slots=True)
class PassiveHealthPlan:
    """When failed dials take a target out.

    :ivar failures: as many within ``window`` eject a target.
    :ivar window: seconds.
    :ivar eject_for: seconds until one connection tries an ejected target again.
    """

    failures: int = 1
    window: float = 10.0
    eject_for: float = 10.0


@dataclass(frozen=True, slots=True)
class QueuePlan:
    """Clients that wait while every target is at its limit. ``timeout`` is in seconds."""

    size: int
    timeout: float = 5.0


@dataclass(frozen=True, slots=True, eq=False)
class GroupPlan:
    """Targets that share connections, and what they have in common.

    :ivar name: that of ``targetGroups``, or of the route whose own targets they are.
    :ivar passive: ``None`` ejects no target.
    :ivar reset_when_down: whether the sessions of a target that a check finds down are ended.
    :ivar queue: ``None`` refuses a client where every target is at its limit.
    :ivar file: more targets, which are replaced while the proxy runs.
    :ivar is_searching: whether more targets may be found soon: some name has not been answered yet.
    """

    name: str
    targets: tuple[TargetPlan, ...] = ()
    balancing: BalancingPlan = field(default_factory=BalancingPlan)
    passive: PassiveHealthPlan | None = field(default_factory=PassiveHealthPlan)
    queue: QueuePlan | None = None
    reset_when_down: bool = False
    file: TargetFile | None = None
    is_searching: bool = False

    def written(self) -> Iterator[TargetPlan]:
        """The targets of the configuration and of the file."""
        yield from self.targets
        if self.file is not None:
            yield from self.file.targets

    def fixed(self) -> Iterator[TargetPlan]:
        """Those of them that are targets themselves, and not names to ask for."""
        return (target for target in self.written() if target.discover is Discover.NOTHING)

    @property
    def is_discovered(self) -> bool:
        """Whether its targets change without a reload."""
        return self.file is not None or any(target.discover for target in self.targets)

    @property
    def is_checked(self) -> bool:
        """Whether any of its targets is checked."""
        return any(target.check is not None for target in self.written())

    @property
    def is_eager(self) -> bool:
        """Whether something is to be done for it before its first connection; a program's balancer is made, to know that it can."""
        return self.is_discovered or self.is_checked or callable(self.balancing.algorithm)
