"""Targets of several processes as one: their counts for the metrics, and their states for the admin API.

Each process dials, counts and ejects by itself; what is set by hand and what checks find is the same in all of them. So
numbers are added, and of different states the one is shown that clients get most of: see :func:`merged_shown`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from smartproxy.metrics.targets import RequestsOfGroup, TargetCounts
from smartproxy.upstream.candidate import named_targets
from smartproxy.upstream.steering import unused_target

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from smartproxy.model.plan import ProxyPlan
    from smartproxy.model.target_status import ShownTarget, TargetState

#: Of different states, the first in this order is shown.
_ORDER: Final[tuple[TargetState, ...]] = ("up", "drain", "ejected", "down")


class _TargetSum:
    """The counts of one target in several processes.

    :ivar up: whether it is in any of them; ``None``: none that lives and takes new connections has used it.
    """

    __slots__ = ("active", "checks", "ejections", "received", "results", "sent", "up")

    def __init__(self) -> None:
        self.up: bool | None = None
        self.active = self.ejections = self.received = self.sent = 0
        self.results: dict[str, int] = {}
        self.checks: dict[str, int] = {}

    def add(self, row: Mapping[str, Any], *, counts_up: bool) -> None:
        if counts_up:
            self.up = self.up or row["up"]
        self.active += row["active"]
        self.ejections += row["ejections"]
        self.received += row["received"]
        self.sent += row["sent"]
        add_counts(self.results, row["results"])
        add_counts(self.checks, row["checks"])


class MergedTargets:
    """The sums of the targets and groups of several processes: a :class:`~smartproxy.metrics.targets.TargetSource`.

    A process tells of the groups that it has made (:mod:`smartproxy.upstream.groups`).

    :param targets: those of the configuration, by group and name, used or not.
    :param groups: likewise.
    """

    def __init__(self, targets: Iterable[tuple[str, str]] = (), groups: Iterable[str] = ()) -> None:
        #: ``None`` for one that no process has used.
        self._targets: dict[tuple[str, str], _TargetSum | None] = dict.fromkeys(targets)
        self._queues = dict.fromkeys(groups, 0)
        self._requests: dict[str, RequestsOfGroup] = {}

    def add_target(self, row: Mapping[str, Any], *, ended: bool = False, drains: bool = False) -> None:
        """Add the counts of one target.

        :param row: the fields of :class:`TargetCounts`.
        :param ended: whether they are of a process that does not run any more. Then a target is left out that is neither
            configured nor in another process.
        :param drains: whether they are of a process that takes no new connections; to be added after those that do. It does
            not know whether the target is up; one that only such processes have was removed, and is not.
        """
        key = row["group"], row["name"]
        is_known = key in self._targets
        if ended and not is_known:
            return
        of = self._targets.get(key)
        if of is None:
            of = self._targets[key] = _TargetSum()
            of.up = None if is_known or not drains else False
        of.add(row, counts_up=not (ended or drains))

    def add_queue(self, group: str, waiting: int) -> None:
        """Add the number of clients that wait for a target of ``group``."""
        self._queues[group] = self._queues.get(group, 0) + waiting

    def add_requests(self, row: Mapping[str, Any], *, ended: bool = False) -> None:
        """Add the HTTP requests of one group.

        :param row: the fields of :class:`RequestsOfGroup`.
        :param ended: likewise; then a group without a queue length is left out.
        """
        group = row["group"]
        if ended and group not in self._queues:
            return
        before = self._requests.get(group, RequestsOfGroup(group, 0, 0, 0))
        self._requests[group] = RequestsOfGroup(
            group,
            before.retries + row["retries"],
            before.active + row["active"],
            before.idle + row["idle"],
        )

    def target_counts(self) -> Iterator[TargetCounts]:
        """The counts of every target. One is up where it is up in any process."""
        for (group, name), of in self._targets.items():
            if of is None:
                yield unused_target(group, name)
                continue
            up = of.up is not False
            yield TargetCounts(
                group, name, up, of.active, of.results, of.checks, of.ejections, of.received, of.sent
            )

    def queue_lengths(self) -> list[tuple[str, int]]:
        """Each group, and how many clients wait in all processes."""
        return list(self._queues.items())

    def request_counts(self) -> list[RequestsOfGroup]:
        """The counts of each group that had HTTP requests."""
        return list(self._requests.values())

    def moved(self, group: str, name: str) -> tuple[int, int]:
        """The bytes received and sent of one target; 0 of an unknown one."""
        of = self._targets.get((group, name))
        return (0, 0) if of is None else (of.received, of.sent)

    def end(self) -> None:
        """Nothing lives any more: only what has happened is left."""
        for of in filter(None, self._targets.values()):
            of.active = 0
        self._queues.clear()
        for group, counts in self._requests.items():
            self._requests[group] = counts._replace(active=0, idle=0)

    def keep(self, targets: Collection[tuple[str, str]], groups: Collection[str]) -> bool:
        """Drop other targets and groups; return whether there were any."""
        gone = [key for key in self._targets if key not in targets]
        unused = [group for group in self._requests if group not in groups]
        for key in gone:
            del self._targets[key]
        for group in unused:
            del self._requests[group]
        return bool(gone or unused)

    def known(self) -> tuple[Collection[tuple[str, str]], Collection[str]]:
        """The targets by group and name, and the groups with a queue length."""
        return self._targets.keys(), self._queues.keys()


def configured_targets(plan: ProxyPlan) -> Iterator[tuple[str, str]]:
    """The targets of ``plan`` by group and name, but for those of groups that each worker makes at once."""
    eager = {group.name for group in plan.eager_groups}
    for group in plan.groups:
        if group.name not in eager:
            yield from ((group.name, name) for name in named_targets(group))


def add_counts(to: dict[Any, int], counts: Mapping[Any, int]) -> None:
    """Add counts by label to others."""
    for label, count in counts.items():
        to[label] = to.get(label, 0) + count


def merged_shown(
    answers: Iterable[Sequence[ShownTarget]],
    moved_before: Callable[[str, str], tuple[int, int]],
    draining: Iterable[Sequence[ShownTarget]] = (),
) -> list[ShownTarget]:
    """The targets of several processes, by group and name, in the order of the first process.

    Connections, queued clients and bytes are added. State and reason are those of the process in which it is best: up, then
    drain, ejected and down, so that a target with a reason gets connections from no process. The weight is the same in all
    processes; the effective weight is the mean, because each process gets as many of the connections. The last check is the
    latest one.

    :param moved_before: gives the bytes of a target that processes have moved which do not run any more.
    :param draining: of processes that take no new connections. Only their numbers are added; a target that no other process
        has was removed, and drains.
    """
    serving, others = _by_name(answers), _by_name(draining)
    found = [*serving, *(key for key in others if key not in serving)]
    groups = {group: place for place, group in enumerate(dict.fromkeys(group for group, _ in found))}
    found.sort(key=lambda key: groups[key[0]])  # removed ones behind the others of their group
    return [_as_one(serving.get(key, []), others.get(key, []), moved_before(*key)) for key in found]


def _by_name(answers: Iterable[Sequence[ShownTarget]]) -> dict[tuple[str, str], list[ShownTarget]]:
    found: dict[tuple[str, str], list[ShownTarget]] = {}
    for answer in answers:
        for shown in answer:
            found.setdefault((shown.group, shown.name), []).append(shown)
    return found


def _as_one(serving: list[ShownTarget], draining: list[ShownTarget], before: tuple[int, int]) -> ShownTarget:
    shown = [*serving, *draining]
    rated = serving or [one._replace(state="drain", effective_weight=0) for one in draining]
    best = min(rated, key=lambda one: _ORDER.index(one.state))
    checks = [one.last_check for one in shown if one.last_check is not None]
    return best._replace(
        set_by_hand=any(one.set_by_hand for one in rated),
        effective_weight=round(sum(one.effective_weight for one in rated) / len(rated), 2),
        connections=sum(one.connections for one in shown),
        queued=sum(one.queued for one in shown),
        received=sum(one.received for one in shown) + before[0],
        sent=sum(one.sent for one in shown) + before[1],
        last_check=max(checks, key=lambda check: check.at, default=None),
    )
