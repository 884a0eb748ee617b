"""The sources of one group, and its plan with the targets that they have found."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from twisted.logger import Logger

from smartproxy.model.plan.target import Discover

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from smartproxy.model.plan import GroupPlan, TargetPlan
    from smartproxy.model.plan.target_file import TargetFile
    from smartproxy.upstream.discovery.interfaces import ITargetSource

log = Logger()

#: Discovered targets of one group. A wrong record or file must not make a proxy keep a million of them.
MOST_TARGETS: Final = 1000


class GroupSources:
    """The sources of one group in one configuration.

    :param plan: the group as it is configured.
    :param source_of: makes the source of a file, or of a target whose names are asked for.
    :param changed: called when :meth:`found` may differ.
    """

    def __init__(
        self,
        plan: GroupPlan,
        source_of: Callable[[TargetPlan | TargetFile], ITargetSource],
        changed: Callable[[GroupSources], None],
    ) -> None:
        self.plan = plan
        self._source_of = source_of
        self._changed = changed
        self._file: ITargetSource | None = None
        self._names: dict[TargetPlan, ITargetSource] = {}
        self._is_full = False

    def start(self) -> None:
        """Begin to look for targets."""
        if self.plan.file is not None:
            self._file = self._source_of(self.plan.file)
            self._file.start(self._file_changed)
        self._follow_names()

    def stop(self) -> None:
        """Stop, for good."""
        if self._file is not None:
            self._file.stop()
        for source in self._names.values():
            source.stop()
        self._names.clear()

    def found(self) -> GroupPlan:
        """The plan of the group with what is known now."""
        targets = tuple(self._limited())
        is_searching = not all(source.is_settled for source in self._sources())
        return replace(self.plan, targets=targets, file=None, is_searching=is_searching)

    def _sources(self) -> Iterator[ITargetSource]:
        if self._file is not None:
            yield self._file
        yield from self._names.values()

    def _file_changed(self) -> None:
        self._follow_names()
        self._source_changed()

    def _source_changed(self) -> None:
        self._changed(self)

    def _follow_names(self) -> None:
        """Ask for the names of the targets as they are now. A name that stays is asked for without a break."""
        wanted = dict.fromkeys(one for one in self.plan.written() if one.discover)
        former = {plan: source for plan, source in self._names.items() if plan not in wanted}
        for plan in wanted.keys() - self._names.keys():
            source = self._names[plan] = self._source_of(plan)
            source.start(self._source_changed)
        for plan, source in former.items():
            del self._names[plan]
            source.stop()

    def _limited(self) -> Iterator[TargetPlan]:
        """The targets of the configuration, and of those found as many as are allowed."""
        places = MOST_TARGETS
        left_out = 0
        for target, is_found in self._unique():
            if is_found and not places:
                left_out += 1
                continue
            places -= is_found
            yield target
        if left_out and not self._is_full:
            log.warn(
                "group {group} has too many discovered targets: {count} are left out",
                group=self.plan.name, count=left_out,
            )  # fmt: skip
        self._is_full = bool(left_out)

    def _unique(self) -> Iterator[tuple[TargetPlan, bool]]:
        """Each target, and whether it was discovered. An address that several names have is one target."""
        seen: set[tuple[object, object]] = {
            (host, target.port)
            for target in self.plan.fixed()
            if isinstance(target.hosts, tuple) and not target.name
            for host in target.hosts
        }
        for target in self.plan.targets:
            yield from self._found_by(target, seen, is_listed=True)
        for target in () if self._file is None else self._file.targets:
            yield from self._found_by(target, seen, is_listed=False)

    def _found_by(
        self, target: TargetPlan, seen: set[tuple[object, object]], *, is_listed: bool
    ) -> Iterator[tuple[TargetPlan, bool]]:
        if target.discover is Discover.NOTHING:
            yield target, not is_listed
            return
        for found in self._names[target].targets:
            (host,) = _hosts(found)
            if (host, found.port) not in seen:
                seen.add((host, found.port))
                yield found, True


def _hosts(target: TargetPlan) -> Sequence[object]:
    assert isinstance(target.hosts, tuple)  # noqa: S101 - it was discovered
    return target.hosts
