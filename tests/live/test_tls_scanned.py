"""testssl.sh finds nothing of more than low severity on a port with each TLS profile."""

from __future__ import annotations

import json

from tests.live.backends import page
from tests.live.programs import needed
from tests.live.terminating import NAME, TlsCase

#: Checks: protocols, cipher categories, forward secrecy, server defaults and headers, and the vulnerabilities that do
#: not follow from a cipher or protocol. Renegotiation is tested in test_tls_clients: here it would take 30 s.
_ASKED = {
    "modern": ["-p", "-s", "-f", "-S", "-H"],
    "intermediate": ["-p", "-s", "-f", "-S", "-H", "-T", "-BB", "-C", "-Z", "-W", "-L"],
}
_KEYS = {"modern": "ecdsa", "intermediate": "rsa"}
_FINE = frozenset({"OK", "INFO", "LOW", "WARN"})  # a warning is about the scanner itself
#: Findings about every certificate made for a test.
_OF_THE_TEST = {
    "cert_expirationStatus": "it lives for a day",
    "cert_notAfter": "it lives for a day",
    "cert_revocation": "its authority publishes nothing",
}
_WITHIN = 240.0


class ScannedTests(TlsCase):
    def test_scan_of_each_profile_finds_nothing_above_low(self):
        scanner = needed("testssl")
        backend, ports = self.backend(page("inside")), {profile: self.port() for profile in _ASKED}
        shown = {profile: self.authority.certificate(NAME, kind) for profile, kind in _KEYS.items()}
        self.proxy(
            *(
                self.ending(profile, port, backend, certificates=[shown[profile]], profile=profile)
                for profile, port in ports.items()
            )
        )
        scans = {profile: self.scan(scanner, profile, port) for profile, port in ports.items()}
        for profile, (running, file) in scans.items():
            with self.subTest(profile=profile):
                # The exit code is ignored, since it counts the scanner's own errors, too: a TLS 1.3 client that closes right
                # after the handshake may not have read its session ticket, and then cannot resume.
                running.wait(_WITHIN)
                self.assertIn("Done ", running.printed)
                found = json.loads(file.read_text())
                self.assertEqual([each for each in found if self.is_bad(each)], [])
                told = {each["id"]: each["finding"] for each in found}
                self.assertTrue(told["TLS1_3"].startswith("offered"), told["TLS1_3"])
                self.assertEqual(
                    told["TLS1_2"].startswith("offered"), profile == "intermediate", told["TLS1_2"]
                )
                self.assertEqual(told["TLS1_1"], "not offered")
                self.assertIn("heartbleed", told)

    def scan(self, scanner, profile, port):
        """Start the scanner; the process and the file of its findings."""
        file = self.directory / f"{profile}.json"
        running = self.program(
            scanner, "--quiet", "--color", "0", "--warnings", "off", "--nodns", "none", "--ip", "127.0.0.1",
            "--fast", "--add-ca", self.authority.file, "--jsonfile", file, *_ASKED[profile], f"https://{NAME}:{port}",
        )  # fmt: skip
        return running, file

    def is_bad(self, finding):
        name = finding["id"].partition(" ")[0]
        return finding["severity"] not in _FINE and name not in _OF_THE_TEST
