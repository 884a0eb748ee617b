"""Checks one target again and again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from smartproxy.errors import CheckFailed
from smartproxy.model.target_status import ShownCheck
from smartproxy.upstream.health.rise_and_fall import RiseAndFall

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from smartproxy.flow.deadline import Deadline, Deadlines
    from smartproxy.model.plan.check import CheckPlan
    from smartproxy.upstream.candidate import Candidate

log = Logger()
#: The share of an interval by which checks are shortened or lengthened at random, so that targets are not asked in step.
_JITTER = 0.1


class Checker:
    """Checks ``candidate``, first at a random time within its interval.

    :param ask: asks once.
    :param random: returns numbers from 0 to 1.
    :param wall_clock: seconds since the epoch.
    :param on_down: called when the target has become down.
    """

    def __init__(
        self,
        candidate: Candidate,
        plan: CheckPlan,
        ask: Callable[[Candidate, CheckPlan], Awaitable[str]],
        deadlines: Deadlines,
        clock: Callable[[], float],
        random: Callable[[], float],
        wall_clock: Callable[[], float],
        on_down: Callable[[Candidate], None],
    ) -> None:
        self.candidate = candidate
        self.plan = plan
        self._ask = ask
        self._deadlines = deadlines
        self._clock = clock
        self._random = random
        self._wall_clock = wall_clock
        self._on_down = on_down
        self._results = RiseAndFall(plan.rise, plan.fall, up=candidate.member.passed)
        self._asking: Deferred[str] | None = None
        self._is_stopped = False
        self._next: Deadline = deadlines.call_later(plan.interval * random(), self._check)

    def stop(self) -> None:
        """Do not check any more."""
        self._is_stopped = True
        self._next.cancel()
        if self._asking is not None:
            self._asking.cancel()

    def _check(self) -> None:
        Deferred.fromCoroutine(self._check_once())

    async def _check_once(self) -> None:
        """Ask, count the result, and set the time of the next check."""
        asking = self._asking = Deferred.fromCoroutine(_awaited(self._ask(self.candidate, self.plan)))
        due = self._deadlines.call_later(self.plan.timeout, asking.cancel)
        passed = False
        try:
            detail = await asking
            passed = True
        except CheckFailed as why:
            detail = why.detail
        except CancelledError:
            detail = f"no answer in {self.plan.timeout:g} s"
        except Exception as why:
            log.failure("the check of {target} failed in its own code", target=self.candidate.name)
            detail = f"the check raised {type(why).__name__}"
        due.cancel()
        self._asking = None
        if self._is_stopped:
            return
        self._result(detail, passed=passed)
        plan = self.plan
        interval = plan.fast_interval if self._results.is_between else plan.interval
        jitter = 1 + _JITTER * (2 * self._random() - 1)
        self._next = self._deadlines.call_later(interval * jitter, self._check)

    def _result(self, detail: str, *, passed: bool) -> None:
        member = self.candidate.member
        member.checks["ok" if passed else "failed"] += 1
        member.last_check = ShownCheck(self._wall_clock(), passed, detail)
        self._results.add(passed=passed)
        up = self._results.is_up
        if up is member.passed:
            return
        member.check(passed=up, now=self._clock())
        if up:
            log.info(
                "target {group}/{target} is up: {why}", group=member.group, target=member.name, why=detail
            )
        else:
            log.warn(
                "target {group}/{target} is down: {why}", group=member.group, target=member.name, why=detail
            )
            self._on_down(self.candidate)


async def _awaited(answer: Awaitable[str]) -> str:
    return await answer
