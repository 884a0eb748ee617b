"""Keeps the sources of every group in force, and configures a group again when its targets have changed.

::

    discovery = Discovery(names, files, deadlines, clock, configure)
    plans = discovery.apply(plan.groups)    # with the targets that are known now
    discovery.stop()
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from twisted.logger import Logger

from smartproxy.model.plan.target import Discover
from smartproxy.model.plan.target_file import TargetFile
from smartproxy.upstream.discovery.file import FileTargets
from smartproxy.upstream.discovery.group_sources import GroupSources
from smartproxy.upstream.discovery.names import AddressTargets, ServiceTargets

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from twisted.internet.interfaces import IDelayedCall, IReactorTime

    from smartproxy.flow.deadline import Deadlines
    from smartproxy.model.plan import GroupPlan, TargetPlan
    from smartproxy.upstream.discovery.file import TargetFileWatch
    from smartproxy.upstream.discovery.interfaces import ITargetSource
    from smartproxy.upstream.discovery.watched import WatchedNames

log = Logger()

#: Seconds in which changes are gathered: thousands of names may be answered in one second, and each change of targets that
#: are checked costs a look at all checks.
_GATHER_TIME: Final = 0.05
#: Targets that a log line names.
_NAMED: Final = 8


class Discovery:
    """The sources of all groups.

    :param configure: puts these plans of groups in force.
    """

    def __init__(
        self,
        names: WatchedNames,
        files: TargetFileWatch,
        deadlines: Deadlines,
        clock: IReactorTime,
        configure: Callable[[Collection[GroupPlan]], None],
    ) -> None:
        self._names = names
        self._files = files
        self._deadlines = deadlines
        self._clock = clock
        self._configure = configure
        self._groups: dict[str, GroupSources] = {}
        #: The names of the targets in force, by group.
        self._found: dict[str, tuple[str, ...]] = {}
        self._changed: dict[GroupSources, None] = {}
        self._next: IDelayedCall | None = None

    def apply(self, plans: Iterable[GroupPlan]) -> list[GroupPlan]:
        """Look for the targets of ``plans``. What the names of the former plans have found is kept.

        :return: the plans, with the targets that are known now in place of names and files.
        """
        former, self._groups = self._groups, {}
        self._changed.clear()
        made = [self._started(plan) if plan.is_discovered else plan for plan in plans]
        for group in former.values():
            group.stop()
        self._files.follow(group.plan.file for group in self._groups.values() if group.plan.file is not None)
        return made

    def stop(self) -> None:
        """Look for nothing any more, and forget what was found."""
        if self._next is not None:
            self._next.cancel()
            self._next = None
        for group in self._groups.values():
            group.stop()
        self._groups.clear()
        self._changed.clear()

    def _started(self, plan: GroupPlan) -> GroupPlan:
        group = self._groups[plan.name] = GroupSources(plan, self._source_of, self._note)
        group.start()
        return group.found()

    def _source_of(self, origin: TargetPlan | TargetFile) -> ITargetSource:
        if isinstance(origin, TargetFile):
            return FileTargets(origin, self._files)
        if origin.discover is Discover.SERVICES:
            return ServiceTargets(origin, self._names, self._deadlines)
        return AddressTargets(origin, self._names)

    def _note(self, group: GroupSources) -> None:
        """Names of one group are often answered together: their changes are applied together."""
        self._changed[group] = None
        if self._next is None:
            self._next = self._clock.callLater(_GATHER_TIME, self._apply_changes)

    def _apply_changes(self) -> None:
        self._next = None
        changed, self._changed = self._changed, {}
        plans = [group.found() for group in changed]
        self._configure(plans)
