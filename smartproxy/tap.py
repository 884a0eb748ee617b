"""The twistd plugin: converts the command line options to a service, and connects signals to it.

Everything below works with parsed settings; option strings are not passed on.
"""

from __future__ import annotations

import contextlib
import gc
import os
import re
import signal
import sys
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias, TypeVar, cast

from twisted.internet.error import CannotListenError, ReactorNotRunning
from twisted.logger import Logger
from twisted.python import usage

from smartproxy._version import VERSION_LINE
from smartproxy.errors import ConfigurationError
from smartproxy.flow.clock import use_monotonic_time
from smartproxy.net import listening
from smartproxy.net.activated import ActivatedSockets, started_with, stored_name
from smartproxy.net.descriptors import raise_limit
from smartproxy.proxy.notify import Notifier
from smartproxy.proxy.service import SmartProxy
from smartproxy.proxy.start_report import FAILED, INVALID, UNBOUND, StartReport
from smartproxy.settings import Settings
from smartproxy.workers.supervisor import Supervisor

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import FrameType

    from twisted.application.service import IService, Service
    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IReactorCore, IReactorFromThreads, IReactorTime
    from twisted.internet.task import LoopingCall
    from twisted.python.failure import Failure

    from smartproxy.model.plan import ProxyPlan

    class _TwistdReactor(IReactorCore, IReactorFromThreads, IReactorTime):
        """The parts of the installed reactor that are used here."""

    #: What ``signal.signal`` returns.
    _SignalHandler: TypeAlias = Callable[[int, FrameType | None], object] | int | None

T = TypeVar("T")

log = Logger()

#: Thresholds of the cyclic garbage collector: allocations before it runs on the youngest generation, and its runs before
#: it also runs on each older one. Python's defaults are 700, 10 and 10.
_GC_THRESHOLDS = (50_000, 20, 50)
#: Options of twistd itself that are written behind the name of the plugin by mistake.
_TWISTD_OPTIONS = frozenset(
    [
        "n",
        "l",
        "d",
        "u",
        "g",
        "o",
        "b",
        "e",
        "r",
        "nodaemon",
        "logfile",
        "pidfile",
        "rundir",
        "uid",
        "gid",
        "umask",
        "chroot",
        "reactor",
        "syslog",
        "prefix",
    ]
)


class Options(usage.Options):
    """The options of ``twistd smartproxy``."""

    synopsis = "[options]"
    longdesc = "A TCP and TLS proxy. With -n, an option of twistd itself, it runs in the foreground."
    optParameters: ClassVar = [
        ["config", "c", None, "The configuration: a .yaml, .json or .toml file, or - for standard input."],
        ["format", None, None, "Format of the configuration: yaml, json or toml; by default its suffix."],
    ]
    optFlags: ClassVar = [["check", None, "Validate the configuration and exit."]]

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """Parse the options; wrong usage exits with 2, as in all commands, where twistd would exit with 1."""
        try:
            super().parseOptions(options)
        except usage.UsageError as wrong:
            problem = f"twistd smartproxy: {wrong}{self._hint(str(wrong))} (--help tells more)"
            StartReport().fail(INVALID, problem)

    def opt_version(self) -> None:
        """Print the version of smartproxy, and whether it is compiled, and exit."""
        print(VERSION_LINE)  # noqa: T201 - the output of --version
        sys.exit(0)

    def parseArgs(self, *args: str) -> None:
        """There are no arguments: everything is an option."""
        if args:
            command = get_close_matches(args[0], ("check", "explain", "schema"), n=1)
            meant = f"smartproxy {command[0]}" if command else f"--config {args[0]}"
            raise usage.UsageError(f"unexpected {args[0]}; did you mean {meant}?")

    def _hint(self, problem: str) -> str:
        """For the message about an unknown option: the one that was meant."""
        unknown = re.fullmatch(r"option (--?)(\S+) not recognized", problem)
        if unknown is None:
            return ""
        if unknown[2] in _TWISTD_OPTIONS:
            return (
                f"; options of twistd stand before the name: twistd {unknown[1]}{unknown[2]} smartproxy ..."
            )
        known = [name.rstrip("=") for name in self.longOpt]
        found = get_close_matches(unknown[2], known, n=1)
        return f"; did you mean --{found[0]}?" if found else ""

    def postOptions(self) -> None:
        """Load the configuration, so that its problems are printed before anything starts."""
        if self["config"] is None:
            raise usage.UsageError("--config FILE is required")
        try:
            self["settings"] = Settings.load(self["config"], self["format"])
        except ConfigurationError as invalid:
            StartReport().fail(INVALID, *invalid.problems)
        if self["check"]:
            print(self["settings"].summary())  # noqa: T201 - the output of --check
            sys.exit(0)


if TYPE_CHECKING:

    class _Served(Service):
        """What :class:`SmartProxy` and :class:`Supervisor` have in common."""

        _reactor: Any
        plan: ProxyPlan

        @property
        def active(self) -> int: ...

        def __init__(self, settings: Settings, reactor: Any) -> None: ...

        def listening_on(self) -> str: ...

        def use_sockets(self, activated: ActivatedSockets) -> None: ...

        def listening_descriptors(self) -> dict[str, list[int]]: ...

        def reload(self) -> Deferred[None]: ...

        def replace_routes(self, routes: list[dict[str, object]]) -> Deferred[None]: ...

        def drain(self) -> None: ...

        def reopen_logs(self) -> None: ...

        def stopService(self) -> Deferred[None]: ...

else:
    _Served = object


class UnderTwistd(_Served):
    """A proxy as twistd runs it: a start that fails exits with its code, and is reported.

    SIGUSR1 reopens the access log, and still rotates twistd's own log file. Where systemd runs the process, it is told what
    the proxy does.

    :param report: reports how the start ended.
    :param notifier: reports to systemd.
    """

    _sigusr1_before: _SignalHandler = None
    _watchdog: LoopingCall | None = None

    def __init__(
        self,
        settings: Settings,
        reactor: Any = None,
        report: StartReport | None = None,
        notifier: Notifier | None = None,
    ) -> None:
        super().__init__(settings, reactor)
        self._report = report or StartReport()
        self._notifier = notifier or Notifier()
        #: ``None`` before the start: at a second one, after a stop, they are not there any more.
        self._activated: ActivatedSockets | None = None

    def startService(self) -> None:
        """Start the proxy, and make Python's cyclic garbage collector run less often.

        A closed connection leaves no reference cycles, so its objects are freed at once without the collector. With the
        default thresholds the collector would still scan the live objects after every 700 allocations, which takes a tenth of
        the CPU time of a busy proxy.
        """
        if self.running:
            return
        super().startService()
        gc.collect()
        gc.freeze()  # what exists now lives as long as the process: no scan needs to visit it
        gc.set_threshold(*_GC_THRESHOLDS)
        self._when_serving()
        if self._sigusr1_before is None:  # else it is started again, and would become its own predecessor
            self._sigusr1_before = signal.signal(signal.SIGUSR1, self._on_sigusr1)

    def _when_serving(self) -> None:
        """Call :meth:`_ready` when connections are carried."""
        # When the event loop runs, it handles SIGHUP, which systemd may send as soon as the proxy is ready.
        self._reactor.callWhenRunning(self._ready)

    def _ready(self) -> None:
        if not self.running:
            return
        self._report.succeed()
        if self._watchdog is None:
            self._watchdog = self._notifier.watchdog(self._reactor, self._others_alive())
        self._notifier.ready(self._in_force())
        self._store_sockets()

    def _store_sockets(self) -> None:
        """Have systemd keep the listening sockets for the next start."""
        found = self.listening_descriptors()
        self._notifier.store({stored_name(name): descriptors for name, descriptors in found.items()})

    def _in_force(self) -> str:
        return f"listening on {self.listening_on()}; {len(self.plan.routes)} routes"

    def reload(self) -> Deferred[None]:
        """Reload, and let systemd know."""
        self._notifier.reloading()
        return super().reload().addCallbacks(self._reloaded, self._not_reloaded)

    def _reloaded(self, _: None) -> None:
        self._notifier.reloaded(self._in_force())
        self._store_sockets()

    def _not_reloaded(self, why: Failure) -> Failure:
        self._notifier.reloaded(f"reload refused: {_reason(why)}; {self._in_force()}")
        return why

    def replace_routes(self, routes: list[dict[str, object]]) -> Deferred[None]:
        """Replace the routes, and let systemd know what it listens on now."""
        return super().replace_routes(routes).addCallback(self._routes_replaced)

    def _routes_replaced(self, _: None) -> None:
        self._notifier.say(self._in_force())
        self._store_sockets()

    def drain(self) -> None:
        """Drain, and let systemd know."""
        super().drain()
        self._notifier.say("draining: no new connections")
        self._store_sockets()  # none: systemd's copies would accept clients that are never served

    def stopService(self) -> Deferred[None]:
        """Stop, and let systemd know."""
        self._notifier.stopping(f"stopping: {self.active} connections")
        return super().stopService().addBoth(self._stopped)

    def _others_alive(self) -> Callable[[], bool] | None:
        """Tells whether the processes beside this one run, if there are any."""
        return None

    def _stopped(self, result: T) -> T:
        if self._watchdog is not None and not self.running:  # else it was started again
            self._watchdog.stop()
            self._watchdog = None
        return result

    def _on_sigusr1(self, number: int, frame: FrameType | None) -> None:
        # A signal handler can run between any two bytecodes, so the work is left to the next event loop iteration.
        self._reactor.callFromThread(self.reopen_logs)
        if callable(self._sigusr1_before):
            self._sigusr1_before(number, frame)

    def privilegedStartService(self) -> None:
        """Open the access log and bind every port that systemd has not bound; exit if that fails."""
        is_first = self._activated is None
        if self._activated is None:
            self._activated = ActivatedSockets.of(started_with())
            self.use_sockets(self._activated)
        try:
            super().privilegedStartService()
        except ConfigurationError as invalid:
            self._report.fail(INVALID, *invalid.problems)
        except CannotListenError as unbound:
            self._report.fail(UNBOUND, listening.reason(unbound))
        if is_first:
            self._activated.end_unused()
            self._notifier.follow_up(self._activated.stored)


class TwistdProxy(UnderTwistd, SmartProxy):
    """A proxy of one process, under twistd."""


class TwistdSupervisor(UnderTwistd, Supervisor):
    """A proxy of several processes, under twistd."""

    def _others_alive(self) -> Callable[[], bool]:
        return lambda: self.draining or self.all_answer

    def _when_serving(self) -> None:
        self.begun.addCallbacks(lambda _: self._ready(), self._not_begun)

    def _not_begun(self, why: Failure) -> None:
        """No worker serves: the start has failed, though the event loop runs already."""
        try:
            self._report.fail(FAILED, f"twistd smartproxy: cannot start: {why.getErrorMessage()}")
        except SystemExit as failed:
            os._exit(int(str(failed.code)))  # the nursery and the workers end when this process does


def makeService(options: Options) -> IService:
    """Create the service that twistd runs."""
    from twisted.internet import reactor  # noqa: PLC0415 - importing it installs a reactor

    installed = cast("_TwistdReactor", reactor)
    use_monotonic_time(installed)
    twistd = cast("Mapping[str, Any]", options.parent)
    report = StartReport(twistd["pidfile"], daemon=not twistd["nodaemon"])
    report.arm()
    raise_limit()  # before anything sizes its reserve by it
    try:
        settings: Settings = options["settings"]
        kind = TwistdProxy if settings.processes == 1 else TwistdSupervisor
        proxy = kind(settings, installed, report, Notifier.of(os.environ))
    except ConfigurationError as invalid:  # a file has changed since the settings were read
        report.fail(INVALID, *invalid.problems)
    # Twisted installs its own handlers when the reactor starts; these replace them after that.
    installed.callWhenRunning(_install_signal_handlers, installed, proxy)
    return proxy


def _install_signal_handlers(reactor: _TwistdReactor, proxy: UnderTwistd) -> None:
    """SIGTERM drains and exits with 0; SIGHUP reloads the configuration; SIGUSR2 replaces worker processes.

    With Twisted's own SIGTERM handler twistd drains, too, but then kills itself with the same signal. It does not handle
    SIGHUP, whose default action would end the process without draining.
    """
    signal.signal(signal.SIGTERM, lambda _number, _frame: reactor.callFromThread(_stop, reactor))
    signal.signal(signal.SIGHUP, lambda _number, _frame: reactor.callFromThread(_reload, proxy))
    signal.signal(signal.SIGUSR2, lambda _number, _frame: reactor.callFromThread(_replace, proxy))


def _replace(proxy: UnderTwistd) -> None:
    if not isinstance(proxy, Supervisor):
        log.warn("SIGUSR2 has no effect: there are no workers (workers: 1)")
        return
    log.info("SIGUSR2: replacing the workers")
    proxy.replace_workers().addCallbacks(
        lambda _: log.info("workers replaced"),
        lambda why: log.error("workers not replaced: {why}", why=why.getErrorMessage()),
    )


def _reload(proxy: UnderTwistd) -> None:
    log.info("SIGHUP: reloading the configuration")
    proxy.reload().addCallbacks(
        lambda _: log.info("configuration reloaded"),
        lambda why: log.error(
            "reload failed, the current configuration stays in force: {why}", why=_reason(why)
        ),
    )


def _reason(failed: Failure) -> str:
    unbound = failed.value
    return listening.reason(unbound) if isinstance(unbound, CannotListenError) else failed.getErrorMessage()


def _stop(reactor: _TwistdReactor) -> None:
    with contextlib.suppress(ReactorNotRunning):  # a second SIGTERM
        reactor.stop()
