"""Checks one target again and again.

Where several processes check the same targets, each tells the others what it has found (:meth:`Checker.told`), and one that
was told does not ask itself in that interval. Who asks first goes on asking, because the others wait a little longer for the
next time than it does; when it is gone, another one takes over at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from smartproxy.errors import CheckFailed, DialFailed, LocalShortage, PeerClosed
from smartproxy.model.target_status import ShownCheck
from smartproxy.upstream.health.rise_and_fall import RiseAndFall

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.defer import Deferred
    from twisted.python.failure import Failure

    from smartproxy.flow.deadline import Deadline, Deadlines
    from smartproxy.model.plan.check import CheckPlan
    from smartproxy.upstream.candidate import Candidate
    from smartproxy.upstream.health.schedule import Schedule, ScheduledCall
    from smartproxy.upstream.interfaces import ICheck

log = Logger()
#: The share of an interval by which it is shortened or lengthened at random, so that targets are not asked in step.
_JITTER = 0.1
#: The share of an interval that is waited longer for a check that another process will probably make.
_LONGER = 0.1


class Surroundings(NamedTuple):
    """What all checkers share.

    :ivar ask: asks once.
    :ivar schedule: when checks begin.
    :ivar deadlines: when they have lasted too long.
    :ivar seconds: the monotonic clock.
    :ivar random: returns numbers from 0 to 1.
    :ivar wall_clock: seconds since the epoch.
    :ivar on_result: called with a target, whether its check has passed, and what was found: for other processes.
    :ivar on_down: called with a target that a check has found down, with each check, and whether it was up before.
    """

    ask: ICheck
    schedule: Schedule
    deadlines: Deadlines
    seconds: Callable[[], float]
    random: Callable[[], float]
    wall_clock: Callable[[], float]
    on_result: Callable[[Candidate, bool, str], None]
    on_down: Callable[[Candidate, bool], None]


class Checker:
    """Checks ``candidate``, first at a random time within its interval.

    It has no coroutine, because thousands of targets may be checked.
    """

    __slots__ = (
        "_around",
        "_asking",
        "_began",
        "_due",
        "_has_result",
        "_is_stopped",
        "_next",
        "_results",
        "candidate",
        "plan",
    )

    def __init__(self, candidate: Candidate, plan: CheckPlan, around: Surroundings) -> None:
        self.candidate = candidate
        self.plan = plan
        self._around = around
        self._results = RiseAndFall(plan.rise, plan.fall, up=candidate.member.passed)
        self._asking: Deferred[str] | None = None
        self._due: Deadline | None = None
        self._is_stopped = self._has_result = False
        self._began = around.seconds()
        self._next: ScheduledCall = around.schedule.call_at(
            self._began + plan.interval * around.random(), self._check
        )

    def stop(self) -> None:
        """Do not check any more."""
        self._is_stopped = True
        self._around.schedule.cancel(self._next)
        if self._asking is not None:
            self._asking.cancel()

    def told(self, detail: str, *, passed: bool) -> None:
        """Another process has checked the target; the result counts as one of ours."""
        now, interval = self._around.seconds(), self._interval
        # Where both have asked in one interval, each has its own result.
        if (
            self._is_stopped
            or self._asking is not None
            or (self._has_result and now - self._began < interval / 2)
        ):
            return
        self._around.schedule.cancel(self._next)
        self._began = now
        self._count(detail, passed=passed, is_own=False)
        self._schedule_next(_LONGER)

    def _check(self) -> None:
        """Ask, and set the time at which the target must have answered."""
        around = self._around
        self._began = around.seconds()
        asking = self._asking = around.ask(self.candidate, self.plan)
        asking.addCallbacks(self._passed, self._failed)
        if self._asking is asking:  # it has not answered at once
            self._due = around.deadlines.call_later(self.plan.timeout, asking.cancel)

    def _passed(self, detail: str) -> None:
        self._answered(detail, passed=True)

    def _failed(self, why: Failure) -> None:
        if isinstance(why.value, LocalShortage):
            self._not_asked(self._detail(why))
        else:
            self._answered(self._detail(why), passed=False)

    def _not_asked(self, detail: str) -> None:
        """Show why the target was not asked. It is no result: sessions must not end for a lack of our own descriptors."""
        self._ended()
        if not self._is_stopped:
            self.candidate.member.last_check = ShownCheck(self._around.wall_clock(), ok=False, detail=detail)
            self._schedule_next()

    def _detail(self, why: Failure) -> str:
        """What was found instead, in one line."""
        if isinstance(why.value, CheckFailed):
            return why.value.detail
        if isinstance(why.value, DialFailed):
            return ascii(why.value.detail)[1:-1]
        if isinstance(why.value, PeerClosed):
            return "it closed the connection"
        if isinstance(why.value, CancelledError):
            return f"no answer in {self.plan.timeout:g} s"
        name = self.candidate.name
        log.failure("the check of {target} failed in its own code", failure=why, target=name)
        return f"the check raised {type(why.value).__name__}"

    def _answered(self, detail: str, *, passed: bool) -> None:
        """Count the result, and set the time of the next check: an interval after this one began."""
        self._ended()
        if self._is_stopped:
            return
        self._count(detail, passed=passed, is_own=True)
        self._schedule_next()

    def _ended(self) -> None:
        self._asking = None
        due, self._due = self._due, None
        if due is not None:
            due.cancel()

    @property
    def _interval(self) -> float:
        return self.plan.fast_interval if self._results.is_between else self.plan.interval

    def _schedule_next(self, longer: float = 0.0) -> None:
        if self._is_stopped:  # by what a change of state has led to
            return
        around = self._around
        jitter = 1 + _JITTER * (2 * around.random() - 1) + 2 * longer
        self._next = around.schedule.call_at(self._began + self._interval * jitter, self._check)

    def _count(self, detail: str, *, passed: bool, is_own: bool) -> None:
        """Count a result; one that we were told is counted, logged and told on by another process."""
        self._has_result = True
        try:
            if is_own:
                self.candidate.member.checks["ok" if passed else "failed"] += 1
                self._around.on_result(self.candidate, passed, detail)
            self._result(detail, passed=passed, is_own=is_own)
        except Exception:  # of code that follows changes of state
            log.failure("the check of {target} failed in its own code", target=self.candidate.name)

    def _result(self, detail: str, *, passed: bool, is_own: bool) -> None:
        member = self.candidate.member
        member.last_check = ShownCheck(self._around.wall_clock(), passed, detail)
        self._results.add(passed=passed)
        up, was_up = self._results.is_up, member.passed
        if up is not was_up:
            member.check(passed=up, now=self._around.seconds())
            if is_own:
                self._log(detail, up=up)
        if not up and not passed:
            self._around.on_down(self.candidate, was_up)

    def _log(self, detail: str, *, up: bool) -> None:
        group, name = self.candidate.member.group, self.candidate.name
        if up:
            log.info("target {group}/{target} is up: {why}", group=group, target=name, why=detail)
        else:
            log.warn("target {group}/{target} is down: {why}", group=group, target=name, why=detail)
