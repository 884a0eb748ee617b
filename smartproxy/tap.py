"""What ``twistd smartproxy`` does: options in, a service out. Strings stop here."""

from __future__ import annotations

import contextlib
import gc
import signal
import sys
from typing import TYPE_CHECKING, Any, ClassVar

from twisted.internet.error import CannotListenError, ReactorNotRunning
from twisted.logger import Logger
from twisted.python import usage

from smartproxy.errors import ConfigurationError
from smartproxy.flow.clock import adopt
from smartproxy.proxy.service import SmartProxy
from smartproxy.settings import Settings

if TYPE_CHECKING:
    from twisted.application.service import IService

log = Logger()

#: Exit codes of the contract.
INVALID, UNBOUND = 2, 3
#: New objects before the collector looks at the young ones, and how many such looks before it looks further.
_COLLECT = (50_000, 20, 50)


class Options(usage.Options):
    """The options behind ``twistd smartproxy``."""

    synopsis = "[options]"
    longdesc = "A TCP/TLS/HTTP proxy. It runs in the foreground with twistd's own -n."
    optParameters: ClassVar = [["config", "c", None, "The configuration: a .yaml, .json or .toml file."]]
    optFlags: ClassVar = [["check", None, "Validate the configuration and exit."]]

    def parseOptions(self, options: Any = None) -> None:
        """As ever, but wrong usage has the exit code that it has in every other command of ours."""
        try:
            super().parseOptions(options)
        except usage.UsageError as wrong:
            _leave(INVALID, f"twistd smartproxy: {wrong} (--help tells more)")

    def postOptions(self) -> None:
        """Read the configuration: what is wrong with it is said before anything starts."""
        if self["config"] is None:
            raise usage.UsageError("--config FILE is required")
        try:
            self["settings"] = Settings.load(self["config"])
        except ConfigurationError as invalid:
            _leave(INVALID, *invalid.problems)
        if self["check"]:
            print(self["settings"].summary())  # noqa: T201 - it is what was asked for
            sys.exit(0)


class TwistdProxy(SmartProxy):
    """The proxy as twistd runs it: a port that cannot be had ends the process with a code of its own.

    SIGUSR1 has it open its access log again, and twistd its own, which is what it means to twistd.
    """

    _before: Any = None

    def startService(self) -> None:
        """Begin; and let Python's collector of circles look less often.

        A connection leaves none behind when it ends: what it was is freed at once. By default the collector would
        still look through all that lives after every 700 new objects, which is a tenth of the work of a proxy.
        """
        super().startService()
        gc.collect()
        gc.freeze()
        gc.set_threshold(*_COLLECT)
        self._before = signal.signal(signal.SIGUSR1, self._rotated)

    def _rotated(self, number: int, frame: object) -> None:
        """A signal may come in the middle of anything: the reactor does what it asks for."""
        self._reactor.callFromThread(self.reopen_logs)
        if callable(self._before):
            self._before(number, frame)

    def privilegedStartService(self) -> None:
        """Open the access log and bind every port, or exit."""
        try:
            super().privilegedStartService()
        except ConfigurationError as invalid:
            _leave(INVALID, *invalid.problems)
        except CannotListenError as unbound:
            _leave(
                UNBOUND, f"cannot listen on {unbound.interface or '*'}:{unbound.port}: {unbound.socketError}"
            )


def makeService(options: Any) -> IService:
    """The service that twistd runs."""
    from twisted.internet import reactor  # noqa: PLC0415 - importing it installs a reactor

    told: Any = reactor
    adopt(told)
    proxy = TwistdProxy(options["settings"])
    told.callWhenRunning(_heed_signals, told, proxy)
    return proxy


def _heed_signals(reactor: Any, proxy: SmartProxy) -> None:
    """SIGTERM drains and ends in exit code 0; SIGHUP reads the configuration again.

    Under Twisted's own handler of SIGTERM twistd drains, too, but then ends itself with the same signal; SIGHUP
    it leaves to the system, which would end the process without a drain.
    """
    signal.signal(signal.SIGTERM, lambda _number, _frame: reactor.callFromThread(_stop, reactor))
    signal.signal(signal.SIGHUP, lambda _number, _frame: reactor.callFromThread(_reload, proxy))


def _reload(proxy: SmartProxy) -> None:
    log.info("SIGHUP: reloading the configuration")
    proxy.reload().addCallbacks(
        lambda _: log.info("configuration reloaded"),
        lambda why: log.error(
            "reload failed, the current configuration stays in force: {why}", why=why.getErrorMessage()
        ),
    )


def _stop(reactor: Any) -> None:
    with contextlib.suppress(ReactorNotRunning):  # told twice
        reactor.stop()


def _leave(code: int, *lines: str) -> None:
    for line in lines:
        print(line, file=sys.stderr)  # noqa: T201 - it is what was asked for
    sys.exit(code)
