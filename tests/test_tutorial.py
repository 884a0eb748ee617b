"""The programs in the tutorial and on the page about testing do what the text says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.model.outcome import CloseReason, RejectReason
from smartproxy.testing import MemoryNetwork
from smartproxy.wire import tls_alert
from tests.wire.test_client_hello import genuine

DOCS = Path(__file__).resolve().parent.parent / "docs"
TUTORIAL = DOCS / "tutorial.rst"
PROGRAM = re.compile(r"^\.\. code-block:: python\n\n((?:    .*\n|\n)+)", re.MULTILINE)
MOST_LINES = 60


def sources(page):
    found = PROGRAM.findall(page.read_text(encoding="utf-8"))
    return ["".join(line[4:] or line for line in source.splitlines(keepends=True)) for source in found]


class TutorialTests(SynchronousTestCase):
    def setUp(self):
        self.program, self.test = sources(TUTORIAL)
        self.defined = {"__name__": "front_door"}
        exec(compile(self.program, "tutorial.rst", "exec"), self.defined)  # noqa: S102 - our own documentation
        self.network = MemoryNetwork()

    def test_program_has_fewer_than_60_lines(self):
        written = [line for line in self.program.splitlines() if line.strip()]
        self.assertLess(len(written), MOST_LINES)

    def test_shown_test_passes(self):
        exec(compile(self.test, "tutorial.rst", "exec"), self.defined)  # noqa: S102 - our own documentation
        self.assertIn("test_front_door", self.defined)

    def test_program_runs_until_it_is_stopped(self):
        triggers = []
        self.network.addSystemEventTrigger = lambda *args: triggers.append(args)
        running = Deferred.fromCoroutine(self.defined["main"](self.network))
        self.assertIsNotNone(self.network.listening("127.0.0.1", 8080))
        self.assertNoResult(running)
        ((phase, event, stop),) = triggers
        self.assertEqual((phase, event), ("before", "shutdown"))
        self.network.result(stop())
        self.assertIsNone(self.network.listening("127.0.0.1", 8080))
        running.addErrback(lambda _: None)
        running.cancel()

    def test_tls_is_routed_by_sni_and_refused_with_alerts(self):
        red = self.network.backend("10.0.0.11", 80)
        door = self.defined["FrontDoor"](self.network)
        door.proxy.startService()
        self.addCleanup(self.network.stop, door.proxy)

        hellos = {name: genuine(name) for name in ("red.apps.example", "green.apps.example")}

        def hello(name):
            client = self.network.connect(8080)
            client.write(hellos[name])
            self.network.settle()
            return client

        first = hello("red.apps.example")
        self.assertEqual(red.connections[0].received, hellos["red.apps.example"])
        unknown = hello("green.apps.example")
        self.assertEqual(unknown.received, tls_alert.build(tls_alert.Alert.UNRECOGNIZED_NAME))
        self.network.result(door.suspend("red"))
        self.network.run(0.3)
        self.assertTrue(first.was_reset)
        away = hello("red.apps.example")
        self.assertEqual(away.received, tls_alert.build(tls_alert.Alert.ACCESS_DENIED))
        counters = door.proxy.counters
        self.assertEqual(counters.route("tenants").closed, {CloseReason.ADMIN: 1})
        refused = [counters.rejected[reason] for reason in (RejectReason.NO_ROUTE, RejectReason.IP_BLOCKED)]
        self.assertEqual(refused, [1, 1])


class TestingPageTests(SynchronousTestCase):
    def test_program_on_the_testing_page_runs(self):
        source, *_ = sources(DOCS / "testing.rst")
        exec(compile(source, "testing.rst", "exec"), {"__name__": "a_page"})  # noqa: S102 - our own documentation
        self.assertIn("assert proxy.connections", source)

    def test_each_test_on_the_page_passes_with_each_command_on_it(self):
        # Not below the repository, whose settings of pytest would apply there.
        temporary = TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        directory = Path(temporary.name)
        for source in sources(DOCS / "testing.rst"):
            if source.startswith("# test_"):
                (directory / source.split()[1]).write_text(source, encoding="utf-8")
        page = (DOCS / "testing.rst").read_text(encoding="utf-8")
        commands = re.findall(r"^    python (-m .*) (test_\w+(?:\.py)?)$", page, re.MULTILINE)
        self.assertEqual(
            {Path(test).stem for _, test in commands}, {file.stem for file in directory.iterdir()}
        )
        runners: dict[str, list[str]] = {}  # one process for all tests of a runner, all at the same time
        for runner, test in commands:
            runners.setdefault(runner, []).append(test)
        self.assertEqual(len(runners), 4)
        started = [self.started(directory, [*words.split(), *tests]) for words, tests in runners.items()]
        for running, (runner, tests) in zip(started, runners.items(), strict=True):
            printed, _ = running.communicate()
            with self.subTest(runner):
                self.assertEqual(running.returncode, 0, printed)
                count = len(tests)
                self.assertRegex(printed, rf"\b{count} passed|successes={count}\b|Ran {count} test")

    def started(self, directory, words):
        return subprocess.Popen(
            [sys.executable, *words],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=directory,
            env={**os.environ, "PYTHONPATH": str(DOCS.parent), "PYTHONDONTWRITEBYTECODE": "1"},
        )  # fmt: skip
