"""Certificates that change on disk: shown from then on, or kept out."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase, TestCase

from smartproxy.connections.registry import Registry
from smartproxy.metrics.counters import Counters
from smartproxy.metrics.families import families
from smartproxy.model.plan import CleanupPlan
from smartproxy.tls.certificate_files import CertificateFiles
from smartproxy.tls.directory import read_directory
from smartproxy.tls.inotify import DirectoryNotifications
from smartproxy.tls.watcher import POLL_INTERVAL, SETTLE_TIME, CertificateWatch
from tests.tls import talk
from tests.tls.made import DAY, Authority, Leaf, key, key_pem

if TYPE_CHECKING:
    from smartproxy.model.plan import RoutePlan

CA = Authority()
OLD = CA.leaf("a.example")
NEW = CA.leaf("a.example", end=60 * DAY, kind="p384")


class WatchCase(SynchronousTestCase):
    def setUp(self) -> None:
        made = TemporaryDirectory()
        self.addCleanup(made.cleanup)
        self.folder = Path(made.name)
        self.clock = Clock()
        self.counters = Counters()
        self.in_force = talk.InForce()
        self.watch = CertificateWatch(self.in_force.store, self.clock, self.counters)
        self.lines: list[str] = []
        globalLogPublisher.addObserver(self._line)
        self.addCleanup(globalLogPublisher.removeObserver, self._line)

    def _line(self, event: dict[str, Any]) -> None:
        if event.get("log_namespace") == "smartproxy.tls.watcher":
            self.lines.append(event["log_format"].format(**event))

    def write(self, name: str, content: bytes) -> str:
        """A file that is replaced as programs replace it: written beside, then moved over it."""
        path = self.folder / name
        beside = path.with_suffix(".new")
        beside.write_bytes(content)
        beside.replace(path)
        return str(path)

    def begin(self, to: RoutePlan, **tls: Any) -> None:
        plan = talk.proxy(to, **tls)
        self.in_force.reload(plan)
        self.watch.configure(plan.tls)
        self.watch.start()
        self.addCleanup(self.watch.stop)

    def rest(self) -> None:
        """A look, and all the rest that a change needs."""
        self.clock.advance(POLL_INTERVAL)
        self.clock.advance(SETTLE_TIME)
        self.clock.advance(SETTLE_TIME)

    def reloads(self) -> tuple[int, int]:
        counted = self.counters.certificate_reloads
        return counted["ok"], counted["failed"]


class PairTests(WatchCase):
    def setUp(self) -> None:
        super().setUp()
        self.pair(OLD)
        files = CertificateFiles(str(self.folder / "a.pem"), str(self.folder / "a.key"))
        self.route = talk.route(files.read())
        self.begin(self.route)

    def pair(self, leaf: Leaf) -> None:
        self.write("a.pem", leaf.pem)
        self.write("a.key", leaf.key_pem)

    def shown(self) -> Any:
        return self.in_force.contexts.certificates.find(self.route.tls, talk.hello()).leaf

    def test_a_new_pair_is_shown_when_it_has_come_to_rest(self) -> None:
        self.pair(NEW)
        self.clock.advance(POLL_INTERVAL)
        self.assertEqual(self.shown(), OLD.certificate)
        self.clock.advance(SETTLE_TIME)
        self.assertEqual(self.shown(), NEW.certificate)
        self.assertEqual(self.reloads(), (1, 0))
        self.assertEqual(len(self.lines), 1)

    def test_between_certificate_and_key_nothing_is_taken_and_nothing_is_said(self) -> None:
        self.write("a.pem", NEW.pem)
        self.clock.advance(POLL_INTERVAL)
        self.write("a.key", NEW.key_pem)
        self.clock.advance(SETTLE_TIME)
        self.assertEqual(self.shown(), OLD.certificate)
        self.clock.advance(SETTLE_TIME)
        self.assertEqual(self.shown(), NEW.certificate)
        self.assertEqual(self.reloads(), (1, 0))

    def test_a_pair_that_does_not_fit_keeps_the_old_one_and_is_told_of_once(self) -> None:
        self.write("a.key", key_pem(key("ec", 1)))
        for _ in range(3):
            self.rest()
        os.utime(self.folder / "a.key", (1, 1))
        self.rest()
        self.assertEqual(self.shown(), OLD.certificate)
        self.assertEqual(self.reloads(), (0, 2))
        [line] = self.lines
        self.assertIn("does not match the certificate", line)
        self.pair(NEW)
        self.rest()
        self.assertEqual(self.shown(), NEW.certificate)

    def test_one_that_has_expired_is_not_taken(self) -> None:
        self.pair(CA.leaf("a.example", start=-9 * DAY, end=-DAY))
        self.rest()
        self.assertEqual(self.shown(), OLD.certificate)
        self.assertEqual(self.reloads(), (0, 1))

    def test_one_that_is_taken_away_goes_on(self) -> None:
        (self.folder / "a.pem").unlink()
        self.rest()
        self.assertEqual(self.shown(), OLD.certificate)

    def test_a_file_that_is_touched_is_no_change(self) -> None:
        os.utime(self.folder / "a.pem", (1, 1))
        self.rest()
        self.assertEqual(self.shown(), OLD.certificate)

    def test_when_it_expires_is_told(self) -> None:
        self.assertEqual(
            self.counters.certificate_expiry, {"a.example": OLD.certificate.not_valid_after_utc.timestamp()}
        )
        self.pair(NEW)
        self.rest()
        until = int(NEW.certificate.not_valid_after_utc.timestamp())
        rows = {
            family.name: list(family.rows)
            for family in families(_no_registry(self.counters), self.counters)
            if "certificate" in family.name
        }
        self.assertEqual(
            rows,
            {
                "smartproxy_certificate_expiry_timestamp_seconds": [(("a.example",), until)],
                "smartproxy_certificate_reloads": [(("ok",), 1), (("failed",), 0)],
            },
        )

    def test_after_a_reload_the_new_ones_are_looked_after(self) -> None:
        other = talk.route(CertificateFiles(self.write("b.pem", OLD.pem + OLD.key_pem)).read())
        plan = talk.proxy(other)
        contexts = self.in_force.reload(plan)
        self.watch.configure(plan.tls)
        self.write("b.pem", NEW.pem + NEW.key_pem)
        self.rest()
        self.assertEqual(contexts.certificates.find(other.tls, talk.hello()).leaf, NEW.certificate)

    def test_it_leaves_nothing_behind(self) -> None:
        self.pair(NEW)
        self.clock.advance(POLL_INTERVAL)
        self.watch.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])


class DirectoryTests(WatchCase):
    def setUp(self) -> None:
        super().setUp()
        self.write("a.pem", OLD.pem + OLD.key_pem)
        self.route = talk.route()
        stored = read_directory(str(self.folder)).certificates
        self.begin(self.route, certificates=stored, directory=str(self.folder))

    def shown(self, name: str) -> Any:
        found = self.in_force.contexts.certificates.find(self.route.tls, talk.hello(name))
        return None if found is None else found.leaf

    def test_what_comes_is_shown_and_what_goes_is_not(self) -> None:
        other = CA.leaf("b.example", kind="rsa")
        self.write("b.pem", other.pem + other.key_pem)
        self.rest()
        self.assertEqual(self.shown("b.example"), other.certificate)
        (self.folder / "a.pem").unlink()
        self.rest()
        self.assertIsNone(self.shown("a.example"))
        self.assertEqual(self.reloads(), (2, 0))

    def test_one_that_breaks_goes_on_and_the_others_are_renewed(self) -> None:
        other = CA.leaf("b.example", kind="rsa")
        self.write("b.pem", other.pem + other.key_pem)
        self.write("a.pem", b"-----BEGIN CERTIFICATE-----\n")
        self.rest()
        self.assertEqual(self.shown("a.example"), OLD.certificate)
        self.assertEqual(self.shown("b.example"), other.certificate)
        self.assertEqual(self.reloads(), (1, 1))

    def test_a_directory_that_goes_takes_nothing_with_it(self) -> None:
        (self.folder / "a.pem").unlink()
        self.folder.rmdir()
        self.rest()
        self.assertEqual(self.shown("a.example"), OLD.certificate)
        self.folder.mkdir()


class NoticeTests(TestCase):
    def test_the_system_tells_of_a_file_that_was_moved_in(self) -> Deferred[None]:
        from twisted.internet import reactor  # noqa: PLC0415 - importing it installs a reactor

        made = TemporaryDirectory()
        self.addCleanup(made.cleanup)
        told: Deferred[None] = Deferred()
        notices = DirectoryNotifications(reactor, lambda: None if told.called else told.callback(None))
        self.addCleanup(notices.stop)
        notices.watch({made.name})
        (Path(made.name) / "a.pem").write_bytes(b"x")
        return told.addTimeout(10, reactor)

    def test_a_directory_that_is_not_there_does_no_harm(self) -> None:
        from twisted.internet import reactor  # noqa: PLC0415 - importing it installs a reactor

        notices = DirectoryNotifications(reactor, self.fail)
        notices.watch({"/no/such/directory"})
        notices.stop()


def _no_registry(counters: Counters) -> Any:

    return Registry(counters, CleanupPlan(), Clock())
