"""Answers of ``dns-01``: a command or a callable changes the DNS (RFC 8555, 8.4).

::

    solver = DnsSolver(plan.dns, reactor)

A command is run as ``PATH present NAME VALUE`` and ``PATH cleanup NAME VALUE``, where ``NAME`` is ``_acme-challenge.a.example.``
with its final dot. It ends when the record can be read. What it prints is logged, with its last line in the error if it fails.
It has the environment and the user of this process, and nothing on its standard input. A callable is called with the same three.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger

from smartproxy.acme.text import one_line
from smartproxy.errors import AcmeError
from smartproxy.flow.callables import answer_of
from smartproxy.model.ending import in_words

if TYPE_CHECKING:
    from typing import NoReturn

    from twisted.internet.interfaces import IProcessTransport
    from twisted.python.failure import Failure

    from smartproxy.acme.interfaces import Challenge
    from smartproxy.model.plan import DnsChange

#: Seconds for one change. A record of a hosted zone is served everywhere within a minute; certbot's hooks wait as long.
TIMEOUT: Final = 120.0
#: Seconds from SIGTERM to SIGKILL, and from a command's end to that of what it has started and that holds its output.
GRACE: Final = 5.0
#: Bytes of output that are kept, and lines of it that are logged.
MAX_OUTPUT: Final = 16 * 1024
MAX_LINES: Final = 50
#: What execve(2) fails with for a script without an interpreter. The program itself was found before.
_NO_INTERPRETER: Final = frozenset({errno.ENOEXEC, errno.ENOENT})

log = Logger()


class DnsSolver:
    """Answers ``dns-01``. See :class:`~smartproxy.acme.interfaces.Solver`.

    :param change: the path of a command, or a callable.
    :param reactor: runs the command, and has the clock.
    """

    def __init__(self, change: str | DnsChange, reactor: Any) -> None:
        self._change = change
        self._reactor = reactor

    async def present(self, challenge: Challenge) -> None:
        """Publish the record.

        :raises AcmeError: if the command or the callable fails, or takes too long.
        """
        await self._apply("present", challenge)

    async def cleanup(self, challenge: Challenge) -> None:
        """Remove the record.

        :raises AcmeError: if the command or the callable fails, or takes too long.
        """
        await self._apply("cleanup", challenge)

    async def _apply(self, action: str, challenge: Challenge) -> None:
        name, value = f"_acme-challenge.{challenge.identifier}.", challenge.dns_value
        if isinstance(self._change, str):
            await _Command(self._reactor, self._change, action, name, value).run()
        else:
            await self._call(self._change, action, name, value)

    async def _call(self, change: DnsChange, action: str, name: str, value: str) -> None:
        called = f"acme.dns.handler for {action} of {name}"

        def timed_out(_: object, timeout: float) -> NoReturn:
            raise AcmeError(f"{called} has not answered within {timeout:g} s")

        try:
            answer = answer_of(called, change(action, name, value))
            if isinstance(answer, Deferred):
                await answer.addTimeout(TIMEOUT, self._reactor, timed_out)
        except (CancelledError, AcmeError):
            raise
        except Exception as failed:
            raise AcmeError(f"{called} failed: {in_words(failed)}") from failed


class _Command(ProcessProtocol):
    """Runs a command once.

    :param path: of the program.
    """

    def __init__(self, reactor: Any, path: str, action: str, name: str, value: str) -> None:
        self._reactor = reactor
        self._path = path
        self._arguments = (action, name, value)
        self._what = f"{one_line(path)} {action} {name}"
        self._output = bytearray()
        self._ended: Deferred[None] = Deferred(lambda _: self._stop())
        self._later: Any = None

    async def run(self) -> None:
        """Run it to its end.

        :raises AcmeError: if it cannot be started, fails, or takes too long.
        """
        if not os.access(self._path, os.X_OK):
            raise AcmeError(
                f"{self._what}: there is no such program, or it may not be run; check acme.dns.command"
            )
        arguments = [os.fsencode(each) for each in (self._path, *self._arguments)]
        try:
            self._reactor.spawnProcess(self, arguments[0], arguments, env=None)
        except OSError as failed:
            raise AcmeError(f"{self._what} could not be started: {_why_not_started(failed)}") from failed
        await self._ended.addTimeout(TIMEOUT, self._reactor, self._timed_out)

    def _timed_out(self, _: object, timeout: float) -> NoReturn:
        raise AcmeError(f"{self._what} has not ended within {timeout:g} s")

    # -- what Twisted calls ------------------------------------------------------------------------------

    transport: IProcessTransport

    def connectionMade(self) -> None:
        """It runs."""
        self.transport.closeStdin()

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """It has printed something."""
        self._output += data[: MAX_OUTPUT - len(self._output)]

    def processExited(self, reason: Failure) -> None:
        """It has ended. Something else may still hold its output: this is not waited for long."""
        self._cancel_later()
        self._later = self._reactor.callLater(GRACE, self.transport.loseConnection)

    def processEnded(self, reason: Failure) -> None:
        """It has ended, and all that it printed was received."""
        self._cancel_later()
        lines = [line for line in map(one_line, self._output.decode("utf-8", "replace").splitlines()) if line]
        for line in lines[-MAX_LINES:]:
            log.info("{command}: {line}", command=self._what, line=line)
        if self._ended.called:
            return
        if reason.check(ProcessDone):
            self._ended.callback(None)
        else:
            said = f": {lines[-1]}" if lines else ""
            self._ended.errback(AcmeError(f"{self._what} {_way_of_ending(reason)}{said}"))

    def _stop(self) -> None:
        """It takes too long, or is not needed any more."""
        self._signal("TERM")
        self._cancel_later()
        self._later = self._reactor.callLater(GRACE, self._kill)

    def _kill(self) -> None:
        self._later = None
        self._signal("KILL")
        self.transport.loseConnection()  # what it has started may hold its output

    def _signal(self, name: str) -> None:
        with suppress(ProcessExitedAlready):
            self.transport.signalProcess(name)

    def _cancel_later(self) -> None:
        later, self._later = self._later, None
        if later is not None and later.active():
            later.cancel()


def _why_not_started(failed: OSError) -> str:
    why = one_line(failed.strerror or str(failed))
    if failed.errno in _NO_INTERPRETER:
        why += '; its first line must name an interpreter that exists, as "#!/bin/sh" does'
    return why


def _way_of_ending(reason: Failure) -> str:
    ended = reason.value
    if isinstance(ended, ProcessTerminated) and ended.signal is not None:
        return f"was ended by signal {ended.signal}"
    return f"exited with {getattr(ended, 'exitCode', None)}"
