"""Certificates replaced while the proxy runs: new connections get the new one, open ones are not closed."""

from __future__ import annotations

from cryptography import x509

from tests.live.backends import echo
from tests.live.terminating import NAME, TlsCase
from tests.live.waiting import until


class ReplacedTests(TlsCase):
    """Each change takes a second or two: the proxy waits until the files have not changed for a second."""

    def setUp(self):
        super().setUp()
        self.file = self.authority.certificate(NAME)
        self.running, _, self.front = self.terminator(echo)

        (self.directory / "beside").mkdir()
        self.beside = self.authority.writing_to(self.directory / "beside")

    def shown(self):
        """Serial number of the certificate sent to a new connection."""
        client = self.secure(self.front)
        der = client.getpeercert(binary_form=True)
        client.close()
        return x509.load_der_x509_certificate(der).serial_number

    def written(self):
        """Serial number of the certificate in the file."""
        return x509.load_pem_x509_certificate(self.file.read_bytes()).serial_number

    def test_replaced_certificate_is_used_for_new_connections(self):
        """The file is replaced by a rename, as certificate tools do, or rewritten in place."""
        established = self.secure(self.front)
        self.assert_echoes(established)
        for in_place in (True, False):
            with self.subTest(in_place=in_place):
                before = self.shown()
                self.assertEqual(before, self.written())
                if in_place:
                    self.authority.certificate(NAME)
                else:
                    self.beside.certificate(NAME).replace(self.file)
                until(lambda: self.shown() == self.written() != before, "the new one, shown")  # noqa: B023 - this round's
        self.assert_echoes(established)

    def test_invalid_certificate_changes_nothing(self):
        """The previous certificate stays in use, and a later valid one is loaded."""
        before = self.shown()
        good = self.file.read_bytes()
        key = good[good.index(b"-----BEGIN PRIVATE KEY") :]
        self.authority.certificate(NAME)
        other = self.file.read_bytes()
        broken = other[: other.index(b"-----BEGIN PRIVATE KEY")] + key  # a key that does not fit
        self.file.write_bytes(broken)
        until(lambda: "certificate not renewed" in self.running.printed, "the log telling of it")
        self.assertEqual(self.shown(), before)
        self.file.write_bytes(other)
        until(lambda: self.shown() == self.written(), "the good one, shown")
