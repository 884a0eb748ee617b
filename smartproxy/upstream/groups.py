"""The groups of every configuration in force."""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from smartproxy.upstream.crowded import share_limits
from smartproxy.upstream.group import Group, ignore
from smartproxy.upstream.pending import PendingDials

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from twisted.internet.interfaces import IReactorTime

    from smartproxy.model.plan.group import GroupPlan
    from smartproxy.model.target_status import TargetState
    from smartproxy.upstream.candidate import Candidate
    from smartproxy.upstream.member import Members


class Groups:
    """The groups of every configuration in force, by name.

    A group that a reload has removed is kept as long as a connection of it lives: connections that were accepted before and
    are still on their way share its limits and turns, and a later reload that has it again goes on with it.

    :ivar by_name: those in force, always in the same object.
    :ivar pending: the dials in progress.
    :ivar notify: called with a group, a candidate whose state has changed, and the state before; to be set before the first
        :meth:`apply`.
    """

    def __init__(self, members: Members, clock: IReactorTime, random: Callable[[], float]) -> None:
        self.members = members
        self.pending = PendingDials(clock.seconds)
        self._clock = clock
        self._random = random
        self.by_name: dict[str, Group] = {}
        self._removed: WeakValueDictionary[str, Group] = WeakValueDictionary()
        self.notify: Callable[[Group, Candidate, TargetState], None] = ignore

    def __iter__(self) -> Iterator[Group]:
        return iter(self.by_name.values())

    def find(self, name: str) -> Group | None:
        """The group called ``name``, if there is one."""
        return self.by_name.get(name)

    def of(self, plan: GroupPlan) -> Group:
        """The group of ``plan``, for a connection that may have been accepted before a reload has removed it."""
        group = self.by_name.get(plan.name)
        return group if group is not None else self._removed_group(plan)

    def _removed_group(self, plan: GroupPlan) -> Group:
        group = self._removed.get(plan.name)
        if group is None:
            group = self._removed[plan.name] = self._make(plan.name)
            group.configure(plan)
            group.end()
        for candidate in group.candidates:  # some may have been dropped while others had connections
            self.members.restore(candidate.member, self._clock.seconds())
        share_limits(group.candidates, self.members.shared)
        return group

    def _make(self, name: str) -> Group:
        return Group(name, self.members, self._clock, self._random)

    def configure(self, plans: Iterable[GroupPlan]) -> None:
        """Use other targets and terms for these groups, as far as they are in force."""
        for plan in plans:
            group = self.by_name.get(plan.name)
            if group is not None:
                group.configure(plan)

    def apply(self, plans: Collection[GroupPlan]) -> None:
        """Put ``plans`` in force. Groups that are not among them end; their connections go on."""
        for plan in plans:
            group = self.by_name.get(plan.name)
            if group is None:
                group = self._removed.pop(plan.name, None) or self._make(plan.name)
                group.notify = self.notify
                self.by_name[plan.name] = group
            group.configure(plan)
        for name in self.by_name.keys() - {plan.name for plan in plans}:
            group = self._removed[name] = self.by_name.pop(name)
            group.end()
        ordered = {plan.name: self.by_name[plan.name] for plan in plans}
        self.by_name.clear()
        self.by_name.update(ordered)  # in the order of the configuration
