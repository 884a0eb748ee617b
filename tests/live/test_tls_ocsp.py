"""OCSP stapling with OpenSSL's responder and client, and with a responder that does not answer."""

from __future__ import annotations

import socket

from tests.live.backends import echo
from tests.live.ocsp import OcspCase, serial_of
from tests.live.terminating import NAME
from tests.live.waiting import until


class StaplingTests(OcspCase):
    def begin(self, file):
        front = self.port()
        self.running = self.proxy(self.ending("one", front, self.backend(echo), certificates=[file]))
        return front

    def stapled(self):
        """The status of the only certificate's response in the admin API."""
        [shown] = self.running.api("certificates")["certificates"]
        return shown["ocsp"]

    def becomes(self, status):
        until(lambda: self.stapled()["status"] == status, f"{status}, and not {self.stapled()}")

    def test_response_is_stapled_for_clients_that_request_it(self):
        """After the certificate is replaced on disk, the response for the new one is stapled."""
        file = self.issued()
        (self.directory / "beside").mkdir()
        beside = self.issued(self.authority.writing_to(self.directory / "beside"))
        self.responder(file, beside)
        front = self.begin(file)
        self.becomes("good")
        serial = serial_of(file)
        for version in ("-tls1_2", "-tls1_3"):
            said = self.asked(front, version)
            self.assertIn("OCSP Response Status: successful", said)
            self.assertIn("Cert Status: good", said)
            self.assertIn(f"Serial Number: {serial}", said)
            self.assertIn("Verify return code: 0 (ok)", said)
        self.assertNotIn("OCSP Response Status", self.s_client(front, "-servername", NAME).stdout)

        serial = serial_of(beside)
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
