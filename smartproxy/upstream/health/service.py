"""Keeps a checker for every target that the configuration in force checks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.logger import Logger

from smartproxy.upstream.candidate import address_of
from smartproxy.upstream.health.checker import Checker, Surroundings
from smartproxy.upstream.health.checks import Checks
from smartproxy.upstream.health.schedule import Schedule
from smartproxy.upstream.tiers import Tier

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from twisted.internet.interfaces import IDelayedCall, IReactorTime

    from smartproxy.flow.deadline import Deadlines
    from smartproxy.upstream.candidate import Candidate
    from smartproxy.upstream.group import Group
    from smartproxy.upstream.health.connections import CheckConnections
    from smartproxy.upstream.member import Member

log = Logger()
#: Seconds of one event loop iteration in which checkers are begun and stopped; each takes some microseconds.
_BUDGET = 0.002


class HealthChecks:
    """All checkers.

    :param clock: of the reactor.
    :param random: returns numbers from 0 to 1.
    :param wall_clock: seconds since the epoch.
    :param end_sessions: ends the connections of a member that is down.
    :ivar on_result: called with group, name and address of a target, whether its check has passed, and what was found.
    """

    def __init__(
        self,
        connections: CheckConnections,
        deadlines: Deadlines,
        clock: IReactorTime,
        random: Callable[[], float],
        wall_clock: Callable[[], float],
        end_sessions: Callable[[Member], None],
    ) -> None:
        self.on_result: Callable[[str, str, str, bool, str], object] = _nobody
        self._connections = connections
        self._clock = clock
        self._end_sessions = end_sessions
        self._around = Surroundings(
            Checks(connections),
            Schedule(clock),
            deadlines,
            clock.seconds,
            random,
            wall_clock,
            self._found,
            self._found_down,
        )
        self._checkers: dict[Member, Checker] = {}
        #: The same by group and name.
        self._by_name: dict[tuple[str, str], Checker] = {}
        #: What had a checker at the last stop: its state is kept if it has one again.
        self._paused: set[Member] = set()
        self._resetting: dict[str, Group] = {}
        self._changes: Iterator[None] = iter(())
        self._timer: IDelayedCall | None = None

    def apply(self, groups: Iterable[Group]) -> None:
        """Check the targets of ``groups``. A target whose address and check stay goes on as it is.

        Of thousands of targets the first ones are checked as configured at once, and the others in the following event loop
        iterations.
        """
        wanted: dict[Member, Candidate] = {}
        self._resetting.clear()
        for group in groups:
            wanted |= {one.member: one for one in group.candidates if one.target.check is not None}
            if group.resets_when_down:
                self._resetting[group.name] = group
        self._changes = self._changed(wanted)
        self._stop_timer()
        self._change()

    def told(self, group: str, name: str, address: str, detail: str, *, passed: bool) -> None:
        """Another process has checked a target. One that has another address here is none that it has checked."""
        checker = self._by_name.get((group, name))
        if checker is not None and _address(checker.candidate) == address:
            checker.told(detail, passed=passed)

    def _found(self, candidate: Candidate, passed: bool, detail: str) -> None:
        member = candidate.member
        self.on_result(member.group, member.name, _address(candidate), passed, detail)

    def stop(self) -> None:
        """Check nothing any more."""
        self._stop_timer()
        self._changes = iter(())
        for checker in self._checkers.values():
            checker.stop()
        self._paused |= self._checkers.keys()
        self._checkers.clear()
        self._by_name.clear()
        self._connections.stop()

    def _change(self) -> None:
        """Do a part of the changes, and the others later."""
        self._timer = None
        ends = self._clock.seconds() + _BUDGET
        for _ in self._changes:
            if self._clock.seconds() >= ends:
                self._timer = self._clock.callLater(0, self._change)
                return

    def _changed(self, wanted: dict[Member, Candidate]) -> Iterator[None]:
        """Stop, begin and keep checkers, one with each step."""
        for member in (self._checkers.keys() | self._paused) - wanted.keys():
            self._forget(member)
            yield
        for member, candidate in wanted.items():
            plan = candidate.target.check
            assert plan is not None  # noqa: S101 - it is to be checked
            self._paused.discard(member)
            former = self._checkers.get(member)
            if former is not None and _is_same(former.candidate, candidate):
                former.candidate, former.plan = candidate, plan
            else:
                if former is not None:
                    former.stop()
                checker = self._checkers[member] = Checker(candidate, plan, self._around)
                self._by_name[member.group, member.name] = checker
            yield

    def _forget(self, member: Member) -> None:
        """Do not check ``member`` any more: its state is that of one that was never checked."""
        checker = self._checkers.pop(member, None)
        if checker is not None:
            checker.stop()
        self._paused.discard(member)
        self._by_name.pop((member.group, member.name), None)
        member.last_check = None
        if not member.passed and member.unused_since is None:
            log.info(
                "target {group}/{target} is up: it is not checked any more",
                group=member.group,
                target=member.name,
            )
        member.check(passed=True, now=self._clock.seconds())

    def _found_down(self, candidate: Candidate, was_up: bool) -> None:
        """End the sessions of a target that is down, where the group is configured so.

        A target that was down before has sessions, too: those dialed while it was up, and those that were connected to it as a
        last resort. The latter end as soon as the group has another target.
        """
        member = candidate.member
        group = self._resetting.get(member.group)
        if group is None or not member.active:
            return
        if was_up or group.tier is not Tier.LAST_RESORT:
            self._end_sessions(member)

    def _stop_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()


def _address(candidate: Candidate) -> str:
    return address_of(candidate.host, candidate.target.port)


def _nobody(*_: object) -> None:
    """There is no other process."""


def _is_same(former: Candidate, candidate: Candidate) -> bool:
    """Whether both are checked alike: from and to the same address, and on the same terms. A check has its own TLS."""
    one, other = former.target, candidate.target
    return (former.host, one.port, one.source, one.send_header, one.check) == (
        candidate.host,
        other.port,
        other.source,
        other.send_header,
        other.check,
    )
