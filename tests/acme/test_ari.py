"""When to renew: identifiers of certificates, and moments in windows (RFC 9773)."""

from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.acme.ari import (
    DEFAULT_INTERVAL,
    MAX_INTERVAL,
    MIN_INTERVAL,
    RenewalWindow,
    certificate_id,
    moment,
    read_renewal_info,
)
from smartproxy.acme.documents import AcmeDocument
from tests.tls.made import DAY, NOW, Authority, key, named

#: RFC 9773, appendix A.
EXAMPLE = b"""-----BEGIN CERTIFICATE-----
MIIBQzCB66ADAgECAgUAh2VDITAKBggqhkjOPQQDAjAVMRMwEQYDVQQDEwpFeGFt
cGxlIENBMCIYDzAwMDEwMTAxMDAwMDAwWhgPMDAwMTAxMDEwMDAwMDBaMBYxFDAS
BgNVBAMTC2V4YW1wbGUuY29tMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEeBZu
7cbpAYNXZLbbh8rNIzuOoqOOtmxA1v7cRm//AwyMwWxyHz4zfwmBhcSrf47NUAFf
qzLQ2PPQxdTXREYEnKMjMCEwHwYDVR0jBBgwFoAUaYhba4dGQEHhs3uEe6CuLN4B
yNQwCgYIKoZIzj0EAwIDRwAwRAIge09+S5TZAlw5tgtiVvuERV6cT4mfutXIlwTb
+FYN/8oCIClDsqBklhB9KAelFiYt9+6FDj3z4KGVelYM5MdsO3pK
-----END CERTIFICATE-----
"""
IDENTIFIER = bytes.fromhex("69885b6b87464041e1b37b847ba0ae2cde01c8d4")


def leaf(serial: int) -> x509.Certificate:
    made = (
        x509.CertificateBuilder()
        .subject_name(named("a.example"))
        .issuer_name(named("authority"))
        .public_key(key("ec").public_key())
        .serial_number(serial)
        .not_valid_before(NOW - DAY)
        .not_valid_after(NOW + DAY)
        .add_extension(x509.AuthorityKeyIdentifier(IDENTIFIER, None, None), critical=False)
    )
    return made.sign(key("ec"), hashes.SHA256())


class CertificateIdTests(SynchronousTestCase):
    def test_identifier_is_that_of_rfc_9773(self) -> None:
        """The example of appendix A."""
        self.assertEqual(
            certificate_id(x509.load_pem_x509_certificate(EXAMPLE)), "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE"
        )

    def test_serial_is_encoded_as_in_der(self) -> None:
        """A positive number whose first bit is set has a zero byte before it; no other has."""
        for serial, encoded in ((0x7F, "fw"), (0x80, "AIA"), (0x8765432100, "AIdlQyEA"), (0x01, "AQ")):
            self.assertEqual(certificate_id(leaf(serial)), f"aYhba4dGQEHhs3uEe6CuLN4ByNQ.{encoded}")

    def test_a_certificate_without_the_issuers_key_has_none(self) -> None:
        """Private authorities leave it out; then there is nothing to ask with."""
        self.assertIsNone(certificate_id(Authority().leaf("a.example").certificate))


class MomentTests(SynchronousTestCase):
    @given(st.floats(0, 1), st.floats(0, 1e10), st.floats(1, 1e7))
    def test_moments_are_in_the_window(self, chance: float, start: float, length: float) -> None:
        """Too early is refused by some authorities, and too late is an outage."""
        found = moment(RenewalWindow(start, start + length), lambda: chance)
        self.assertTrue(start <= found <= start + length + 1e-3)

    def test_moments_spread_over_the_window(self) -> None:
        """Start, middle and end are reached."""
        window = RenewalWindow(1000.0, 2000.0)
        self.assertEqual([moment(window, lambda each=each: each) for each in (0, 0.5, 1)], [1000, 1500, 2000])


class RenewalInfoTests(SynchronousTestCase):
    def read(self, wanted: float | None = None, **more: object) -> object:
        window = {"start": "2025-01-02T04:00:00.123456789z", "end": "2025-01-03t05:00:00+01:00"}
        return read_renewal_info(AcmeDocument({"suggestedWindow": window, **more}, "information"), wanted)

    def test_times_have_a_zone_and_fractions(self) -> None:
        """Go's encoder, which Boulder uses, writes nanoseconds."""
        start, end = self.read().window
        self.assertEqual(round(end - start, 3), 86400 - 0.123)

    def test_interval_has_bounds_and_a_default(self) -> None:
        """RFC 9773, 4.3: neither a flood of questions, nor none for a year."""
        for wanted, seconds in (
            (None, DEFAULT_INTERVAL), (0, MIN_INTERVAL), (7200, 7200), (10**9, MAX_INTERVAL)
        ):  # fmt: skip
            self.assertEqual(self.read(wanted).retry_after, seconds)

    def test_explanation_is_cleaned_for_the_log(self) -> None:
        """It comes from the network."""
        self.assertEqual(self.read(explanationURL="https://a/\n\x1b[31m").explanation, "https://a/ \\x1b[31m")
        self.assertEqual(self.read(explanationURL=5).explanation, "")
