"""The supervisor's end of the control channel to one worker."""

from __future__ import annotations

import contextlib
import os
import signal
from enum import StrEnum
from itertools import count
from typing import TYPE_CHECKING, Any

from twisted.internet import defer
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from smartproxy.errors import WorkerFailed
from smartproxy.workers import commands
from smartproxy.workers.answers import value_of
from smartproxy.workers.control_channel import ControlChannel
from smartproxy.workers.passed_settings import settings_file
from smartproxy.workers.passed_values import as_file, taken

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable, Coroutine, Mapping

    from twisted.internet.interfaces import IReactorTime
    from twisted.protocols.amp import Command
    from twisted.python import failure

    from smartproxy.proxy.given import ListeningSocket
    from smartproxy.settings import Settings
    from smartproxy.workers.answers import Answered
    from smartproxy.workers.forking import Forking
    from smartproxy.workers.snapshot import WorkerSnapshot

log = Logger()

#: Seconds in which a worker has read files, prepared a configuration from them and so on, for certain where they can be read.
_READING = 120.0


class WorkerState(StrEnum):
    """What a worker does, as far as the supervisor knows."""

    STARTING = "starting"
    SERVING = "serving"
    DRAINING = "draining"


class WorkerLink(ControlChannel):
    """One worker process, as the supervisor knows it.

    :param slot: which sockets it has, counted from 1.
    :param generation: tells it from every other worker.
    :param on_lost: called when the worker has ended.
    :param on_found: called with what the others have to know: a command for them, and its arguments.
    :param on_resigned: called when it refuses new connections and will end, though it was not told to.
    :param clock: monotonic.
    :ivar since: when it was started, in monotonic seconds.
    :ivar doing: what it does.
    :ivar has_begun: whether it has accepted connections; then it can be asked about them.
    :ivar process: its number; 0 until it is known.
    :ivar forked_by: reports when the process has ended.
    :ivar ready: fires when the worker can begin; fails if it ends before.
    :ivar active: its live connections at the last :meth:`ping`.
    :ivar farewell: its last snapshot, if it has ended in order.
    """

    def __init__(
        self,
        slot: int,
        generation: int,
        on_lost: Callable[[WorkerLink], object],
        on_found: Callable[[WorkerLink, type[Command], Mapping[str, Any]], object],
        on_resigned: Callable[[WorkerLink], object],
        clock: IReactorTime,
    ) -> None:
        super().__init__()
        self.slot = slot
        self.generation = generation
        self.process = self.active = 0
        self.forked_by: Forking | None = None
        self.ready: Deferred[None] = Deferred()
        self.farewell: WorkerSnapshot | None = None
        self.since = clock.seconds()
        self._clock = clock
        self.doing = WorkerState.STARTING
        self.has_begun = self.has_ended = False
        self._numbers = count(1)
        self._asked: set[int] = set()
        self._answers: dict[int, Answered] = {}
        self._on_lost = on_lost
        self._on_found = on_found
        self._on_resigned = on_resigned

    def connectionLost(self, reason: failure.Failure | None = None) -> None:
        """The worker has ended."""
        self.has_ended = True
        super().connectionLost(reason)
        if not self.ready.called:
            self.ready.errback(WorkerFailed("the worker has ended"))
            self.ready.addErrback(
                lambda _: None
            )  # who waits for it has it; later waiters find that it has ended
        self._on_lost(self)

    async def take(
        self, sockets: Mapping[ListeningSocket, socket.socket], *, of_change: bool = False
    ) -> None:
        """Give it listening sockets, but for those that are closed meanwhile.

        :param of_change: whether they are for the configuration that it is to prepare.

        A descriptor is sent later, as a number: one that is closed before would end the channel. So a copy is sent.
        """
        for (place, slot), opened in sockets.items():
            if opened.fileno() >= 0:
                with opened.dup() as copy:
                    where = {"address": place[0], "port": place[1], "slot": slot}
                    await self.tell(commands.Take, **where, opened=copy.fileno(), change=of_change)

    async def prepare(self, settings: Settings) -> None:
        """Let it prepare a configuration."""
        with settings_file(settings) as descriptor:
            await self._in_time(self.tell(commands.Prepare, settings=descriptor), "not prepared it")

    async def renew(self, states: int) -> None:
        """Let it read the certificate files that have changed: see :class:`~smartproxy.workers.commands.Renew`."""
        await self._in_time(self.tell(commands.Renew, states=states), "not read changed certificates")

    async def _in_time(self, telling: Coroutine[Any, Any, object], what: str) -> None:
        """Wait until it has done what may read files.

        :param what: it has done, if it is late.
        """
        try:
            await Deferred.fromCoroutine(telling).addTimeout(_READING, self._clock)
        except defer.TimeoutError as late:  # a file system hangs, for instance
            self.abandon()
            raise WorkerFailed(f"worker {self.slot} has {what} after {_READING:g} s") from late

    async def do_or_end(self, telling: Awaitable[object]) -> None:
        """Wait until it has done what all workers do. If it cannot, it is ended: it is not as the others."""
        try:
            await telling
        except WorkerFailed as why:
            if not self.has_ended:
                log.warn("worker {slot} has failed and is ended: {why}", slot=self.slot, why=why)
                self.abandon()

    async def ping(self) -> None:
        """Return when its event loop runs."""
        self.active = (await self.tell(commands.Ping))["active"]

    async def ask(self, question: str, arguments: Mapping[str, object]) -> Answered:
        """Ask a question of :mod:`smartproxy.workers.answers`."""
        number = next(self._numbers)
        self._asked.add(number)
        try:
            with as_file(dict(arguments)) as descriptor:
                await self.tell(commands.Ask, number=number, question=question, arguments=descriptor)
        except WorkerFailed:
            if number not in self._answers:  # else it has answered, and has exited then
                raise
        finally:
            self._asked.discard(number)
        return self._answers.pop(number)

    def kill(self, number: int) -> None:
        """Send a signal to the process, if it is still there."""
        if self.process and not self.has_ended:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.process, number)

    def abandon(self) -> None:
        """End a worker that is of no use: it does not answer, or cannot serve."""
        self.kill(signal.SIGKILL)
        if self.transport is not None:
            self.transport.loseConnection()

    @commands.Ready.responder
    def on_ready(self) -> dict[str, Any]:
        """See :class:`~smartproxy.workers.commands.Ready`, and so on."""
        self.ready.callback(None)
        return {}

    @commands.Resign.responder
    def on_resign(self) -> dict[str, Any]:
        self._on_resigned(self)
        return {}

    @commands.GiveAnswer.responder
    def on_answer(self, number: int, answer: int) -> dict[str, Any]:
        answered = taken(answer)
        if number in self._asked:  # else it is too late: who has asked has given up
            self._answers[number] = answered
        return {}

    @commands.TargetChecked.responder
    def on_checked(self, **result: Any) -> dict[str, Any]:
        self._on_found(self, commands.TargetChecked, result)
        return {}

    @commands.OcspAsked.responder
    def on_ocsp_asked(self, **result: Any) -> dict[str, Any]:
        self._on_found(self, commands.OcspAsked, result)
        return {}

    @commands.Farewell.responder
    def on_farewell(self, snapshot: int) -> dict[str, Any]:
        self.farewell = value_of(taken(snapshot))
        return {}
