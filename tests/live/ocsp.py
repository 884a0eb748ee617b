"""A certificate authority with OpenSSL's OCSP responder, and what clients get of its responses."""

from __future__ import annotations

import re

from cryptography import x509

from tests.live.programs import needed
from tests.live.terminating import NAME, TlsCase


class OcspCase(TlsCase):
    """A test of a proxy, :attr:`running`, with certificates that name a responder."""

    def setUp(self):
        super().setUp()
        self.at = self.port()
        self.url = f"http://127.0.0.1:{self.at}/"

    def issued(self, authority=None):
        """Path of a certificate with the URL of the test's responder."""
        return (authority or self.authority).certificate(NAME, ocsp=self.url)

    def responder(self, *files, revoked=()):
        """Start ``openssl ocsp`` with the status of the certificates in these files."""
        lines = [_indexed(file, revoked=file in revoked) for file in files]
        index = self.file("index.txt", "".join(lines))
        ca = self.authority.file
        self.program(
            needed("openssl"), "ocsp", "-index", index, "-CA", ca, "-rsigner", ca,
            "-rkey", self.authority.key_file(), "-port", self.at, "-nmin", "5",
        ).listens(self.at)  # fmt: skip

    def counted(self, result):
        """Number of responses with this result."""
        text = self.running.ask("/metrics")[1].decode()
        return int(
            re.search(rf'^smartproxy_ocsp_responses_total{{result="{result}"}} (\d+)$', text, re.MULTILINE)[1]
        )

    def asked(self, front, *options):
        """Output of ``openssl s_client`` that requests the status."""
        return self.s_client(front, "-status", "-servername", NAME, *options).stdout


def _certificate(file):
    return x509.load_pem_x509_certificate(file.read_bytes())


def serial_of(file):
    """The serial number as OpenSSL prints it: an even number of digits."""
    digits = f"{_certificate(file).serial_number:X}"
    return digits if len(digits) % 2 == 0 else f"0{digits}"


def _indexed(file, *, revoked):
    """A line of the database of openssl-ca(1)."""
    certificate = _certificate(file)
    until_ = f"{certificate.not_valid_after_utc:%y%m%d%H%M%SZ}"
    since = f"{certificate.not_valid_before_utc:%y%m%d%H%M%SZ},keyCompromise" if revoked else ""
    state = "R" if revoked else "V"
    serial = serial_of(file)  # also used as the name, which OpenSSL requires to be unique
    return f"{state}\t{until_}\t{since}\t{serial}\tunknown\t/CN={serial}\n"
