"""Keeps a checker for every target that the configuration in force checks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.logger import Logger

from smartproxy.upstream.health.checker import Checker

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from twisted.internet.interfaces import IReactorTime

    from smartproxy.flow.deadline import Deadlines
    from smartproxy.model.plan.check import CheckPlan
    from smartproxy.upstream.candidate import Candidate
    from smartproxy.upstream.group import Group
    from smartproxy.upstream.member import Member

log = Logger()


class HealthChecks:
    """All checkers.

    :param ask: asks a target once.
    :param random: returns numbers from 0 to 1.
    :param wall_clock: seconds since the epoch.
    :param end_sessions: ends the connections of a member that is down.
    """

    def __init__(
        self,
        ask: Callable[[Candidate, CheckPlan], Awaitable[str]],
        deadlines: Deadlines,
        clock: IReactorTime,
        random: Callable[[], float],
        wall_clock: Callable[[], float],
        end_sessions: Callable[[Member], None],
    ) -> None:
        self._ask = ask
        self._deadlines = deadlines
        self._clock = clock
        self._random = random
        self._wall_clock = wall_clock
        self._end_sessions = end_sessions
        self._checkers: dict[Member, Checker] = {}
        self._resetting: set[str] = set()

    def apply(self, groups: Iterable[Group]) -> None:
        """Check the targets of ``groups``. A target whose address and check stay goes on as it is."""
        wanted: dict[Member, Candidate] = {}
        self._resetting.clear()
        for group in groups:
            wanted |= {one.member: one for one in group.candidates if one.target.check is not None}
            if group.resets_when_down:
                self._resetting.add(group.name)
        for member in self._checkers.keys() - wanted.keys():
            self._checkers.pop(member).stop()
            member.last_check = None
            if not member.passed and member.unused_since is None:
                log.info(
                    "target {group}/{target} is up: it is not checked any more",
                    group=member.group,
                    target=member.name,
                )
            member.check(passed=True, now=self._clock.seconds())
        for member, candidate in wanted.items():
            former = self._checkers.get(member)
            if former is None or not _is_same(former.candidate, candidate):
                if former is not None:
                    former.stop()
                self._checkers[member] = self._start(candidate)
            else:
                former.candidate = candidate

    def stop(self) -> None:
        """Check nothing any more."""
        for checker in self._checkers.values():
            checker.stop()
        self._checkers.clear()

    def _start(self, candidate: Candidate) -> Checker:
        plan = candidate.target.check
        assert plan is not None  # noqa: S101 - it is to be checked
        return Checker(
            candidate,
            plan,
            self._ask,
            self._deadlines,
            self._clock.seconds,
            self._random,
            self._wall_clock,
            self._went_down,
        )

    def _went_down(self, candidate: Candidate) -> None:
        if candidate.member.group in self._resetting:
            self._end_sessions(candidate.member)


def _is_same(former: Candidate, candidate: Candidate) -> bool:
    """Whether both are checked alike."""
    one, other = former.target, candidate.target
    return (former.host, one.port, one.check, one.send_header) == (
        candidate.host,
        other.port,
        other.check,
        other.send_header,
    )
