"""Finds dead connections ("zombies"): ones that no event will ever close.

A sweep checks every connection each ``zombieDetection.interval`` (10 s), and closes three kinds:

- *full*: both sockets are gone but the record is still live. This indicates a bug in smartproxy. It is checked twice, a
  second apart: right after a mass reset the kernel has already ended sockets whose events have not been dispatched yet.
- *half*: one socket is gone, the other is not, and no byte has moved for a grace period; until then, data that the ended
  side sent earlier may still be on its way. It happens when a side is not being read because the other side does not take
  more: a relay without the poller then gets no event for a reset.
- *stuck*: the client has sent data, no reply was ever sent to it, and no byte has moved for a long time. An upload in
  progress is not stuck. A route whose protocol never replies (syslog) sets ``stuckDetection: false``.

A connection whose peers still acknowledge bytes is neither half nor stuck: the kernel is delivering what was handed to it
before (:mod:`smartproxy.connections.delivery`).

Grace and threshold are 5 minutes for a connection with TLS, and 30 s and 60 s for others. With ``keepAliveTreatment:
immortal`` a connection can be full or half, but not stuck.

The check asks the kernel about two sockets per connection, about a microsecond each. The sweep runs in slices of 2 ms, so that
it does not delay live connections.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import LoopingCall, deferLater
from twisted.logger import Logger

from smartproxy.connections.delivery import Delivery
from smartproxy.model.ending import about
from smartproxy.model.outcome import CloseReason, ConnectionState

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from twisted.internet.interfaces import IReactorTime

    from smartproxy.connections.registry import Registry
    from smartproxy.metrics.counters import Counters, ZombieKind
    from smartproxy.model.plan import ZombiePlan
    from smartproxy.model.record import ConnectionRecord

#: Longest time in seconds that a sweep blocks the event loop: about a thousand checks.
_SLICE = 0.002
#: Seconds before a connection that seems to be full is checked again. Thousands of pending events are dispatched by then.
_SECOND_LOOK = 1.0
#: Number of zombies that the log line of a sweep names.
_NAMED = 5

log = Logger()

_REASONS: dict[ZombieKind, CloseReason] = {
    "full": CloseReason.ZOMBIE_FULL,
    "half": CloseReason.ZOMBIE_HALF,
    "stuck": CloseReason.ZOMBIE_STUCK,
}


class ZombieSweep:
    """Checks all live connections periodically, and closes the dead ones.

    :param clock: monotonic.
    """

    def __init__(self, plan: ZombiePlan, registry: Registry, counters: Counters, clock: IReactorTime) -> None:
        self._plan = plan
        self._registry = registry
        self._counters = counters
        self._clock = clock
        #: When a sweep first found one socket of a connection gone, by connection number.
        self._half_since: dict[int, float] = {}
        #: What the peers of connections that seemed dead have acknowledged, by connection number.
        self._deliveries: dict[int, Delivery] = {}
        self._current: Deferred[None] | None = None
        self._looping = self._new_loop()

    def start(self) -> None:
        """Start the periodic sweeps."""
        self._looping.start(self._plan.interval, now=False).addErrback(
            lambda why: log.failure("the search for zombies has stopped", failure=why)
        )

    def stop(self) -> None:
        """Stop the sweeps; a sweep in progress is cancelled."""
        if self._looping.running:
            self._looping.stop()
        if self._current is not None:
            self._current.cancel()

    def configure(self, plan: ZombiePlan) -> None:
        """Sweep as ``plan`` says from now on. Sockets that were found gone keep the time at which they were."""
        running = self._looping.running
        self.stop()
        self._plan = plan
        self._looping = self._new_loop()
        if running:
            self.start()

    def _new_loop(self) -> LoopingCall:
        looping = LoopingCall(self.sweep)
        looping.clock = self._clock
        return looping

    def sweep(self) -> Deferred[None]:
        """Check all connections that are live now.

        :return: fires when the sweep is done. ``LoopingCall`` starts the next one only after that, so sweeps never overlap.
        """
        self._current = Deferred.fromCoroutine(self._sweep())
        return self._current

    async def _sweep(self) -> None:
        found: dict[ZombieKind, list[ConnectionRecord]] = {"full": [], "half": [], "stuck": []}
        seem_full: list[int] = []
        try:
            async for record, kind in self._find(self._registry.live):
                if kind == "full":
                    seem_full.append(record.id)
                else:
                    found[kind].append(record)
                    self._end(kind, record)
            # Second check of those that seem full. By now the event of a reset has been dispatched and has closed its
            # connection in the normal way: it is no longer in the registry, and is skipped.
            if seem_full:
                await deferLater(self._clock, _SECOND_LOOK)
            async for record, kind in self._find(seem_full):
                found[kind].append(record)
                self._end(kind, record)
        except CancelledError:
            return  # stop() was called
        # Drop the times of connections that have been closed since, or the table would grow for ever.
        live = self._registry.live
        self._half_since = {number: at for number, at in self._half_since.items() if number in live}
        self._deliveries = {number: each for number, each in self._deliveries.items() if number in live}
        self._log(found)

    async def _find(self, numbers: Iterable[int]) -> AsyncIterator[tuple[ConnectionRecord, ZombieKind]]:
        """Yield the zombies among the connections ``numbers``, and return to the event loop after every slice."""
        pause_at = self._clock.seconds() + _SLICE
        # A copy, and a look-up per number: connections are opened and closed while this is suspended between slices.
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
        """Return the kind of zombie that ``record`` is; ``None`` if it is not one."""
        client, upstream = _sockets_gone(record)
        if client and upstream:
            return "full"
        if client or upstream:
            # The grace begins when the socket was found gone or with the last byte, whichever is later: data that the
            # ended side sent before may still be on its way to the other.
            since = max(self._half_since.setdefault(record.id, now), record.last_activity_at)
            grace = self._plan.half_grace_tls if record.tls else self._plan.half_grace_plain
            return "half" if now - since >= grace and not self._still_delivers(record, now) else None
        # Both sockets exist: forget an earlier finding.
        self._half_since.pop(record.id, None)
        threshold = self._plan.stuck_tls if record.tls else self._plan.stuck_plain
        is_stuck = _is_unanswered(record) and now - record.last_activity_at >= threshold
        return "stuck" if is_stuck and not self._still_delivers(record, now) else None

    def _still_delivers(self, record: ConnectionRecord, now: float) -> bool:
        return self._deliveries.setdefault(record.id, Delivery()).goes_on(record, now)

    def _end(self, kind: ZombieKind, record: ConnectionRecord) -> None:
        # Counted first: a close that fails must not hide the zombie.
        self._counters.zombie(kind)
        record.explain(_REASONS[kind], self._in_words(kind, record))
        try:
            record.owner.abort(_REASONS[kind])
        except Exception:
            log.failure("closing zombie {id} failed", id=record.id)
        if kind == "full":
            # abort() closes the record through the events of its sockets, and a full zombie has missed them. close() does
            # nothing if abort() has closed it after all.
            self._registry.close(record, CloseReason.ZOMBIE_FULL, self._clock.seconds())

    def _in_words(self, kind: ZombieKind, record: ConnectionRecord) -> str:
        plan, suffix = self._plan, "Tls" if record.tls else "Plain"
        if kind == "half":
            seconds = plan.half_grace_tls if record.tls else plan.half_grace_plain
            return f"one socket was closed, and no byte moved for {seconds:g} s (zombieDetection.halfGrace{suffix})"
        if kind == "stuck":
            seconds = plan.stuck_tls if record.tls else plan.stuck_plain
            return (
                f"no reply to {record.bytes_received} bytes of the client, and no byte moved for {seconds:g} s "
                f"(zombieDetection.stuck{suffix})"
            )
        return "both sockets were closed without an event: a bug in smartproxy"

    def _log(self, found: dict[ZombieKind, list[ConnectionRecord]]) -> None:
        all_found = [(kind, record) for kind, records in found.items() for record in records]
        if not all_found:
            return
        named = ", ".join(
            f"{kind} {record.id} of {record.client} ({about(record)})" for kind, record in all_found[:_NAMED]
        )
        log.warn(
            "zombies: {full} full (a bug in smartproxy), {half} half, {stuck} stuck: {named}{more}",
            full=len(found["full"]),
            half=len(found["half"]),
            stuck=len(found["stuck"]),
            named=named,
            more=", ..." if len(all_found) > _NAMED else "",
        )


def _sockets_gone(record: ConnectionRecord) -> tuple[bool, bool]:
    """Return whether the client's and the target's socket are gone; both, if asking them raises."""
    try:
        return record.owner.gone()
    except Exception:
        log.failure("checking the sockets of connection {id} failed", id=record.id)
        return True, True


def _is_unanswered(record: ConnectionRecord) -> bool:
    """Whether the client of a relayed connection has sent data and was never sent a reply."""
    unanswered = record.bytes_received > 0 and not record.bytes_sent
    return unanswered and record.stuck_detection and record.state is ConnectionState.RELAYING
