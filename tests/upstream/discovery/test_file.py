"""Files of targets that change while the proxy runs."""

from __future__ import annotations

from pathlib import Path

from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from smartproxy.errors import InvalidTargetsFile
from smartproxy.files.states import state_of
from smartproxy.model.plan import GroupPlan, TargetPlan
from smartproxy.model.plan.target import Discover
from smartproxy.model.plan.target_file import TargetFile
from smartproxy.upstream.discovery.file import FileTargets, TargetFileWatch
from smartproxy.upstream.discovery.interfaces import ITargetSource
from smartproxy.upstream.discovery.service import Discovery
from tests.upstream.discovery.discovering import DiscoveryCase


def read(path):
    """A file with the address of a target in each line; ``!`` in front of one that is a name to ask for."""
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError as why:
        raise InvalidTargetsFile([f"{path}: cannot be read: {why.strerror}"]) from None
    if not lines:
        raise InvalidTargetsFile([f"{path}: is empty"])
    targets = tuple(
        TargetPlan(
            (line.removeprefix("!"),), 80, discover=Discover.ADDRESSES if line[0] == "!" else Discover.NOTHING
        )
        for line in lines
    )
    return TargetFile(path, state_of(path), targets, lambda: read(path))


class WatchTests(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.path = Path(self.mktemp())
        self.path.write_text("192.0.2.1\n", encoding="utf-8")
        self.file = read(str(self.path))
        self.watch = TargetFileWatch(self.clock)
        self.watch.follow([self.file])
        self.watch.start()
        self.addCleanup(self.watch.stop)
        self.changes = 0
        self.watch.listen(self.file, self.changed)

    def changed(self):
        self.changes += 1

    def hosts(self):
        return [target.hosts[0] for target in self.file.targets]

    def pass_time(self, seconds=5):
        self.clock.pump([0.1] * (seconds * 10))

    def test_file_that_is_written_or_replaced_is_followed_within_five_seconds(self):
        """Also without inotify, as here."""
        self.path.write_text("192.0.2.2\n192.0.2.3\n", encoding="utf-8")
        with capturedLogs() as events:
            self.pass_time()
        self.assertEqual((self.hosts(), self.changes), (["192.0.2.2", "192.0.2.3"], 1))
        self.assertEqual(
            [formatEvent(one) for one in events], [f"targets read again: {self.path} (2 targets)"]
        )
        other = Path(self.mktemp())
        other.write_text("192.0.2.4\n", encoding="utf-8")
        other.replace(self.path)
        self.pass_time()
        self.assertEqual((self.hosts(), self.changes), (["192.0.2.4"], 2))

    def test_file_that_cannot_be_used_keeps_the_targets(self):
        for spoil, why in (
            (lambda: self.path.write_text("", encoding="utf-8"), "is empty"),
            (self.path.unlink, "cannot be read: No such file or directory"),
        ):
            spoil()
            with capturedLogs() as events:
                self.pass_time(20)
            self.assertEqual((self.hosts(), self.changes), (["192.0.2.1"], 0))
            self.assertEqual(
                [formatEvent(one) for one in events],
                [f"targets file not applied, the former targets are kept: {self.path}: {why}"],
            )
        self.path.write_text("192.0.2.5\n", encoding="utf-8")
        self.pass_time()
        self.assertEqual(self.hosts(), ["192.0.2.5"])

    def test_file_that_is_not_followed_any_more_is_left_alone(self):
        self.watch.forget(self.file)
        self.watch.follow([])
        self.path.write_text("192.0.2.2\n", encoding="utf-8")
        self.pass_time()
        self.assertEqual((self.hosts(), self.changes), (["192.0.2.1"], 0))

    def test_file_of_two_groups_is_read_for_each(self):
        other = read(str(self.path))
        self.watch.follow([self.file, other])
        self.path.write_text("192.0.2.2\n", encoding="utf-8")
        self.pass_time()
        self.assertEqual([target.hosts[0] for target in other.targets], ["192.0.2.2"])

    def test_provides_its_interface(self):
        source = FileTargets(self.file, self.watch)
        verifyObject(ITargetSource, source)
        source.start(self.changed)
        source.stop()
        self.path.write_text("192.0.2.2\n", encoding="utf-8")
        self.pass_time()
        self.assertEqual(self.changes, 0)


class DiscoveredFileTests(DiscoveryCase):
    """A group with such a file."""

    def setUp(self):
        super().setUp()
        self.path = Path(self.mktemp())
        self.watch = TargetFileWatch(self.clock)
        self.watch.start()
        self.addCleanup(self.watch.stop)
        self.plan = None
        self.discovery = Discovery(self.names, self.watch, self.deadlines, self.clock, self.configure)

    def configure(self, plans):
        (self.plan,) = plans

    def apply(self, *lines, targets=()):
        self.write(*lines)
        self.file = read(str(self.path))
        (self.plan,) = self.discovery.apply([GroupPlan("app", targets, file=self.file)])

    def write(self, *lines):
        self.path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")

    def hosts(self):
        return [target.hosts[0] for target in self.plan.targets]

    def test_targets_of_the_file_follow_those_of_the_configuration(self):
        self.apply("192.0.2.2", targets=(TargetPlan(("192.0.2.1",), 80),))
        self.assertEqual((self.hosts(), self.plan.is_searching), (["192.0.2.1", "192.0.2.2"], False))
        self.write("192.0.2.3")
        self.pass_time(5)
        self.assertEqual(self.hosts(), ["192.0.2.1", "192.0.2.3"])

    def test_names_in_the_file_are_asked_for(self):
        self.has("app.test", "192.0.2.7", ttl=100)
        self.apply("!app.test")
        self.assertTrue(self.plan.is_searching)
        self.pass_time(0.5)
        self.assertEqual((self.hosts(), self.plan.is_searching), (["192.0.2.7"], False))
        self.write("!app.test", "192.0.2.8")
        self.pass_time(5)
        self.assertEqual((self.hosts(), len(self.records.asked)), (["192.0.2.7", "192.0.2.8"], 1))
        self.write("192.0.2.8")
        self.pass_time(5)
        self.assertEqual((self.hosts(), len(self.names)), (["192.0.2.8"], 0))

    def test_a_thousand_targets_of_a_file_at_most(self):
        self.apply(*(f"10.0.{number >> 8}.{number & 255}" for number in range(1100)))
        self.assertEqual(len(self.hosts()), 1000)
