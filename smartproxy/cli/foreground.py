"""Runs a proxy in the foreground of a terminal, with a line for each connection on standard output.

The first Ctrl-C (or SIGTERM) stops accepting and waits for open connections, as every stop does; the second ends them.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import click
from twisted.internet.error import CannotListenError
from twisted.logger import ILogObserver, LogLevel, eventAsText, globalLogBeginner
from zope.interface import implementer

from smartproxy._version import __version__
from smartproxy.flow.clock import use_monotonic_time
from smartproxy.net import listening
from smartproxy.observe import refusal_log
from smartproxy.observe.log_file import STDOUT, LogFile
from smartproxy.proxy.service import SmartProxy

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime
    from twisted.logger import LogEvent

    from smartproxy.model.record import ClosedConnection
    from smartproxy.settings import Settings

#: The exit code where a port cannot be bound.
UNBOUND = 3


def run(settings: Settings, target: str) -> int:
    """Run until Ctrl-C or SIGTERM.

    :param target: as the user has written it.
    :return: the exit code.
    """
    from twisted.internet import reactor as installed  # noqa: PLC0415 - importing it installs a reactor

    reactor: Any = installed
    use_monotonic_time(reactor)
    globalLogBeginner.beginLoggingTo([ProblemPrinter()], discardBuffer=True, redirectStandardIO=False)
    proxy = SmartProxy(settings, reactor)
    try:
        proxy.startService()
    except CannotListenError as unbound:
        click.echo(f"smartproxy forward: {listening.reason(unbound)}", err=True)
        return UNBOUND
    lines = ConnectionLines(target, reactor)
    proxy.registry.on_closed.append(lines.write)
    stop = ForegroundStop(proxy, reactor)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: reactor.callFromThread(stop.requested))
    click.echo(start_line(settings, proxy.listening_on(), target), err=True)
    reactor.run(installSignalHandlers=False)
    lines.close()
    return 0


def start_line(settings: Settings, listening_on: str, target: str) -> str:
    """``smartproxy 0.1.0 forwards [::]:8080 to 127.0.0.1:9000; Ctrl-C stops``."""
    admin = "; admin API on http://127.0.0.1:8404" if settings.admin else ""
    return f"smartproxy {__version__} forwards {listening_on} to {target}{admin}; Ctrl-C stops"


class ConnectionLines:
    """Prints a line for each closed connection. It never blocks: what standard output does not take is dropped.

    :param target: printed for a connection that was refused before a target was chosen.
    """

    def __init__(self, target: str, clock: IReactorTime) -> None:
        self._target = target
        self._file = LogFile(STDOUT, clock, lambda: None)
        self._file.open()
        self.close = self._file.close

    def write(self, closed: ClosedConnection) -> None:
        """Print the line of ``closed``."""
        self._file.add(as_line(closed, self._target))


def as_line(closed: ClosedConnection, target: str) -> str:
    """``192.0.2.1:4711 -> 127.0.0.1:9000: 42 bytes received, 1234 sent, 0.312 s, normal``."""
    record = closed.record
    return (
        f"{record.client} -> {record.target or target}: {record.bytes_received} bytes received, "
        f"{record.bytes_sent} sent, {closed.at - record.opened_at:.3f} s, {closed.outcome}"
    )


class ForegroundStop:
    """Stops the proxy, and then the reactor."""

    def __init__(self, proxy: SmartProxy, reactor: Any) -> None:
        self._proxy = proxy
        self._reactor = reactor
        self._begun = False

    def requested(self) -> None:
        """Begin to stop; when called again, do not wait for open connections."""
        if self._begun:
            self._proxy.end_connections("stopped without waiting")
            return
        self._begun = True
        active = self._proxy.registry.active
        stopped = self._proxy.stopService()
        if active:
            wait = f"up to {self._proxy.plan.graceful_shutdown:g} s for {active} connections"
            click.echo(f"waiting {wait}; Ctrl-C ends them", err=True)
        stopped.addBoth(lambda _: self._reactor.stop())


@implementer(ILogObserver)
class ProblemPrinter:
    """Prints warnings and errors, without those of refused connections: each has a line of its own."""

    def __call__(self, event: LogEvent) -> None:
        """Print ``event``, if it is one."""
        level = event.get("log_level", LogLevel.info)
        if level >= LogLevel.warn and event.get("log_namespace") != refusal_log.__name__:
            click.echo(eventAsText(event, includeTimestamp=False, includeSystem=False), err=True)
