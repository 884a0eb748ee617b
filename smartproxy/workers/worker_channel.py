"""The worker's end of the control channel: does what the supervisor says."""

from __future__ import annotations

import contextlib
import os
import socket
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

from twisted.internet.defer import Deferred
from twisted.internet.error import ReactorNotRunning
from twisted.logger import Logger

from smartproxy.errors import WorkerFailed
from smartproxy.proxy.given import ListeningSocket
from smartproxy.workers import commands
from smartproxy.workers.answers import answer
from smartproxy.workers.control_channel import ControlChannel
from smartproxy.workers.passed_settings import taken_settings
from smartproxy.workers.passed_values import as_file, shortened, taken

if TYPE_CHECKING:
    from twisted.python import failure

    from smartproxy.workers.worker_proxy import WorkerProxy

log = Logger()

#: Characters of what a check has found, at most, and of why there is no OCSP response.
_LONGEST_DETAIL = 500
#: Bytes of an OCSP response that the others are told: the most that AMP can carry. Usual ones have 300 to 2,000.
_LONGEST_RESPONSE = 0xFFFF


class WorkerChannel(ControlChannel):
    """Answers the commands of the supervisor.

    :ivar proxy: the proxy of this process; it is set before the connection is made.
    """

    proxy: WorkerProxy

    def __init__(self, reactor: Any) -> None:
        super().__init__()
        self._reactor = reactor
        self._is_ending = False

    def connectionMade(self) -> None:
        """Report to the supervisor."""
        super().connectionMade()
        self.proxy.checks.on_result = self._has_checked
        self.proxy.stapling.on_answered = self._has_asked
        self.proxy.stapling.on_failed = lambda fingerprint, why: self._has_asked(fingerprint, b"", why)
        self.callRemote(commands.Ready).addErrback(
            lambda _: None
        )  # the supervisor has ended: see connectionLost

    def connectionLost(self, reason: failure.Failure | None = None) -> None:
        """End: without a supervisor nobody could reload, observe or stop this process."""
        super().connectionLost(reason)
        if not self._is_ending:
            log.warn("the supervisor has ended: no new connections")
            self.end()

    def _has_checked(self, group: str, name: str, address: str, passed: bool, detail: str) -> None:
        """Let the other workers know the result of a check: they need not ask the target, too."""
        if self.is_connected:
            self.callRemote(
                commands.TargetChecked,
                group=group,
                name=name,
                address=address,
                passed=passed,
                detail=detail[:_LONGEST_DETAIL],
            )

    def _has_asked(self, fingerprint: str, response: bytes, why: str = "") -> None:
        """Let the other workers know what an OCSP responder has answered: they need not ask it, too."""
        if self.is_connected and len(response) <= _LONGEST_RESPONSE:
            self.callRemote(
                commands.OcspAsked, fingerprint=fingerprint, response=response, why=why[:_LONGEST_DETAIL]
            )

    def resign(self) -> None:
        """End without having been told to; the supervisor starts another worker at once."""
        if self.is_connected and not self._is_ending:
            self.callRemote(commands.Resign).addErrback(lambda _: None)  # it has ended, too
        self.end()

    def end(self) -> None:
        """Let live connections end, say farewell, and exit."""
        if not self._is_ending:
            self._is_ending = True
            Deferred.fromCoroutine(self._end()).addErrback(
                lambda failed: log.failure("the worker could not end in order", failed)
            ).addBoth(lambda _: self._exit())

    async def _end(self) -> None:
        await self.proxy.stopService()
        if self.is_connected:
            with as_file(await answer(self.proxy, self._reactor, "snapshot", {})) as snapshot:
                await self.tell(commands.Farewell, snapshot=snapshot)

    def _exit(self) -> None:
        with contextlib.suppress(ReactorNotRunning):
            self._reactor.stop()

    @commands.Take.responder
    def take(self, address: str, port: int, slot: int, opened: int, change: bool) -> dict[str, Any]:
        """See :class:`~smartproxy.workers.commands.Take`, and so on."""
        listening = socket.socket(fileno=opened)
        listening.setblocking(False)
        os.set_inheritable(opened, False)
        self.proxy.give(ListeningSocket((address, port), slot), listening, of_change=change)
        return {}

    @commands.Begin.responder
    def begin(self) -> dict[str, Any]:
        try:
            self.proxy.startService()
        except Exception as why:
            raise WorkerFailed(shortened(str(why))) from why
        return {}

    @commands.Listen.responder
    def listen(self) -> dict[str, Any]:
        self.proxy.listen_on_given()
        return {}

    @commands.Release.responder
    def release(self, slot: int) -> Deferred[dict[str, Any]]:
        return self.proxy.release(slot).addCallback(_nothing)

    @commands.Prepare.responder
    def prepare(self, settings: int) -> Deferred[dict[str, Any]]:
        preparing = Deferred.fromCoroutine(self.proxy.prepare(partial(taken_settings, settings)))
        return preparing.addCallbacks(_nothing, _failed)

    @commands.Commit.responder
    def commit(self) -> Deferred[dict[str, Any]]:
        return self.proxy.commit().addCallback(_nothing)

    @commands.Abort.responder
    def abort(self) -> dict[str, Any]:
        self.proxy.abort()
        return {}

    @commands.Renew.responder
    def renew(self, states: int) -> Deferred[dict[str, Any]]:
        renewing = Deferred.fromCoroutine(self.proxy.renew_certificates(*taken(states)))
        return renewing.addCallbacks(_nothing, _failed)

    @commands.Drain.responder
    def drain(self) -> dict[str, Any]:
        self.proxy.drain()
        return {}

    @commands.Stop.responder
    def stop(self) -> dict[str, Any]:
        self.end()
        return {}

    @commands.Reopen.responder
    def reopen(self) -> dict[str, Any]:
        self.proxy.reopen_logs()
        return {}

    @commands.Ask.responder
    def ask(self, number: int, question: str, arguments: int) -> Deferred[dict[str, Any]]:
        answering = Deferred.fromCoroutine(self._answer(number, question, taken(arguments)))
        return answering.addCallback(_nothing)

    async def _answer(self, number: int, question: str, arguments: dict[str, object]) -> None:
        with as_file(await answer(self.proxy, self._reactor, question, arguments)) as descriptor:
            await self.tell(commands.GiveAnswer, number=number, answer=descriptor)

    @commands.TargetChecked.responder
    def checked(self, group: str, name: str, address: str, passed: bool, detail: str) -> dict[str, Any]:
        self.proxy.checks.told(group, name, address, detail, passed=passed)
        return {}

    @commands.OcspAsked.responder
    def ocsp_asked(self, fingerprint: str, response: bytes, why: str) -> dict[str, Any]:
        if response:
            self.proxy.stapling.told(fingerprint, response)
        else:
            self.proxy.stapling.told_failed(fingerprint, why)
        return {}

    @commands.Ping.responder
    def ping(self) -> dict[str, Any]:
        return {"active": self.proxy.registry.active}


def _nothing(_: object) -> dict[str, Any]:
    return {}


def _failed(why: failure.Failure) -> NoReturn:
    raise WorkerFailed(shortened(why.getErrorMessage())) from why.value
