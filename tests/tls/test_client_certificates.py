"""Client certificates: which are accepted, which are refused, and the identity that is read from them."""

from __future__ import annotations

from typing import Any

from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.errors import TlsError
from smartproxy.model.plan import ClientAuthPlan
from smartproxy.tls.identity import checked_pattern, identity_of, matches, peer_identity
from tests.tls import talk
from tests.tls.made import DAY, Authority, Leaf

CA = Authority()
STRANGER = Authority("stranger")
SERVER = CA.leaf("a.example").plan()
ROBOT = CA.leaf("robot.clients.example", common_name="robot", client=True)
REVOKED = CA.leaf("old.clients.example", common_name="old", client=True)


class VerificationTests(SynchronousTestCase):
    def connect(self, shown: Leaf | None, *, most: int = 0, **asked: Any) -> SSL.Connection:
        auth = ClientAuthPlan(**{"required": True, "ca": CA.pem, **asked})
        to = talk.route(SERVER, client_auth=auth)
        connecting = talk.client(CA, certificate=shown, most=most)
        return talk.connected(talk.contexts(talk.proxy(to)), to, connecting)

    def refused(self, shown: Leaf | None, **asked: Any) -> str:
        """Why the handshake fails, in TLS 1.2 and 1.3 alike."""
        why = {str(self.assertRaises(TlsError, self.connect, shown, **asked)),
               str(self.assertRaises(TlsError, self.connect, shown, most=SSL.TLS1_2_VERSION, **asked))}  # fmt: skip
        self.assertEqual(len(why), 1)
        return why.pop()

    def test_valid_certificate_is_accepted_and_its_identity_known(self) -> None:
        for most in (0, SSL.TLS1_2_VERSION):
            known = peer_identity(self.connect(ROBOT, most=most))
            self.assertEqual(known, identity_of(ROBOT.certificate, verified=True))
            self.assertEqual((known.common_name, known.names), ("robot", ("DNS:robot.clients.example",)))

    def test_client_without_certificate_is_refused_where_required(self) -> None:
        with self.assertRaises(SSL.Error):
            self.connect(None)

    def test_client_without_certificate_is_accepted_where_requested(self) -> None:
        self.assertIsNone(peer_identity(self.connect(None, required=False)))

    def test_unverifiable_certificate_is_refused_even_if_optional(self) -> None:
        shown = STRANGER.leaf("robot.clients.example", client=True)
        for required in (True, False):
            self.assertIn("its issuer is unknown", self.refused(shown, required=required))

    def test_expired_certificate_is_refused(self) -> None:
        shown = CA.leaf("robot.clients.example", client=True, start=-9 * DAY, end=-DAY)
        self.assertEqual(self.refused(shown), "certificate of the client: it has expired")

    def test_server_certificate_of_a_client_is_refused(self) -> None:
        self.assertIn("it is not valid for this purpose", self.refused(CA.leaf("robot.clients.example")))

    def test_revoked_certificate_is_refused_only_with_a_crl(self) -> None:
        crl = CA.crl(REVOKED)
        self.assertEqual(self.refused(REVOKED, crl=crl), "certificate of the client: it is revoked")
        self.assertIsNotNone(peer_identity(self.connect(ROBOT, crl=crl)))
        self.assertIsNotNone(peer_identity(self.connect(REVOKED)))

    def test_missing_or_expired_crl_of_the_issuer_refuses_all(self) -> None:
        self.assertIn("there is no revocation list", self.refused(ROBOT, crl=STRANGER.crl()))
        self.assertIn("has expired", self.refused(ROBOT, crl=CA.crl(end=-DAY)))

    def test_certificate_of_a_revoked_authority_is_refused(self) -> None:
        middle = Authority("middle", above=CA)
        shown = middle.leaf("robot.clients.example", client=True)
        revoked = CA.crl(Leaf(middle.certificate, middle.key)) + middle.crl()
        self.assertIsNotNone(peer_identity(self.connect(shown, crl=CA.crl() + middle.crl())))
        self.assertEqual(self.refused(shown, crl=revoked), "certificate of the client: it is revoked")

    def test_certificate_without_a_matching_name_is_refused(self) -> None:
        self.assertIsNotNone(peer_identity(self.connect(ROBOT, match=("DNS:x.test", "CN:robot"))))
        self.assertIn(
            "none of the names in clientAuth.match", self.refused(ROBOT, match=("DNS:x.test", "CN:rob"))
        )

    def test_any_certificate_is_accepted_unverified_without_ca(self) -> None:
        accepted = self.connect(STRANGER.leaf("anyone", client=True), ca=b"")
        self.assertFalse(peer_identity(accepted, verified=False).verified)

    def test_client_is_sent_the_names_of_the_authorities(self) -> None:
        to = talk.route(SERVER, client_auth=ClientAuthPlan(required=False, ca=CA.pem + STRANGER.pem))
        connecting = talk.client(CA, most=SSL.TLS1_2_VERSION)
        talk.connected(talk.contexts(talk.proxy(to)), to, connecting)
        told = [name.rfc4514_string() for name in connecting.get_client_ca_list(as_cryptography=True)]
        self.assertEqual(told, ["CN=test authority", "CN=stranger"])


class PatternTests(SynchronousTestCase):
    def setUp(self) -> None:
        leaf = CA.leaf("Robot.Clients.example", "192.0.2.1", "spiffe://cluster/web", common_name="robot 7")
        self.known = identity_of(leaf.certificate, verified=True)

    def test_pattern_matches_names_of_its_kind(self) -> None:
        for pattern in ("DNS:robot.clients.example", "DNS:*.clients.example", "DNS:*.example",
                        "CN:robot 7", "CN:robot*", "IP:192.0.2.1", "IP:::ffff:192.0.2.1",
                        "URI:spiffe://cluster/*", "CN:*"):  # fmt: skip
            checked_pattern(pattern)
            self.assertTrue(matches(self.known, [pattern]), pattern)

    def test_pattern_does_not_match_other_names(self) -> None:
        for pattern in ("DNS:clients.example", "DNS:*.robot.clients.example", "DNS:*.lients.example",
                        "CN:robot", "CN:obot 7", "IP:192.0.2.10", "URI:spiffe://other/*", "EMAIL:*",
                        "CN:robot.7", "DNS:robot 7"):  # fmt: skip
            self.assertFalse(matches(self.known, [pattern]), pattern)

    def test_one_matching_pattern_is_enough_and_none_matches_all(self) -> None:
        self.assertTrue(matches(self.known, ["CN:x", "CN:robot 7"]))
        self.assertTrue(matches(self.known, []))

    def test_pattern_that_no_name_can_match_is_invalid(self) -> None:
        for pattern in ("robot", "SAN:x", "DNS:", "DNS:a*.example", "DNS:\u00fc.example", "IP:192.0.2.300"):
            self.assertRaises(ValueError, checked_pattern, pattern)
