"""The workers of a supervisor: one in each slot, started again when it ends, replaced on demand.

::

    slots = WorkerSlots(4, held, forking, reactor, changing, ...)
    await slots.start_all()
    await slots.replace_all()       # one after the other, each by a new process on the same sockets
    await slots.stop_all()

A slot is a set of listening sockets, one for each place. They outlive its worker. While a slot has no worker, another
one accepts from its sockets: its clients do not wait until there is a new process.
"""

from __future__ import annotations

import contextlib
import signal
import socket
from typing import TYPE_CHECKING, Any, Final

from twisted.internet import defer
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.task import deferLater
from twisted.logger import Logger

from smartproxy.errors import WorkerFailed
from smartproxy.workers import commands
from smartproxy.workers.found import tell_others
from smartproxy.workers.process_rows import EXIT, ProcessRows
from smartproxy.workers.signs_of_life import SignsOfLife
from smartproxy.workers.slot import Slot, SlotState
from smartproxy.workers.worker_link import WorkerLink, WorkerState

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

    from twisted.internet.defer import DeferredLock
    from twisted.protocols.amp import Command

    from smartproxy.workers.forking import Forking
    from smartproxy.workers.held_sockets import HeldSockets
    from smartproxy.workers.memory import LimitsMemory

log = Logger()

#: Seconds that a worker has to become ready.
_START: Final = 60.0
#: A worker that has lived for this many seconds is started again at once. Others wait: the first time, and at most.
_STABLE, _FIRST_DELAY, _LONGEST_DELAY = 10.0, 0.1, 5.0


class WorkerSlots:
    """All slots, and the workers that are or were in them.

    :param held: the listening sockets.
    :param forking: forks workers.
    :param changing: is held while a worker gets its configuration and sockets: neither changes then.
    :param memory: what limits are held in.
    :param on_begun: called with a worker that has begun to serve, before it counts as one.
    :param on_retired: called with a worker that has ended.
    :ivar forking: as given; workers are forked by another one when it is replaced.
    :ivar slots: in the order of their numbers.
    :ivar links: every worker process that lives, replaced ones included.
    :ivar restarts: how often a worker that had ended by itself was started again.
    """

    def __init__(
        self,
        count: int,
        held: HeldSockets,
        forking: Forking,
        reactor: Any,
        changing: DeferredLock,
        memory: LimitsMemory,
        on_begun: Callable[[WorkerLink], Awaitable[None]],
        on_retired: Callable[[WorkerLink], object],
    ) -> None:
        self.slots = [Slot(number) for number in range(1, count + 1)]
        self.links: list[WorkerLink] = []
        self.restarts = 0
        self._held = held
        self.forking = forking
        self._reactor = reactor
        self._changing = changing
        self._rows = ProcessRows(memory, reactor)
        self._on_begun = on_begun
        self._on_retired = on_retired
        self._generations = 0
        self._is_ending = False
        self._all_ended: Deferred[None] | None = None
        self._signs_of_life = SignsOfLife(self.links, reactor)

    def served_by(self, link: WorkerLink) -> list[int]:
        """The slots whose sockets a worker accepts from."""
        return [slot.number for slot in self.slots if link in (slot.worker, slot.substitute)]

    def serving(self) -> Iterator[WorkerLink]:
        """The workers that accept connections, in the order of their slots."""
        for slot in self.slots:
            if slot.state is SlotState.SERVING and slot.worker is not None:
                yield slot.worker

    # -- start -----------------------------------------------------------------------------------------

    async def start_all(self) -> None:
        """Start a worker in every slot.

        :raises WorkerFailed: if one cannot serve.
        """
        self._is_ending = False
        self._signs_of_life.start()
        for slot in self.slots:
            await self._start(slot, self._new_link(slot))
        self._refuse_when_ending()

    async def _start(self, slot: Slot, link: WorkerLink) -> None:
        slot.become(SlotState.STARTING, self._reactor.seconds())
        slot.worker = link
        async with self._changing:
            await self._fork(link)
            await self._serve(slot, link)

    def _new_link(self, slot: Slot) -> WorkerLink:
        self._generations += 1
        return WorkerLink(
            slot.number,
            self._generations,
            self._lost,
            self._found,
            self._resigned,
            self._reactor,
        )

    async def _fork(self, link: WorkerLink) -> None:
        """Fork the process of ``link``, and wait until it is ready.

        :raises WorkerFailed: if it does not become so.
        """
        self._refuse_when_ending()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with ours, theirs:
            link.open(ours, self._reactor)
            self.links.append(link)
            row = self._rows.claim()
            wanted = {
                "do": "fork",
                "slot": link.slot,
                "generation": link.generation,
                "row": row,
            }
            link.forked_by = self.forking
            asked = self.forking.ask(wanted, theirs.fileno())
        try:
            link.process = int(str(await asked))
        except WorkerFailed:
            self._rows.give_back(row)
            raise
        self._rows.has(link.process, row, link.forked_by)
        try:
            await link.ready.addTimeout(_START, self._reactor)
        except defer.TimeoutError as late:
            raise WorkerFailed(f"worker {link.slot} is not ready after {_START:g} s") from late

    def _refuse_when_ending(self) -> None:
        """Begin nothing during a stop: it would not be told to end.

        :raises WorkerFailed: during a stop.
        """
        if self._is_ending:
            raise WorkerFailed("the proxy is being stopped")

    async def _begin(self, slot: Slot, link: WorkerLink) -> None:
        """Let a worker accept from the sockets of ``slot``."""
        await link.take(self._held.of_slot(slot.number))
        await link.tell(commands.Begin)
        link.has_begun = True
        await self._on_begun(link)
        link.doing = WorkerState.SERVING

    async def _serve(self, slot: Slot, link: WorkerLink) -> None:
        await self._begin(slot, link)
        slot.become(SlotState.SERVING, self._reactor.seconds())
        await slot.substituting
        substitute, slot.substitute = slot.substitute, None
        if substitute is not None and not substitute.has_ended:
            with contextlib.suppress(WorkerFailed):  # it has just ended
                await substitute.tell(commands.Release, slot=slot.number)
        for other in self.slots:
            if other.state in {SlotState.WAITING, SlotState.STARTING}:
                self._find_substitute(other)

    # -- the end of a worker ---------------------------------------------------------------------------

    def has_exited(self, process: int, code: int) -> None:
        """The nursery has found that a worker has ended, with this exit code, or minus its signal."""
        self._rows.exited(process)
        self._reactor.callLater(EXIT, self._close_channel, process)
        if code:
            how = f"by signal {_name_of(-code)}" if code < 0 else f"with exit code {code}"
            log.error("worker process {process} has ended {how}", process=process, how=how)

    def _close_channel(self, process: int) -> None:
        """Close the channel to a process that has ended, if another one, which it has forked, keeps it open."""
        for link in [link for link in self.links if link.process == process]:
            link.process = 0  # the number may be that of another process by now
            link.abandon()

    def nursery_lost(self, forking: Forking) -> None:
        """The process that would report the end of the workers that it has forked has ended itself."""
        self._rows.nursery_lost(forking, {link.process for link in self.links})

    def _lost(self, link: WorkerLink) -> None:
        """The control channel of a worker is closed: it has ended."""
        self.links.remove(link)
        self._signs_of_life.forget(link)
        self._rows.closed(link.process)
        self._on_retired(link)
        self._accepts_no_more(link)
        if not self.links and self._all_ended is not None and not self._all_ended.called:
            self._all_ended.callback(None)

    def _resigned(self, link: WorkerLink) -> None:
        """A worker accepts nothing more, and ends when its connections have: it got a SIGTERM."""
        if link.doing is WorkerState.STARTING:
            link.abandon()
        elif link.doing is WorkerState.SERVING:
            link.doing = WorkerState.DRAINING
            self._accepts_no_more(link)

    def _accepts_no_more(self, link: WorkerLink) -> None:
        """Let other workers accept from the sockets that ``link`` accepted from."""
        slot = self.slots[link.slot - 1]
        if slot.worker is link:  # first, so that it is not found as a substitute
            slot.worker = None
            self._vacated(slot, "has ended" if link.has_ended else "got SIGTERM")
        for other in self.slots:
            if other.substitute is link:
                other.substitute = None
                self._find_substitute(other)

    def _vacated(self, slot: Slot, how: str) -> None:
        """A slot has lost its worker."""
        now = self._reactor.seconds()
        lived = now - slot.since if slot.state is SlotState.SERVING else 0.0
        if self._is_ending:
            slot.become(SlotState.ENDED, now)
            return
        slot.become(SlotState.WAITING, now)
        self._find_substitute(slot)
        stable = lived >= _STABLE
        delay = 0.0 if stable else slot.delay
        slot.delay = _FIRST_DELAY if stable else min(max(2 * slot.delay, _FIRST_DELAY), _LONGEST_DELAY)
        log.warn(
            "worker {slot} {how}; another one is started{when}",
            slot=slot.number,
            how=how,
            when=f" in {delay:g} s" if delay else "",
        )
        self.restarts += 1
        self._reactor.callLater(delay, self._start_again, slot)

    def _start_again(self, slot: Slot) -> None:
        if not self._is_ending:
            link = self._new_link(slot)
            Deferred.fromCoroutine(self._start(slot, link)).addErrback(self._not_started, slot, link)

    def _not_started(self, why: Any, slot: Slot, link: WorkerLink) -> None:
        if not self._is_ending:
            log.error("worker {slot} cannot be started: {why}", slot=slot.number, why=why.getErrorMessage())
        if link in self.links:
            link.abandon()  # then it is lost, as one that has ended by itself
        elif slot.worker is link:  # there is no process, and no next one is on its way
            slot.worker = None
            self._vacated(slot, "could not be started")

    def _find_substitute(self, slot: Slot) -> None:
        """Let another worker accept from the sockets of a slot that has none."""
        substitute = next(self.serving(), None)
        if (
            substitute is None
            or slot.substitute is not None
            or self._is_ending
            or slot.state is SlotState.SERVING
        ):
            return
        slot.substitute = substitute
        slot.substituting = Deferred.fromCoroutine(self._substitute(slot, substitute)).addErrback(
            self._not_substituted, slot, substitute
        )

    def _not_substituted(self, why: Any, slot: Slot, substitute: WorkerLink) -> None:
        if not substitute.has_ended:  # else another one is found when it is lost
            log.warn("worker {slot} has no substitute: {why}", slot=slot.number, why=why.getErrorMessage())

    async def _substitute(self, slot: Slot, substitute: WorkerLink) -> None:
        await substitute.take(self._held.of_slot(slot.number))
        await substitute.tell(commands.Listen)

    def _found(self, link: WorkerLink, command: type[Command], result: Mapping[str, Any]) -> None:
        tell_others(link, command, result, self.serving(), self.forking)

    @property
    def all_answer(self) -> bool:
        """Whether every slot has a worker that shows signs of life."""
        return len(list(self.serving())) == len(self.slots) and self._signs_of_life.all_answer

    # -- all of them -----------------------------------------------------------------------------------

    async def tell_all(self, command: type[Any], **arguments: Any) -> None:
        """Let all workers that accept connections do something. One that cannot is replaced: it is not as the others."""
        await DeferredList(
            [
                Deferred.fromCoroutine(link.do_or_end(link.tell(command, **arguments)))
                for link in self.serving()
            ]
        )

    async def replace_all(self) -> None:
        """Replace every worker by a new process, one after the other. Live connections of the old one may end.

        :raises WorkerFailed: if a new one cannot serve; then the old one goes on, and so do those behind it.
        """
        for slot in self.slots:
            former = slot.worker
            if former is None or slot.state is not SlotState.SERVING:
                continue  # it is being started anyway
            link = self._new_link(slot)
            try:
                async with self._changing:
                    await self._fork(link)
                    await self._begin(slot, link)
                    self._succeed(
                        slot, former, link
                    )  # here: a change that waits for its turn is for the new one
            except BaseException:
                link.abandon()
                raise

    def _succeed(self, slot: Slot, former: WorkerLink, link: WorkerLink) -> None:
        """``link`` serves in ``slot`` in the place of ``former``."""
        if slot.worker is former:
            slot.worker = link
            self._accepts_no_more(former)
            self._let_end(former)
        else:  # that has just ended by itself, and another one is on its way
            self._let_end(link)

    def _let_end(self, link: WorkerLink) -> None:
        """Let a worker end its connections and exit."""
        link.doing = WorkerState.DRAINING
        Deferred.fromCoroutine(link.tell(commands.Stop)).addErrback(
            lambda why: why.trap(WorkerFailed) and None
        )

    async def stop_all(self) -> None:
        """Let every worker end its connections and exit; return when all have."""
        self._is_ending = True
        self._signs_of_life.stop()
        for slot in self.slots:
            if slot.worker is None:
                slot.become(SlotState.ENDED, self._reactor.seconds())
        self._all_ended = Deferred()
        for link in self.links:
            self._let_end(link)
        if self.links:
            await self._all_ended

    async def kill_after(self, seconds: float) -> None:
        """End the workers that are still there after ``seconds``."""
        await deferLater(self._reactor, seconds)
        for link in list(self.links):
            link.abandon()


def _name_of(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return str(number)
