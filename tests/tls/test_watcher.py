"""Certificates that change on disk: put in force, or rejected while the former ones stay."""

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
        """Replace a file as certificate tools do: write another one, then rename it."""
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

    def settle(self) -> None:
        """Poll, and wait until a change has settled."""
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

    def test_new_pair_is_shown_after_the_settle_time(self) -> None:
        self.pair(NEW)
        self.clock.advance(POLL_INTERVAL)
        self.assertEqual(self.shown(), OLD.certificate)
        self.clock.advance(SETTLE_TIME)
        self.assertEqual(self.shown(), NEW.certificate)
        self.assertEqual(self.reloads(), (1, 0))
        self.assertEqual(len(self.lines), 1)

    def test_certificate_written_before_its_key_is_not_an_error(self) -> None:
        self.write("a.pem", NEW.pem)
        self.clock.advance(POLL_INTERVAL)
        self.write("a.key", NEW.key_pem)
        self.clock.advance(SETTLE_TIME)
        self.assertEqual(self.shown(), OLD.certificate)
        self.clock.advance(SETTLE_TIME)
        self.assertEqual(self.shown(), NEW.certificate)
        self.assertEqual(self.reloads(), (1, 0))

    def test_mismatched_pair_is_rejected_and_logged_once(self) -> None:
        self.write("a.key", key_pem(key("ec", 1)))
        for _ in range(3):
            self.settle()
        os.utime(self.folder / "a.key", (1, 1))
        self.settle()
        self.assertEqual(self.shown(), OLD.certificate)
        self.assertEqual(self.reloads(), (0, 2))
        [line] = self.lines
        self.assertIn("does not match the certificate", line)
        self.pair(NEW)
        self.settle()
        self.assertEqual(self.shown(), NEW.certificate)

    def test_expired_certificate_is_rejected(self) -> None:
        self.pair(CA.leaf("a.example", start=-9 * DAY, end=-DAY))
        self.settle()
        self.assertEqual(self.shown(), OLD.certificate)
        self.assertEqual(self.reloads(), (0, 1))

    def test_certificate_whose_file_is_removed_stays_in_use(self) -> None:
        (self.folder / "a.pem").unlink()
        self.settle()
        self.assertEqual(self.shown(), OLD.certificate)

    def test_touched_file_renews_nothing(self) -> None:
        os.utime(self.folder / "a.pem", (1, 1))
        self.settle()
        self.assertEqual(self.shown(), OLD.certificate)

    def test_expiry_is_published_and_follows_a_renewal(self) -> None:
        self.assertEqual(
            self.counters.certificate_expiry, {"a.example": OLD.certificate.not_valid_after_utc.timestamp()}
        )
        self.pair(NEW)
        self.settle()
        until = int(NEW.certificate.not_valid_after_utc.timestamp())
        rows = {
            family.name: list(family.rows)
            for family in families(_empty_registry(self.counters), self.counters)
            if "certificate" in family.name
        }
        self.assertEqual(
            rows,
            {
                "smartproxy_certificate_expiry_timestamp_seconds": [(("a.example",), until)],
                "smartproxy_certificate_reloads": [(("ok",), 1), (("failed",), 0)],
            },
        )

    def test_files_of_a_reloaded_configuration_are_watched(self) -> None:
        other = talk.route(CertificateFiles(self.write("b.pem", OLD.pem + OLD.key_pem)).read())
        plan = talk.proxy(other)
        contexts = self.in_force.reload(plan)
        self.watch.configure(plan.tls)
        self.write("b.pem", NEW.pem + NEW.key_pem)
        self.settle()
        self.assertEqual(contexts.certificates.find(other.tls, talk.hello()).leaf, NEW.certificate)

    def test_stop_leaves_no_delayed_call(self) -> None:
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

    def test_added_certificate_is_shown_and_removed_one_is_not(self) -> None:
        other = CA.leaf("b.example", kind="rsa")
        self.write("b.pem", other.pem + other.key_pem)
        self.settle()
        self.assertEqual(self.shown("b.example"), other.certificate)
        (self.folder / "a.pem").unlink()
        self.settle()
        self.assertIsNone(self.shown("a.example"))
        self.assertEqual(self.reloads(), (2, 0))

    def test_broken_file_keeps_its_certificate_and_others_renew(self) -> None:
        other = CA.leaf("b.example", kind="rsa")
        self.write("b.pem", other.pem + other.key_pem)
        self.write("a.pem", b"-----BEGIN CERTIFICATE-----\n")
        self.settle()
        self.assertEqual(self.shown("a.example"), OLD.certificate)
        self.assertEqual(self.shown("b.example"), other.certificate)
        self.assertEqual(self.reloads(), (1, 1))

    def test_removed_directory_keeps_its_certificates(self) -> None:
        (self.folder / "a.pem").unlink()
        self.folder.rmdir()
        self.settle()
        self.assertEqual(self.shown("a.example"), OLD.certificate)
        self.folder.mkdir()


class NotificationTests(TestCase):
    def test_callback_is_called_for_a_new_file(self) -> Deferred[None]:
        from twisted.internet import reactor  # noqa: PLC0415 - importing it installs a reactor

        made = TemporaryDirectory()
        self.addCleanup(made.cleanup)
        told: Deferred[None] = Deferred()
        notifications = DirectoryNotifications(reactor, lambda: None if told.called else told.callback(None))
        self.addCleanup(notifications.stop)
        notifications.watch({made.name})
        (Path(made.name) / "a.pem").write_bytes(b"x")
        return told.addTimeout(10, reactor)

    def test_missing_directory_is_ignored(self) -> None:
        from twisted.internet import reactor  # noqa: PLC0415 - importing it installs a reactor

        notifications = DirectoryNotifications(reactor, self.fail)
        notifications.watch({"/no/such/directory"})
        notifications.stop()


def _empty_registry(counters: Counters) -> Registry:
    return Registry(counters, CleanupPlan(), Clock())
