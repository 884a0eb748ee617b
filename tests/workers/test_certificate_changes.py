"""Changes of certificate files, noticed by the supervisor and told to the other processes."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from twisted.internet.defer import fail
from twisted.logger import globalLogPublisher

from smartproxy.errors import ConfigurationError, WorkerFailed
from smartproxy.files.watch import POLL_INTERVAL, SETTLE_TIME
from smartproxy.metrics.counters import Counters
from smartproxy.model.plan import ProxyPlan, TlsPlan
from smartproxy.tls import certificate_files, known_certificates, renewal
from smartproxy.tls.certificate_files import CertificateFiles
from smartproxy.tls.directory import CertificateDirectory
from smartproxy.tls.known_certificates import KnownCertificates
from smartproxy.tls.validity import expiry
from smartproxy.workers.certificate_changes import CertificateChanges
from tests.settings.formats import folder
from tests.tls import talk
from tests.tls.made import DAY, Authority
from tests.workers.fake_processes import waiting
from tests.workers.test_slots import SlotsCase

CA = Authority()
OLD, NEW = CA.leaf("a.example"), CA.leaf("a.example")


class ChangesTests(SlotsCase):
    def setUp(self):
        super().setUp()
        self.folder = folder(self)
        self.counters = Counters()
        self.compiled = 0
        self.problem = None
        self.file = self.write("a.pem", OLD.pem + OLD.key_pem)
        self.first, self.second = self.start()
        self.changes = CertificateChanges(
            self.slots, self.changing, self.counters, self.compile_again, self.clock
        )
        self.lines = []
        globalLogPublisher.addObserver(self.lines.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.lines.append)

    async def compile_again(self):
        self.compiled += 1
        if self.problem:
            raise ConfigurationError([self.problem])

    def write(self, name, content):
        path = Path(self.folder, name)
        path.with_suffix(".new").write_bytes(content)
        path.with_suffix(".new").replace(path)
        return str(path)

    def follow(self, **tls):
        route = talk.route(CertificateFiles(self.file).read())
        self.changes.follow(ProxyPlan((route,), tls=TlsPlan(**tls)))
        self.changes.start()
        self.addCleanup(self.changes.stop)
        self.clock.advance(0)

    def renew(self):
        self.write("a.pem", NEW.pem + NEW.key_pem)
        self.settle()

    def settle(self):
        self.clock.advance(POLL_INTERVAL)
        self.clock.advance(SETTLE_TIME)
        self.clock.advance(SETTLE_TIME)

    def told(self):
        return [link.told.count("Renew") for link in (self.first, self.second)]

    def test_the_process_that_forks_workers_is_told_and_then_each_worker(self):
        self.follow()
        self.settle()
        self.assertEqual(self.told(), [0, 0])
        asked = waiting()
        self.forking.answers.append(asked)
        self.renew()
        self.assertEqual((self.forking.asked[-1], self.told()), ("renew", [0, 0]))
        self.first.answers["Renew"] = first = waiting()
        asked.callback(None)
        self.assertEqual(self.told(), [1, 0])
        first.callback(None)
        self.assertEqual(self.told(), [1, 1])
        self.settle()
        self.assertEqual(self.told(), [1, 1])

    def test_a_renewed_certificate_that_expires_later_prevents_no_reload(self):
        """The supervisor shows it to no client, and compiles every configuration before the others do."""
        known, files = KnownCertificates(), CertificateFiles(self.file)
        route = talk.route(known.certificate(files))
        self.changes.follow(ProxyPlan((route,)))
        self.changes.start()
        self.addCleanup(self.changes.stop)
        self.renew()
        late = NEW.certificate.not_valid_after_utc
        self.patch(known_certificates.time, "time", lambda: late.timestamp() + 1)
        self.patch(certificate_files, "expiry", partial(expiry, now=late + DAY))
        self.assertEqual(KnownCertificates(known).certificate(files).chain, NEW.pem)

    def test_a_renewed_certificate_that_cannot_be_used_is_told_all_the_same(self):
        """Those that are told say what is wrong with it."""
        self.follow()
        self.write("a.pem", b"nothing")
        self.settle()
        self.assertEqual(self.told(), [1, 1])

    def test_a_certificate_that_has_become_valid_is_told(self):
        early = CA.leaf("a.example", start=DAY)
        directory = CertificateDirectory(self.folder)
        self.follow(directory=directory.read())
        self.write("a.pem", early.pem + early.key_pem)
        self.settle()
        self.settle()
        self.assertEqual(self.told(), [1, 1])
        self.patch(renewal.time, "time", early.certificate.not_valid_before_utc.timestamp)
        self.settle()
        self.assertEqual(self.told(), [2, 2])

    def test_no_worker_is_started_meanwhile(self):
        """It would have been forked with the former certificate, and not be told."""
        self.follow()
        self.first.answers["Renew"] = first = waiting()
        self.renew()
        self.second.end()
        self.clock.advance(0)
        forked = self.forking.asked.count("fork")
        first.callback(None)
        self.assertEqual(self.forking.asked.count("fork"), forked + 1)

    def test_a_worker_that_fails_is_ended_and_the_others_are_told(self):
        self.follow()
        self.first.answers["Renew"] = fail(WorkerFailed("it cannot"))
        self.renew()
        self.assertEqual((self.first.has_ended, self.second.has_ended), (True, False))
        self.assertEqual(self.told(), [1, 1])

    def test_workers_are_told_also_where_none_can_be_forked(self):
        self.follow()
        self.forking.answers.append(fail(WorkerFailed("it has ended")))
        self.renew()
        self.assertEqual(self.told(), [1, 1])

    def test_the_files_of_another_configuration_are_followed(self):
        self.follow()
        self.changes.follow(ProxyPlan(()))
        self.renew()
        self.assertEqual(self.told(), [0, 0])

    def test_a_file_that_is_compiled_into_the_configuration_lets_it_be_compiled_again(self):
        authority = self.write("ca.pem", b"one")
        self.follow(files={authority: None})
        self.settle()
        self.assertEqual(
            (self.compiled, self.told(), self.counters.certificate_reloads["ok"]), (1, [0, 0], 1)
        )
        self.problem = "ca.pem: is none"
        self.write("ca.pem", b"three")
        self.settle()
        self.assertEqual((self.compiled, self.counters.certificate_reloads["failed"]), (2, 1))
        self.assertIn("ca.pem: is none", [line.get("problem") for line in self.lines])

    def test_the_same_mistake_in_a_file_that_was_renewed_in_between_is_logged_again(self):
        authority = self.write("ca.pem", b"one")
        self.follow(files={authority: None})
        problem = f"clientAuth.ca: {authority}: is none"
        for self.problem in (problem, None) * 2:
            self.write("ca.pem", b"more" * self.compiled)
            self.settle()
        self.assertEqual([line.get("problem") for line in self.lines].count(problem), 2)

    def test_a_file_that_could_not_be_compiled_is_tried_again_at_the_next_change(self):
        """Of any file: that one may have been good, and the certificate of a key missing."""
        authority = self.write("ca.pem", b"one")
        self.follow(files={authority: None})
        self.problem = "a.key: does not match the certificate"
        self.settle()
        self.problem = None
        self.renew()
        self.assertEqual((self.compiled, self.counters.certificate_reloads["ok"]), (2, 1))
        self.renew()
        self.assertEqual(self.compiled, 2)
