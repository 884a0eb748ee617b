"""The groups of every configuration in force."""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from smartproxy.upstream.group import Group, ignore
from smartproxy.upstream.pending import PendingDials

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from twisted.internet.interfaces import IReactorTime

    from smartproxy.model.plan.group import GroupPlan
    from smartproxy.upstream.candidate import Candidate
    from smartproxy.upstream.member import Members


class Groups:
    """The groups of every configuration in force, by name.

    :ivar pending: the dials in progress.
    :ivar notify: called with a group and a candidate whose state has changed; to be set before the first :meth:`apply`.
    """

    def __init__(self, members: Members, clock: IReactorTime, random: Callable[[], float]) -> None:
        self.members = members
        self.pending = PendingDials(clock.seconds)
        self._clock = clock
        self._random = random
        self._groups: dict[str, Group] = {}
        #: Removed groups that connections still have.
        self._ended: WeakValueDictionary[str, Group] = WeakValueDictionary()
        self.notify: Callable[[Group, Candidate], None] = ignore

    def __iter__(self) -> Iterator[Group]:
        return iter(self._groups.values())

    def find(self, name: str) -> Group | None:
        """The group called ``name``, if there is one."""
        return self._groups.get(name)

    def of(self, plan: GroupPlan) -> Group:
        """The group of ``plan``.

        One that a reload has removed is used by connections that were accepted before. Its members count as others do,
        and end with their last connection.
        """
        group = self._groups.get(plan.name)
        if group is None:
            group = self._revived(plan)
            self._ended[plan.name] = group
            self.members.keep(plan.name, (), self._clock.seconds())
        return group

    def _revived(self, plan: GroupPlan) -> Group:
        """The removed group while it has connections, so that their ends make room in it; else a new one."""
        group = self._ended.pop(plan.name, None) or Group(plan.name, self.members, self._clock, self._random)
        group.configure(plan)
        return group

    def apply(self, plans: Collection[GroupPlan]) -> None:
        """Put ``plans`` in force. Groups that are not among them end; their connections go on."""
        for plan in plans:
            group = self._groups.get(plan.name)
            if group is None:
                group = self._groups[plan.name] = self._revived(plan)
                group.notify = self.notify
            else:
                group.configure(plan)
        for name in self._groups.keys() - {plan.name for plan in plans}:
            self._ended[name] = group = self._groups.pop(name)
            group.end()
        self._groups = {
            plan.name: self._groups[plan.name] for plan in plans
        }  # in the order of the configuration
