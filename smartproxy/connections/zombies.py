"""Connections that look alive and are dead, found by looking at each every ten seconds.

- *full*: both sockets are gone and the record is still there. That is a fault of ours, caught: cleaned up, and
  logged as what it is. It is looked at twice, a second apart, because what the kernel has just ended may be
  an event that still waits for its turn.
- *half*: one socket is gone and the other is not, and for longer than a grace nothing has moved: what it had
  said before may still be on its way. A relay that is not reading a side because the other does not take cannot
  notice a reset there.
- *stuck*: the client has sent something and never got an answer, and nothing has moved for long. An upload
  that flows is not stuck. Routes for protocols that never answer say ``stuckDetection: false``.

An immortal connection is ended as full or half, never as stuck. The sweep asks the kernel about two
sockets a connection, a microsecond each, and goes in slices so that nobody waits for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import LoopingCall, deferLater
from twisted.logger import Logger

from smartproxy.model.outcome import CloseReason, ConnectionState

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from twisted.internet.interfaces import IReactorTime

    from smartproxy.connections.registry import Registry
    from smartproxy.metrics.counters import Counters, ZombieKind
    from smartproxy.model.plan import ZombiePlan
    from smartproxy.model.record import ConnectionRecord

#: Seconds that a sweep looks at connections in a row before everybody else has a turn.
_SLICE = 0.002
#: Seconds after which one whose sockets are both gone is looked at again: thousands of events have had their
#: turn by then.
_SECOND_LOOK = 1.0
#: How many finds a sweep's log line names.
_NAMED = 5

log = Logger()

_REASONS: dict[ZombieKind, CloseReason] = {
    "full": CloseReason.ZOMBIE_FULL,
    "half": CloseReason.ZOMBIE_HALF,
    "stuck": CloseReason.ZOMBIE_STUCK,
}


class ZombieSweep:
    """Looks at every connection, again and again.

    :param clock: monotonic.
    """

    def __init__(self, plan: ZombiePlan, registry: Registry, counters: Counters, clock: IReactorTime) -> None:
        self._plan = plan
        self._registry = registry
        self._counters = counters
        self._clock = clock
        self._half_since: dict[int, float] = {}
        self._under_way: Deferred[None] | None = None
        self._looping = LoopingCall(self.sweep)
        self._looping.clock = clock

    def start(self) -> None:
        """Begin."""
        self._looping.start(self._plan.interval, now=False).addErrback(
            lambda why: log.failure("zombies are no longer looked for", failure=why)
        )

    def stop(self) -> None:
        """Look no more."""
        if self._looping.running:
            self._looping.stop()
        if self._under_way is not None:
            self._under_way.cancel()

    def sweep(self) -> Deferred[None]:
        """Look at all that live now. Fires when it is done; the next one waits for it."""
        self._under_way = Deferred.fromCoroutine(self._sweep())
        return self._under_way

    async def _sweep(self) -> None:
        found: dict[ZombieKind, list[ConnectionRecord]] = {"full": [], "half": [], "stuck": []}
        seem_full: list[int] = []
        try:
            async for record, kind in self._looked_at(self._registry.live):
                if kind == "full":
                    seem_full.append(record.id)
                else:
                    found[kind].append(record)
                    self._end(kind, record)
            if seem_full:
                await deferLater(self._clock, _SECOND_LOOK)
            async for record, kind in self._looked_at(seem_full):
                found[kind].append(record)
                self._end(kind, record)
        except CancelledError:
            return  # the proxy stops
        live = self._registry.live
        self._half_since = {number: at for number, at in self._half_since.items() if number in live}
        self._tell(found)

    async def _looked_at(self, numbers: Iterable[int]) -> AsyncIterator[tuple[ConnectionRecord, ZombieKind]]:
        """The zombies among those of ``numbers`` that live, slice by slice."""
        pause_at = self._clock.seconds() + _SLICE
        for number in list(numbers):
            now = self._clock.seconds()
            if now >= pause_at:
                await deferLater(self._clock, 0)
                now = self._clock.seconds()
                pause_at = now + _SLICE
            record = self._registry.live.get(number)
            kind = self._kind(record, now) if record is not None else None
            if record is not None and kind is not None:
                yield record, kind

    def _kind(self, record: ConnectionRecord, now: float) -> ZombieKind | None:
        """Which kind of zombie it is, if it is one."""
        client, upstream = _gone(record)
        if client and upstream:
            return "full"
        if client or upstream:
            since = max(self._half_since.setdefault(record.id, now), record.last_activity_at)
            grace = self._plan.half_grace_tls if record.tls else self._plan.half_grace_plain
            return "half" if now - since >= grace else None
        self._half_since.pop(record.id, None)
        threshold = self._plan.stuck_tls if record.tls else self._plan.stuck_plain
        return "stuck" if _asks_in_vain(record) and now - record.last_activity_at >= threshold else None

    def _end(self, kind: ZombieKind, record: ConnectionRecord) -> None:
        self._counters.zombie(kind)
        try:
            record.owner.abort(_REASONS[kind])
        except Exception:
            log.failure("zombie {id} could not be ended", id=record.id)
        if kind == "full":
            # Whoever should have closed its books has not noticed, and may never.
            self._registry.close(record, CloseReason.ZOMBIE_FULL, self._clock.seconds())

    def _tell(self, found: dict[ZombieKind, list[ConnectionRecord]]) -> None:
        every = [(kind, record) for kind, records in found.items() for record in records]
        if not every:
            return
        named = ", ".join(
            f"{kind} {record.id} of {record.client} on {record.route}" for kind, record in every[:_NAMED]
        )
        log.warn(
            "zombies: {full} full (a fault of ours), {half} half, {stuck} stuck: {named}{more}",
            full=len(found["full"]),
            half=len(found["half"]),
            stuck=len(found["stuck"]),
            named=named,
            more=", ..." if len(every) > _NAMED else "",
        )


def _gone(record: ConnectionRecord) -> tuple[bool, bool]:
    """Which of its sockets are gone. Where nobody can even say so any more, both are."""
    try:
        return record.owner.gone()
    except Exception:
        log.failure("connection {id} does not know its own sockets", id=record.id)
        return True, True


def _asks_in_vain(record: ConnectionRecord) -> bool:
    unanswered = record.bytes_received > 0 and not record.bytes_sent
    return unanswered and record.stuck_detection and record.state is ConnectionState.RELAYING
