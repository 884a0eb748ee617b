"""OCSP stapling with OpenSSL's responder and client, and with a responder that does not answer."""

from __future__ import annotations

import re
import socket

from cryptography import x509

from tests.live.backends import echo
from tests.live.programs import needed
from tests.live.terminating import NAME, TlsCase
from tests.live.waiting import until


class StaplingTests(TlsCase):
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

    def begin(self, file):
        front = self.port()
        self.running = self.proxy(self.ending("one", front, self.backend(echo), certificates=[file]))
        return front

    def stapled(self):
        """The status of the only certificate's response in the admin API."""
        [shown] = self.running.api("certificates")["certificates"]
        return shown["ocsp"]

    def counted(self, result):
        """Number of responses with this result."""
        text = self.running.ask("/metrics")[1].decode()
        return int(
            re.search(rf'^smartproxy_ocsp_responses_total{{result="{result}"}} (\d+)$', text, re.MULTILINE)[1]
        )

    def becomes(self, status):
        until(lambda: self.stapled()["status"] == status, f"{status}, and not {self.stapled()}")

    def asked(self, front, *options):
        """Output of ``openssl s_client`` that requests the status."""
        return self.s_client(front, "-status", "-servername", NAME, *options).stdout

    def test_response_is_stapled_for_clients_that_request_it(self):
        """After the certificate is replaced on disk, the response for the new one is stapled."""
        file = self.issued()
        (self.directory / "beside").mkdir()
        beside = self.issued(self.authority.writing_to(self.directory / "beside"))
        self.responder(file, beside)
        front = self.begin(file)
        self.becomes("good")
        serial = _serial(file)
        for version in ("-tls1_2", "-tls1_3"):
            said = self.asked(front, version)
            self.assertIn("OCSP Response Status: successful", said)
            self.assertIn("Cert Status: good", said)
            self.assertIn(f"Serial Number: {serial}", said)
            self.assertIn("Verify return code: 0 (ok)", said)
        self.assertNotIn("OCSP Response Status", self.s_client(front, "-servername", NAME).stdout)

        serial = _serial(beside)
        beside.replace(file)
        until(lambda: self.counted("good") == 2, "a second response")
        self.assertIn(f"Serial Number: {serial}", self.asked(front))

    def test_revoked_certificate_is_reported_and_not_stapled(self):
        file = self.issued()
        self.responder(file, revoked=[file])
        front = self.begin(file)
        self.becomes("revoked")
        self.assertIn("keyCompromise", self.stapled()["detail"])
        self.assertIn("OCSP response: no response sent", self.asked(front))
        self.assertIn(f"CERTIFICATE {NAME} IS REVOKED", self.running.printed)

    def test_silent_responder_delays_no_handshake(self):
        """It accepts the request and never answers; clients are served meanwhile."""
        with socket.create_server(("127.0.0.1", self.at)) as silent:
            front = self.begin(self.issued())
            question, _ = silent.accept()
            with question:
                self.assertTrue(question.recv(4).startswith(b"POST"))
                for _ in range(3):
                    client = self.secure(front)
                    self.assert_echoes(client)
                self.assertIn("OCSP response: no response sent", self.asked(front))
                self.assertEqual(self.stapled()["detail"], "the responder has not answered yet")


def _certificate(file):
    return x509.load_pem_x509_certificate(file.read_bytes())


def _serial(file):
    """The serial number as OpenSSL prints it: an even number of digits."""
    digits = f"{_certificate(file).serial_number:X}"
    return digits if len(digits) % 2 == 0 else f"0{digits}"


def _indexed(file, *, revoked):
    """A line of the database of openssl-ca(1)."""
    certificate = _certificate(file)
    until_ = f"{certificate.not_valid_after_utc:%y%m%d%H%M%SZ}"
    since = f"{certificate.not_valid_before_utc:%y%m%d%H%M%SZ},keyCompromise" if revoked else ""
    state = "R" if revoked else "V"
    serial = _serial(file)  # also used as the name, which OpenSSL requires to be unique
    return f"{state}\t{until_}\t{since}\t{serial}\tunknown\t/CN={serial}\n"
