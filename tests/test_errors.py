"""The exception classes: what code that knows nothing of smartproxy sees in them."""

from __future__ import annotations

from twisted.internet.error import ConnectionLost
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from smartproxy import errors
from smartproxy.model.outcome import RejectReason


class ErrorsTests(SynchronousTestCase):
    def test_a_truncated_connection_is_a_lost_one_for_twisted(self) -> None:
        """A protocol that serves connections checks the reason for ConnectionLost, not for a class of smartproxy."""
        failure = Failure(errors.ConnectionTruncated("no close_notify"))
        self.assertIs(failure.check(ConnectionLost), ConnectionLost)
        self.assertIn("no close_notify", failure.getErrorMessage())

    def test_invalid_input_is_a_value_error(self) -> None:
        """An embedder who reads a certificate may catch ValueError, as for any other invalid value."""
        for made in (
            errors.InvalidCertificate("a.pem: expired", "cert_file"),
            errors.InvalidAddressFile(["a.txt:1: must be an IP address"]),
            errors.InvalidOcspResponse("has expired"),
            errors.OcspRequestImpossible("the certificate names no responder"),
            errors.NotAutomatic("the certificate for 'a.example' is read from 'a.pem'"),
        ):
            self.assertIsInstance(made, ValueError)

    def test_a_refusal_carries_its_label_and_detail(self) -> None:
        refused = errors.Refused(RejectReason.NO_ROUTE, "no route for a.example")
        self.assertEqual((refused.reason, refused.detail), (RejectReason.NO_ROUTE, "no route for a.example"))
        for made in (errors.HandshakeFailed("no shared cipher"), errors.NotTls()):
            self.assertIs(made.reason, RejectReason.TLS_ERROR)

    def test_a_configuration_error_lists_its_problems(self) -> None:
        error = errors.ConfigurationError(
            ["a.yaml:1: routes: is required", "a.yaml:2: port: must be 1..65535"]
        )
        self.assertEqual(str(error).splitlines(), error.problems)
