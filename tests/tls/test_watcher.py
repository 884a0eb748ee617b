"""Certificates that change on disk: put in force, or rejected while the former ones stay."""

from __future__ import annotations

import datetime as dt
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.connections.registry import Registry
from smartproxy.files.watch import POLL_INTERVAL, SETTLE_TIME
from smartproxy.flow.threads import call_here
from smartproxy.metrics.counters import Counters
from smartproxy.metrics.families import families
from smartproxy.model.plan import CleanupPlan
from smartproxy.tls import validity
from smartproxy.tls.certificate_files import CertificateFiles
from smartproxy.tls.renewal_report import RenewalReport
from smartproxy.tls.renewals import Renewals
from smartproxy.tls.watcher import CertificateWatch
from tests.tls import talk
from tests.tls.made import DAY, NOW, Authority, Leaf, key, key_pem

if TYPE_CHECKING:
    from smartproxy.flow.threads import Call
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
        self.watch = self.made()
        self.lines: list[str] = []
        globalLogPublisher.addObserver(self._line)
        self.addCleanup(globalLogPublisher.removeObserver, self._line)

    def made(self, call: Call = call_here) -> CertificateWatch:
        report = RenewalReport(self.counters)
        return CertificateWatch(Renewals(self.in_force.store, report, call), report, self.clock, call)

    def _line(self, event: dict[str, Any]) -> None:
        if event.get("log_namespace") == "smartproxy.tls.renewal_report":
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

    def pass_day(self, days: float) -> None:
        """Let the wall clock show a time that is so many days from now."""
        at = NOW + days * DAY
        self.patch(validity.time, "time", at.timestamp)
        self.patch(validity, "dt", SimpleNamespace(UTC=dt.UTC, datetime=SimpleNamespace(now=lambda _: at)))

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
        self.assertIn("the former one is kept: the key does not match the certificate ", line)
        self.pair(NEW)
        self.settle()
        self.assertEqual(self.shown(), NEW.certificate)

    def test_same_mistake_after_a_renewal_is_logged_again(self) -> None:
        """The next renewal is weeks later: that it failed must not be known from a counter only."""
        for number in range(2):
            self.write("a.key", key_pem(key("ec", 1)))
            self.settle()
            self.pair((NEW, OLD)[number])
            self.settle()
        self.assertEqual(self.reloads(), (2, 2))
        self.assertEqual(sum("does not match the certificate" in line for line in self.lines), 2)

    def test_expired_certificate_is_rejected(self) -> None:
        self.pair(CA.leaf("a.example", start=-9 * DAY, end=-DAY))
        self.settle()
        self.assertEqual(self.shown(), OLD.certificate)
        self.assertEqual(self.reloads(), (0, 1))

    def test_certificate_that_is_not_valid_yet_is_shown_once_it_is(self) -> None:
        """It may be deployed in advance, and the clock of the machine may be behind that of the authority."""
        early = CA.leaf("a.example", kind="p384", start=DAY)
        self.pair(early)
        self.settle()
        self.assertEqual((self.shown(), self.reloads()), (OLD.certificate, (0, 1)))
        self.pass_day(0.9)
        self.settle()
        self.assertEqual((self.shown(), self.reloads()), (OLD.certificate, (0, 1)))
        self.pass_day(1.1)
        for _ in range(3):
            self.settle()
        self.assertEqual((self.shown(), self.reloads()), (early.certificate, (1, 1)))

    def test_certificate_whose_file_is_removed_stays_in_use(self) -> None:
        (self.folder / "a.pem").unlink()
        self.settle()
        self.assertEqual(self.shown(), OLD.certificate)

    def test_touched_file_renews_nothing(self) -> None:
        os.utime(self.folder / "a.pem", (1, 1))
        self.settle()
        self.assertEqual(self.shown(), OLD.certificate)
        self.assertEqual((self.reloads(), self.lines), ((0, 0), []))

    def test_expiry_follows_a_renewal(self) -> None:
        self.assertEqual(
            self.in_force.store.expiry, {"a.example": OLD.certificate.not_valid_after_utc.timestamp()}
        )
        self.pair(NEW)
        self.settle()
        self.assertEqual(
            self.in_force.store.expiry, {"a.example": NEW.certificate.not_valid_after_utc.timestamp()}
        )
        rows = {
            family.name: list(family.rows)
            for family in families(_empty_registry(self.counters), self.counters)
            if "certificate_reloads" in family.name
        }
        self.assertEqual(rows, {"smartproxy_certificate_reloads": [(("ok",), 1), (("failed",), 0)]})

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


class ThreadTests(WatchCase):
    """The event loop goes on while a thread looks at files, and may reload or stop meanwhile."""

    def setUp(self) -> None:
        super().setUp()
        self.calls: list[tuple[Deferred[Any], Any]] = []
        self.watch = self.made(self.call)
        self.write("a.pem", OLD.pem + OLD.key_pem)
        self.route = talk.route(CertificateFiles(str(self.folder / "a.pem")).read())
        self.begin(self.route)
        self.clock.advance(0)
        self.finish()

    def call(self, call: Any) -> Deferred[Any]:
        waiting: Deferred[Any] = Deferred()
        self.calls.append((waiting, call))
        return waiting

    def finish(self) -> None:
        """Let the thread finish what it was given."""
        calls, self.calls = self.calls, []
        for waiting, call in calls:
            waiting.callback(call())

    def shown(self) -> Any:
        return self.in_force.contexts.certificates.find(self.route.tls, talk.hello()).leaf

    def change(self) -> None:
        """Change the file, up to where the thread has been given it to read."""
        self.write("a.pem", NEW.pem + NEW.key_pem)
        self.clock.advance(POLL_INTERVAL)
        self.finish()
        self.clock.advance(SETTLE_TIME)
        self.finish()

    def test_file_is_read_in_the_thread(self) -> None:
        self.change()
        self.assertEqual(len(self.calls), 1)
        self.assertEqual(self.shown(), OLD.certificate)
        self.finish()
        self.assertEqual(self.shown(), NEW.certificate)

    def test_result_is_dropped_after_a_reload_and_read_again(self) -> None:
        self.change()
        plan = talk.proxy(self.route)
        self.in_force.reload(plan)
        self.watch.configure(plan.tls)
        self.finish()
        self.assertEqual(self.shown(), OLD.certificate)
        for _ in range(3):
            self.clock.advance(SETTLE_TIME)
            self.finish()
        self.finish()
        self.assertEqual(self.shown(), NEW.certificate)

    def test_result_is_dropped_after_a_stop(self) -> None:
        self.change()
        self.watch.stop()
        self.finish()
        self.assertEqual(self.shown(), OLD.certificate)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_polls_do_not_overlap(self) -> None:
        for _ in range(5):
            self.clock.advance(POLL_INTERVAL)
        self.assertEqual(len(self.calls), 1)

    def test_polling_goes_on_after_a_failure(self) -> None:
        self.clock.advance(POLL_INTERVAL)
        [(waiting, _)] = self.calls
        self.calls.clear()
        waiting.errback(RuntimeError("looking failed"))
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.change()
        self.finish()
        self.assertEqual(self.shown(), NEW.certificate)


def _empty_registry(counters: Counters) -> Registry:
    return Registry(counters, CleanupPlan(), Clock())
