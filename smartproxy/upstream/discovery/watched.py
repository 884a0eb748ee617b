"""Names that are asked for again and again: when an answer is older than its TTL, or some time after a failure.

Each name is asked for once, however many groups use it, and a reload keeps its answer. A name that fails keeps its last
good answer: NXDOMAIN, SERVFAIL, silence and an answer without records look the same from here, and an address that worked is
a better guess than none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from smartproxy.errors import LookupFailed

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from twisted.internet.defer import Deferred
    from twisted.python.failure import Failure

    from smartproxy.flow.deadline import Deadline, Deadlines
    from smartproxy.upstream.discovery.interfaces import Answer, IRecords

log = Logger()

#: What is asked for: addresses, or SRV records.
Kind: TypeAlias = Literal["addresses", "services"]
#: Seconds for which an answer is used. A TTL of 0 would make a query for each event loop iteration, and one of a day would
#: hide a change that an operator waits for.
LEAST_TTL: Final = 1.0
LONGEST_TTL: Final = 300.0
#: The same where the TTL is not known: that of names that are resolved for a connection.
USUAL_TTL: Final = 10.0
#: Seconds after the first failure, and the most after several.
_FIRST_RETRY: Final = 1.0
_LONGEST_RETRY: Final = 5.0
#: Seconds after which clients do not wait for the first answer any more.
PATIENCE: Final = 10.0
#: The share by which a time is lengthened at random, so that names are not asked for in step.
_JITTER: Final = 0.1
#: Seconds during which the failure of one name is logged once.
LOG_INTERVAL: Final = 5.0


class WatchedName:
    """One name.

    :param ask: asks for its records; it is given the last ones.
    :param random: returns numbers from 0 to 1.
    :ivar records: of the last good answer.
    :ivar in_use: SRV records: those in use, which are former ones until a host of :attr:`records` has an address. A reload keeps
        them.
    :ivar is_settled: whether there was an answer, or the first attempt to get one has failed.
    :ivar listeners: called when one of them has changed.
    """

    def __init__(
        self,
        name: str,
        ask: Callable[[str, Any], Deferred[Answer]],
        deadlines: Deadlines,
        seconds: Callable[[], float],
        random: Callable[[], float],
    ) -> None:
        self.name = name
        self.records: tuple[Any, ...] = ()
        self.in_use: tuple[Any, ...] = ()
        self.is_settled = False
        self.listeners: list[Callable[[], None]] = []
        self._ask = ask
        self._deadlines = deadlines
        self._seconds = seconds
        self._random = random
        self._failures = 0
        self._logged_at = float("-inf")
        self._asking: Deferred[None] | None = None
        self._is_stopped = False
        self._next: Deadline = deadlines.call_later(0, self._begin)
        self._impatience: Deadline = deadlines.call_later(PATIENCE, self._settle)

    def stop(self) -> None:
        """Do not ask any more."""
        self._is_stopped = True
        self._next.cancel()
        self._impatience.cancel()
        if self._asking is not None:
            self._asking.cancel()

    def _begin(self) -> None:
        asking = self._ask(self.name, self.records)
        self._asking = ended = asking.addCallbacks(self._answered, self._failed)
        ended.addErrback(lambda why: log.failure("discovery failed in its own code", failure=why))
        if ended.called:
            self._asking = None

    def _answered(self, answer: Answer) -> None:
        self._asking = None
        if self._is_stopped:
            return
        self._failures = 0
        ttl = USUAL_TTL if answer.ttl is None else min(max(answer.ttl, LEAST_TTL), LONGEST_TTL)
        self._ask_in(ttl)
        has_changed = answer.records != self.records
        self.records = answer.records
        if has_changed or not self.is_settled:
            self._settle(has_changed=has_changed)

    def _failed(self, why: Failure) -> None:
        self._asking = None
        if self._is_stopped:
            return
        self._ask_in(min(_FIRST_RETRY * 2**self._failures, _LONGEST_RETRY))
        self._failures = min(self._failures + 1, 8)
        if why.check(LookupFailed, CancelledError) is None:
            log.failure("discovery failed in its own code", failure=why)
        self._log(why.getErrorMessage())
        self._settle()

    def _ask_in(self, seconds: float) -> None:
        self._next = self._deadlines.call_later(seconds * (1 + _JITTER * self._random()), self._begin)

    def _settle(self, *, has_changed: bool = False) -> None:
        """There is an answer, or clients do not wait for it any more."""
        self._impatience.cancel()
        if self.is_settled and not has_changed:
            return
        self.is_settled = True
        for listener in list(self.listeners):
            listener()

    def _log(self, why: str) -> None:
        now = self._seconds()
        if now - self._logged_at < LOG_INTERVAL:
            return
        self._logged_at = now
        use = (
            f"the last answer is kept ({len(self.records)} records)"
            if self.records
            else "there was none before"
        )
        log.warn("{name} is not found: {why}; {use}", name=self.name, why=ascii(why)[1:-1], use=use)


class WatchedNames:
    """Every name that a source asks for."""

    def __init__(
        self,
        records: IRecords,
        deadlines: Deadlines,
        seconds: Callable[[], float],
        random: Callable[[], float],
    ) -> None:
        self._ask: dict[Kind, Callable[[str, Any], Deferred[Answer]]] = {
            "addresses": records.addresses,
            "services": records.services,
        }
        self._deadlines = deadlines
        self._seconds = seconds
        self._random = random
        self._names: dict[tuple[Kind, str], WatchedName] = {}

    def __len__(self) -> int:
        return len(self._names)

    def use(self, kind: Kind, name: str, changed: Callable[[], None]) -> WatchedName:
        """The name, watched until :meth:`release`.

        :param changed: called when its answer has changed.
        """
        key = kind, name.lower()
        watched = self._names.get(key)
        if watched is None:
            watched = self._names[key] = WatchedName(
                name, self._ask[kind], self._deadlines, self._seconds, self._random
            )
        watched.listeners.append(changed)
        return watched

    def release(self, kind: Kind, name: str, changed: Callable[[], None]) -> None:
        """``changed`` does not follow the name any more. One that no one follows is forgotten."""
        key = kind, name.lower()
        watched = self._names[key]
        watched.listeners.remove(changed)
        if not watched.listeners:
            watched.stop()
            del self._names[key]
