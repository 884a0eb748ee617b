"""What ``twistd smartproxy`` adds to the service: options, and what systemd is told."""

from __future__ import annotations

import gc
import json
import signal
from contextlib import redirect_stdout
from io import StringIO
from typing import TYPE_CHECKING, Any

from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from smartproxy import Settings, tap
from smartproxy._version import BUILD, __version__
from smartproxy.errors import ConfigurationError
from smartproxy.proxy.notify import Notifier
from smartproxy.tap import Options, TwistdProxy
from tests.sessions.memory_proxy import HeldNetwork, route
from tests.settings.formats import folder

if TYPE_CHECKING:
    from collections.abc import Sequence


class OptionsTests(SynchronousTestCase):
    def test_version_is_that_of_smartproxy(self) -> None:
        printed = StringIO()
        with redirect_stdout(printed):
            wrong = self.assertRaises(SystemExit, Options().parseOptions, ["--version"])
        self.assertEqual((wrong.code, printed.getvalue()), (0, f"smartproxy {__version__} ({BUILD})\n"))


class Recorded(Notifier):
    """Keeps what it would send."""

    def __init__(self) -> None:
        super().__init__("@nowhere", 1.0)
        self.sent: list[str] = []

    def _send(self, *lines: str, wait: float = 0.0, descriptors: Sequence[int] = ()) -> None:
        self.sent.append(" ".join(line for line in lines if not line.startswith(("MAINPID", "MONOTONIC"))))


class NotifiedTests(SynchronousTestCase):
    def setUp(self) -> None:
        before = signal.getsignal(signal.SIGUSR1)
        self.addCleanup(signal.signal, signal.SIGUSR1, before)
        self.addCleanup(gc.unfreeze)
        self.addCleanup(gc.set_threshold, *gc.get_threshold())
        self.file = folder(self) / "smartproxy.json"
        self.write([route()])
        self.network: Any = HeldNetwork()
        self.network.callWhenRunning = lambda call: call()
        self.notifier = Recorded()
        self.patch(
            self.notifier, "watchdog", lambda _reactor, _: Notifier.watchdog(self.notifier, self.clock)
        )
        self.clock = Clock()
        self.proxy = TwistdProxy(Settings.load(self.file), self.network, notifier=self.notifier)
        self.proxy.startService()

    def write(self, routes: list[Any]) -> None:
        self.file.write_text(json.dumps({"routes": routes, "acceleration": "off"}))

    def stop(self) -> None:
        stopped = self.proxy.stopService()
        self.network.settle()
        self.successResultOf(stopped)

    def descriptors(self) -> dict[str, list[int]]:
        return {f":{number}": [number] for _, number in self.proxy.addresses()}

    def sent(self) -> list[str]:
        sent, self.notifier.sent = self.notifier.sent, []
        return sent

    def test_reload_is_announced_whatever_its_result_is(self) -> None:
        listening = "listening on [::]:8080; 1 routes"
        self.assertEqual(self.sent(), ["WATCHDOG=1", f"READY=1 STATUS={listening}"])
        self.successResultOf(self.proxy.reload())
        self.write([])
        self.failureResultOf(self.proxy.reload(), ConfigurationError)
        reloading = "RELOADING=1 STATUS=reloading the configuration"
        told = self.sent()
        self.assertEqual(told[:3], [reloading, f"READY=1 STATUS={listening}", reloading])
        self.assertTrue(told[3].startswith("READY=1 STATUS=reload refused: "), told[3])
        self.assertTrue(told[3].endswith(f": routes: has no route that is enabled; {listening}"), told[3])
        self.stop()

    def test_sockets_of_replaced_routes_are_stored(self) -> None:
        """systemd would keep a port open that no route has any more, and its next listener could not bind it."""
        self.patch(self.proxy, "listening_descriptors", self.descriptors)
        self.proxy._store_sockets()
        self.sent()
        replacing = self.proxy.replace_routes([route("other", port=9090)])
        self.network.settle()
        self.successResultOf(replacing)
        self.assertEqual(
            self.sent(),
            [
                "STATUS=listening on [::]:9090; 1 routes",
                "FDSTORE=1 FDNAME=_9090",
                "FDSTOREREMOVE=1 FDNAME=_8080",
            ],
        )
        self.failureResultOf(self.proxy.replace_routes([]), ConfigurationError)
        self.assertEqual(self.sent(), [])
        self.stop()

    def test_drain_removes_the_stored_sockets_and_a_stop_does_not(self) -> None:
        """The copies of systemd would accept clients of a drained proxy, which are never served."""
        for is_drained, removed in ((False, []), (True, ["FDSTOREREMOVE=1 FDNAME=_8080"])):
            self.proxy.startService()
            self.patch(self.proxy, "listening_descriptors", self.descriptors)
            self.proxy._store_sockets()
            self.sent()
            if is_drained:
                self.proxy.drain()
            self.stop()
            self.assertEqual([line for line in self.sent() if line.startswith("FD")], removed)

    def test_sigusr2_without_workers_has_no_effect(self) -> None:
        """Its default action would end the process, and every connection with it."""
        numbers = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR2)
        for number in numbers:
            self.addCleanup(signal.signal, number, signal.getsignal(number))
        self.network.callFromThread = lambda call, *arguments: call(*arguments)
        tap._install_signal_handlers(self.network, self.proxy)
        with capturedLogs() as logged:
            signal.raise_signal(signal.SIGUSR2)
        self.assertEqual(
            [event["log_format"] for event in logged],
            ["SIGUSR2 has no effect: there are no workers (workers: 1)"],
        )
        self.stop()

    def test_signs_of_life_last_until_the_stop_is_complete(self) -> None:
        self.sent()
        self.clock.advance(1)
        self.proxy.drain()
        self.stop()
        told = self.sent()
        self.assertEqual(told[0], "WATCHDOG=1")
        self.assertEqual(told[1], "STATUS=draining: no new connections")
        self.assertEqual(told[2], "STOPPING=1 STATUS=stopping: 0 connections")
        self.clock.advance(10)
        self.assertEqual(self.sent(), [])

    def test_proxy_that_is_started_again_is_ready_again(self) -> None:
        self.stop()
        self.sent()
        self.proxy.startService()
        self.assertEqual(self.sent(), ["WATCHDOG=1", "READY=1 STATUS=listening on [::]:8080; 1 routes"])
        self.stop()
