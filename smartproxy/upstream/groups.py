"""The groups of every configuration in force."""

from __future__ import annotations

from collections import ChainMap
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from smartproxy.upstream.candidate import named_targets
from smartproxy.upstream.crowded import share_limits
from smartproxy.upstream.group import Group
from smartproxy.upstream.pending import PendingDials
from smartproxy.upstream.state_log import ignore, log_differences

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

    from twisted.internet.interfaces import IReactorTime

    from smartproxy.model.plan.group import GroupPlan
    from smartproxy.model.target_status import TargetState
    from smartproxy.upstream.candidate import Candidate
    from smartproxy.upstream.member import Members


class Groups:
    """The groups of every configuration in force, by name.

    A group is made when something is wanted of it: of ten thousand routes with targets of their own, most may have no
    connection for a long time. One that a reload has removed is kept as long as a connection of it lives: connections that
    were accepted before and are still on their way share its limits and turns, and a later reload that has it again goes on
    with it.

    :ivar by_name: those in force that have been made, always in the same object.
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
        #: Those in force as they are configured; where targets are discovered, as they were at the last reload.
        self._plans: Mapping[str, GroupPlan] = {}
        self._removed: WeakValueDictionary[str, Group] = WeakValueDictionary()
        self.notify: Callable[[Group, Candidate, TargetState], None] = ignore

    def __iter__(self) -> Iterator[Group]:
        """All in force, in the order of the configuration."""
        return map(self._present, list(self._plans))

    def names(self) -> list[str]:
        """The names of all in force."""
        return list(self._plans)

    def in_use(self) -> Iterator[Group]:
        """Those in force that have been made. Groups may be made meanwhile."""
        return iter(list(self.by_name.values()))

    def unused(self) -> Iterator[GroupPlan]:
        """The others. Groups may be made meanwhile."""
        return (plan for name, plan in self._plans.items() if name not in self.by_name)

    def find(self, name: str) -> Group | None:
        """The group called ``name``, if there is one."""
        return self._present(name) if name in self._plans else None

    def of(self, plan: GroupPlan) -> Group:
        """The group of ``plan``, for a connection that may have been accepted before a reload has removed it."""
        return self._present(plan.name) if plan.name in self._plans else self._removed_group(plan)

    def _present(self, name: str) -> Group:
        group = self.by_name.get(name)
        if group is None:
            group = self._removed.pop(name, None) or self._make(name)
            self.by_name[name] = group
            group.notify = self.notify
            group.configure(self._plans[name])
        return group

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
            if plan.name in self._plans:
                self._present(plan.name).configure(plan)

    def apply(self, plans: dict[str, GroupPlan], eager: Collection[GroupPlan] = ()) -> None:
        """Put ``plans`` in force. Groups that are not among them end; their connections go on.

        :param plans: by name. They are kept, and looked through only where others have been in force: memory that several
            processes share is copied where it is used.
        :param eager: those of them that are made at once, with the targets that are known now.
        """
        found = {plan.name: plan for plan in eager}
        former, self._plans = self._plans, ChainMap(found, plans) if found else plans
        for name in [name for name in self.by_name if name not in plans]:
            group = self._removed[name] = self.by_name.pop(name)
            group.end()
        for name, group in self.by_name.items():
            group.configure(self._plans[name])
        # What was set by hand is to be shown, and counted, as soon as its targets are back.
        back = [*self._removed, *self.members.held_groups]
        for name in [*found, *(name for name in back if name in plans)]:
            self._present(name)
        if former:
            self._log_changes(former)

    def _log_changes(self, former: Mapping[str, GroupPlan]) -> None:
        """Log the changes of groups that have not been made."""
        for plan in self.unused():
            before = former.get(plan.name)
            if before is not None and before.targets != plan.targets:
                log_differences(plan.name, _weights(before), _weights(plan))


def _weights(plan: GroupPlan) -> dict[str, int]:
    return {name: target.weight for name, (target, _) in named_targets(plan).items()}
