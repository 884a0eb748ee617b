"""What a configuration has read, for the next one: only changed files are read, and nothing is kept for ever."""

from __future__ import annotations

import os
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from smartproxy.errors import InvalidCertificate
from smartproxy.tls import certificate_files, known_certificates
from smartproxy.tls.certificate_files import CertificateFiles
from smartproxy.tls.known_certificates import KnownCertificates
from tests.tls.made import DAY, Authority, Leaf

CA = Authority()


class KnownTests(SynchronousTestCase):
    def setUp(self) -> None:
        made = TemporaryDirectory()
        self.addCleanup(made.cleanup)
        self.folder = Path(made.name)
        self.write(CA.leaf("a.example"))
        self.files = CertificateFiles(str(self.folder / "a.pem"))
        self.known = KnownCertificates()
        self.first = self.known.certificate(self.files)

    def write(self, leaf: Leaf, at: int = 1_000_000) -> None:
        """Write the file, with times of a while ago."""
        path = self.folder / "a.pem"
        path.write_bytes(leaf.pem + leaf.key_pem)
        os.utime(path, (at, at))

    def test_unchanged_file_is_not_read_by_the_next_configuration(self) -> None:
        self.assertIs(KnownCertificates(self.known).certificate(self.files), self.first)

    def test_changed_file_is_read(self) -> None:
        newer = CA.leaf("a.example", end=60 * DAY)
        self.write(newer, at=1_000_001)
        self.assertEqual(KnownCertificates(self.known).certificate(self.files).chain, newer.pem)

    def test_removed_file_is_a_problem(self) -> None:
        (self.folder / "a.pem").unlink()
        following = KnownCertificates(self.known)
        self.assertRaises(InvalidCertificate, following.certificate, self.files)

    def test_certificate_that_has_expired_meanwhile_prevents_no_reload(self) -> None:
        late = CA.leaf("a.example").certificate.not_valid_after_utc.timestamp() + 1
        self.patch(known_certificates.time, "time", lambda: late)
        self.patch(CertificateFiles, "read", _fail)
        self.assertIs(KnownCertificates(self.known).certificate(self.files), self.first)

    def test_renewed_certificate_that_has_expired_meanwhile_prevents_no_reload(self) -> None:
        """It was read when its file had changed, and not by a configuration."""
        newer = CA.leaf("a.example", end=60 * DAY)
        self.write(newer, at=1_000_001)
        renewed = self.first.reread()
        late = newer.certificate.not_valid_after_utc.timestamp() + 1
        self.patch(known_certificates.time, "time", lambda: late)
        self.patch(CertificateFiles, "read", _fail)
        following = KnownCertificates(self.known)
        self.assertIs(following.certificate(self.files), renewed)
        self.assertIs(KnownCertificates(following).certificate(self.files), renewed)

    def test_certificate_that_was_written_just_before_it_was_read_and_has_expired_likewise(self) -> None:
        self.write(CA.leaf("a.example"), at=int(time.time()))
        following = KnownCertificates()
        first = following.certificate(self.files)
        late = CA.leaf("a.example").certificate.not_valid_after_utc.timestamp() + 1
        self.patch(known_certificates.time, "time", lambda: late)
        self.patch(CertificateFiles, "read", _fail)
        self.assertIs(KnownCertificates(following).certificate(self.files), first)

    def test_certificate_that_has_expired_is_a_problem_where_it_was_not_known(self) -> None:
        self.patch(CertificateFiles, "read", _fail)
        self.assertRaises(InvalidCertificate, KnownCertificates().certificate, self.files)

    def test_certificate_is_checked_again_when_one_of_its_chain_expires(self) -> None:
        late = CA.leaf("a.example").certificate.not_valid_after_utc.timestamp() + 1
        self.patch(known_certificates.time, "time", lambda: late)
        self.assertIsNot(KnownCertificates(self.known).certificate(self.files), self.first)

    def test_key_that_may_no_longer_be_read_prevents_no_reload(self) -> None:
        """A proxy that has started as root goes on as another user (``twistd -u``)."""
        self.patch(certificate_files, "contents", _fail)
        self.assertIs(KnownCertificates(self.known).certificate(self.files), self.first)

    def test_what_is_not_asked_for_is_forgotten(self) -> None:
        """Routes come and go: what they had must not stay for ever."""
        following = KnownCertificates(self.known)
        self.assertIsNot(KnownCertificates(following).certificate(self.files), self.first)

    def test_directory_is_handed_on(self) -> None:
        path = str(self.folder)
        [before] = self.known.directory(path).certificates
        [after] = KnownCertificates(self.known).directory(path).certificates
        self.assertIs(before, after)


def _fail(*_: object) -> Any:
    raise InvalidCertificate("cannot be used now")
