"""OCSP requests, and which responses are valid."""

from __future__ import annotations

from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.errors import InvalidOcspResponse, OcspRequestImpossible
from smartproxy.tls.ocsp.messages import OcspRequest, OcspResponse, read, request_for
from tests.tls.made import DAY, Authority, Leaf, builder, key, named
from tests.tls.responders import HOUR, NOW, REVOKED, UNKNOWN, URL, Responder, delegate

CA = Authority()
LEAF = CA.leaf("a.example", ocsp=URL)
OURS = Responder(CA)
EPOCH = NOW.timestamp()


def chain(leaf: Leaf) -> list[x509.Certificate]:
    return [leaf.certificate, *leaf.above]


REQUEST = request_for(chain(LEAF))


class RequestTests(SynchronousTestCase):
    def named(self, *places: tuple[x509.ObjectIdentifier, x509.GeneralName]) -> Leaf:
        access = x509.AuthorityInformationAccess([x509.AccessDescription(*place) for place in places])
        made = builder(named("b"), CA.subject, key()).add_extension(access, critical=False)
        return Leaf(made.sign(CA.key, hashes.SHA256()), key(), (CA.certificate,))

    def unasked(self, *certificates: x509.Certificate) -> str:
        with self.assertRaises(OcspRequestImpossible) as caught:
            request_for(certificates)
        return str(caught.exception)

    def test_request_identifies_the_certificate_by_sha1(self) -> None:
        asked = ocsp.load_der_ocsp_request(REQUEST.der)
        self.assertEqual((REQUEST.url, asked.serial_number), (URL, LEAF.certificate.serial_number))
        self.assertEqual(asked.hash_algorithm.name, "sha1")
        self.assertEqual(len(asked.extensions), 0)

    def test_no_request_without_a_responder_or_the_issuer(self) -> None:
        plain = CA.leaf("a.example")
        self.assertIn("names no responder", self.unasked(plain.certificate, CA.certificate))
        self.assertIn("issuer is not in the file", self.unasked(LEAF.certificate))
        namesake = Authority()
        self.assertIn("issuer is not in the file", self.unasked(LEAF.certificate, namesake.certificate))

    def test_issuer_is_found_anywhere_in_the_chain(self) -> None:
        found = request_for([LEAF.certificate, Authority("other").certificate, CA.certificate])
        self.assertEqual(found.issuer, CA.certificate)

    def test_unsupported_signature_or_key_is_not_the_issuer(self) -> None:
        """Requests are also made during a handshake, which must not fail for it."""
        for changed, known in ((LEAF.certificate, "2a8648ce3d040302"), (CA.certificate, "2a8648ce3d030107")):
            der = changed.public_bytes(serialization.Encoding.DER)
            old = bytes.fromhex(known)
            self.assertIn(old, der)
            strange = x509.load_der_x509_certificate(der.replace(old, old[:-1] + b"\x7f"))
            pair = (strange, CA.certificate) if changed is LEAF.certificate else (LEAF.certificate, strange)
            self.assertIn("issuer is not in the file", self.unasked(*pair))

    def test_only_printable_http_urls_are_responders(self) -> None:
        uri = x509.UniformResourceIdentifier
        kind = AuthorityInformationAccessOID
        unusable = (
            (kind.OCSP, uri("https://ocsp.example/")),
            (kind.OCSP, uri("ldap://ocsp.example/")),
            (kind.OCSP, uri("http://ocsp.example/\nall-is-well")),
            (kind.OCSP, x509.DNSName("ocsp.example")),
            (kind.CA_ISSUERS, uri("http://ca.example/ca.der")),
        )
        leaf = self.named(*unusable)
        self.assertIn("names no responder", self.unasked(*chain(leaf)))
        leaf = self.named(*unusable, (kind.OCSP, uri("HTTP://second.example/ocsp")))
        self.assertEqual(request_for(chain(leaf)).url, "HTTP://second.example/ocsp")


class ReadCase(SynchronousTestCase):
    def refused(self, der: bytes, now: float = EPOCH, request: OcspRequest = REQUEST) -> str:
        with self.assertRaises(InvalidOcspResponse) as caught:
            read(der, request, now)
        return str(caught.exception)


class ContentTests(ReadCase):
    def test_good_response_is_valid_from_this_to_next_update(self) -> None:
        der = OURS.answer(LEAF)
        hours = HOUR.total_seconds()
        self.assertEqual(
            read(der, REQUEST, EPOCH), OcspResponse(der, "good", EPOCH - hours, EPOCH + 7 * hours, "")
        )

    def test_revoked_response_has_time_and_reason(self) -> None:
        found = read(OURS.answer(LEAF, REVOKED), REQUEST, EPOCH)
        when = f"{NOW - DAY:%Y-%m-%d %H:%M} UTC"
        self.assertEqual((found.status, found.detail), ("revoked", f"revoked on {when}, keyCompromise"))

    def test_unknown_is_a_valid_status(self) -> None:
        self.assertEqual(read(OURS.answer(LEAF, UNKNOWN), REQUEST, EPOCH).status, "unknown")

    def test_certificate_id_may_use_another_hash(self) -> None:
        self.assertEqual(read(OURS.answer(LEAF, algorithm=hashes.SHA256()), REQUEST, EPOCH).status, "good")

    def test_response_for_another_certificate_is_rejected(self) -> None:
        self.assertIn("another certificate", self.refused(OURS.answer(CA.leaf("a.example", ocsp=URL))))

    def test_same_serial_number_of_another_issuer_is_rejected(self) -> None:
        """An issuer with the same name and another key, or with another name, is another issuer."""
        for other in (Authority(), Authority("other")):
            der = OURS.answer(LEAF, issuer=other.certificate)
            self.assertIn("another certificate", self.refused(der))

    def test_error_of_the_responder_is_rejected(self) -> None:
        der = ocsp.OCSPResponseBuilder.build_unsuccessful(ocsp.OCSPResponseStatus.TRY_LATER)
        self.assertIn("try_later", self.refused(der.public_bytes(serialization.Encoding.DER)))

    def test_garbage_and_truncated_responses_are_rejected(self) -> None:
        der = OURS.answer(LEAF)
        self.assertIn("malformed", self.refused(b""))
        self.assertIn("malformed", self.refused(b"<html>a hotel's wireless network</html>"))
        for end in range(0, len(der), 7):
            self.refused(der[:end])


class TimeTests(ReadCase):
    def test_response_is_valid_from_its_first_to_its_last_second(self) -> None:
        der = OURS.answer(LEAF, start=-HOUR, end=HOUR)
        first, last = EPOCH - 3600, EPOCH + 3599
        for now in (first, last):
            self.assertEqual(read(der, REQUEST, now).status, "good")
        self.assertIn("is not valid before", self.refused(der, first - 1))
        self.assertIn("expired on", self.refused(der, last + 1))

    def test_response_without_next_update_is_rejected(self) -> None:
        self.assertIn("has no nextUpdate", self.refused(OURS.answer(LEAF, end=None)))


class SignatureTests(ReadCase):
    def test_issuer_may_be_named_by_subject_or_by_key_hash(self) -> None:
        for by_key in (False, True):
            self.assertEqual(read(OURS.answer(LEAF, by_key=by_key), REQUEST, EPOCH).status, "good")

    def test_changed_bit_of_the_signature_is_rejected(self) -> None:
        der = OURS.answer(LEAF)
        broken = bytearray(der)
        broken[-1] ^= 1
        self.assertIn("has an invalid signature", self.refused(bytes(broken)))

    def test_other_key_with_the_name_of_the_issuer_is_rejected(self) -> None:
        impostor = Authority()
        der = Responder(impostor).answer(LEAF, issuer=CA.certificate)
        self.assertIn("has an invalid signature", self.refused(der))

    def test_valid_signature_over_sha1_is_rejected(self) -> None:
        """cryptography does not make such a response, so it is assembled here."""
        signer = delegate(CA, kind="rsa")
        der = Responder(CA, signer).answer(LEAF)
        found = ocsp.load_der_ocsp_response(der)
        sha1 = hashes.SHA1()  # noqa: S303 - to be refused
        signature = signer.key.sign(found.tbs_response_bytes, padding.PKCS1v15(), sha1)
        rsa_with_sha256, rsa_with_sha1 = (bytes.fromhex(f"2a864886f70d0101{last}") for last in ("0b", "05"))
        der = der.replace(found.signature, signature).replace(rsa_with_sha256, rsa_with_sha1)
        self.assertIn("signed with SHA1", self.refused(der))

    def test_signature_of_a_stranger_is_rejected(self) -> None:
        stranger = Authority("stranger")
        ours = CA.certificate
        self.assertIn("unknown responder", self.refused(Responder(stranger).answer(LEAF, issuer=ours)))


class DelegateTests(ReadCase):
    def answer(self, **made: Any) -> bytes:
        return Responder(CA, delegate(CA, **made)).answer(LEAF)

    def test_delegate_of_the_issuer_is_accepted(self) -> None:
        for by_key in (False, True):
            der = Responder(CA, delegate(CA)).answer(LEAF, by_key=by_key)
            self.assertEqual(read(der, REQUEST, EPOCH).status, "good")

    def test_delegate_may_have_a_key_of_any_type(self) -> None:
        for kind in ("ec", "p384", "rsa", "ed25519"):
            self.assertEqual(read(self.answer(kind=kind), REQUEST, EPOCH).status, "good")

    def test_delegate_may_have_the_name_of_the_issuer(self) -> None:
        self.assertEqual(read(self.answer(name="test authority"), REQUEST, EPOCH).status, "good")

    def test_delegate_without_ocsp_signing_is_rejected(self) -> None:
        for usage in (None, ExtendedKeyUsageOID.SERVER_AUTH):
            self.assertIn("is not for OCSP", self.refused(self.answer(usage=usage)))

    def test_expired_or_future_delegate_is_rejected(self) -> None:
        for start, end in ((-2 * DAY, -DAY), (DAY, 2 * DAY)):
            self.assertIn("is not valid now", self.refused(self.answer(start=start, end=end)))

    def test_delegate_of_another_authority_is_rejected(self) -> None:
        """Also if that authority has the same name."""
        for other in (Authority("other"), Authority()):
            der = Responder(CA, delegate(other)).answer(LEAF)
            self.assertIn("has not authorised", self.refused(der))

    def test_server_certificate_of_the_issuer_is_no_delegate(self) -> None:
        der = Responder(CA, CA.leaf("b.example")).answer(LEAF)
        self.assertIn("is not for OCSP", self.refused(der))

    def test_response_expires_with_the_certificate_of_its_delegate(self) -> None:
        found = read(Responder(CA, delegate(CA)).answer(LEAF, end=10 * DAY), REQUEST, EPOCH)
        self.assertEqual(found.until, (NOW + DAY).timestamp())
