"""Which OCSP responses are believed, and which are not; and what is asked."""

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

    def test_it_names_the_certificate_and_is_what_openssl_would_ask(self) -> None:
        asked = ocsp.load_der_ocsp_request(REQUEST.der)
        self.assertEqual((REQUEST.url, asked.serial_number), (URL, LEAF.certificate.serial_number))
        self.assertEqual(asked.hash_algorithm.name, "sha1")
        self.assertEqual(len(asked.extensions), 0)

    def test_without_a_responder_or_the_issuer_there_is_nothing_to_ask(self) -> None:
        plain = CA.leaf("a.example")
        self.assertIn("names no responder", self.unasked(plain.certificate, CA.certificate))
        self.assertIn("issuer is not in the file", self.unasked(LEAF.certificate))
        namesake = Authority()
        self.assertIn("issuer is not in the file", self.unasked(LEAF.certificate, namesake.certificate))

    def test_the_issuer_is_found_wherever_it_stands(self) -> None:
        found = request_for([LEAF.certificate, Authority("other").certificate, CA.certificate])
        self.assertEqual(found.issuer, CA.certificate)

    def test_what_cryptography_does_not_know_is_nobody_s_issuer(self) -> None:
        """A signature, or a key. Whoever asks may be in the middle of a handshake, and must not fail."""
        for changed, known in ((LEAF.certificate, "2a8648ce3d040302"), (CA.certificate, "2a8648ce3d030107")):
            der = changed.public_bytes(serialization.Encoding.DER)
            old = bytes.fromhex(known)
            self.assertIn(old, der)
            strange = x509.load_der_x509_certificate(der.replace(old, old[:-1] + b"\x7f"))
            pair = (strange, CA.certificate) if changed is LEAF.certificate else (LEAF.certificate, strange)
            self.assertIn("issuer is not in the file", self.unasked(*pair))

    def test_only_http_and_only_what_a_log_can_show(self) -> None:
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
    def test_good(self) -> None:
        der = OURS.answer(LEAF)
        hours = HOUR.total_seconds()
        self.assertEqual(
            read(der, REQUEST, EPOCH), OcspResponse(der, "good", EPOCH - hours, EPOCH + 7 * hours, "")
        )

    def test_revoked_says_when_and_why(self) -> None:
        found = read(OURS.answer(LEAF, REVOKED), REQUEST, EPOCH)
        when = f"{NOW - DAY:%Y-%m-%d %H:%M} UTC"
        self.assertEqual((found.status, found.detail), ("revoked", f"revoked on {when}, keyCompromise"))

    def test_unknown(self) -> None:
        self.assertEqual(read(OURS.answer(LEAF, UNKNOWN), REQUEST, EPOCH).status, "unknown")

    def test_the_id_may_be_made_with_another_hash(self) -> None:
        self.assertEqual(read(OURS.answer(LEAF, algorithm=hashes.SHA256()), REQUEST, EPOCH).status, "good")

    def test_another_certificate(self) -> None:
        self.assertIn("another certificate", self.refused(OURS.answer(CA.leaf("a.example", ocsp=URL))))

    def test_another_issuer_with_the_same_serial_number(self) -> None:
        """Of the same name and another key, or of another name: neither is ours, whoever has signed."""
        for other in (Authority(), Authority("other")):
            der = OURS.answer(LEAF, issuer=other.certificate)
            self.assertIn("another certificate", self.refused(der))

    def test_a_refusal(self) -> None:
        der = ocsp.OCSPResponseBuilder.build_unsuccessful(ocsp.OCSPResponseStatus.TRY_LATER)
        self.assertIn("try_later", self.refused(der.public_bytes(serialization.Encoding.DER)))

    def test_garbage_and_every_truncation(self) -> None:
        der = OURS.answer(LEAF)
        self.assertIn("malformed", self.refused(b""))
        self.assertIn("malformed", self.refused(b"<html>a hotel's wireless network</html>"))
        for end in range(0, len(der), 7):
            self.refused(der[:end])


class TimeTests(ReadCase):
    def test_its_first_and_its_last_second(self) -> None:
        der = OURS.answer(LEAF, start=-HOUR, end=HOUR)
        first, last = EPOCH - 3600, EPOCH + 3599
        for now in (first, last):
            self.assertEqual(read(der, REQUEST, now).status, "good")
        self.assertIn("is not valid before", self.refused(der, first - 1))
        self.assertIn("has expired", self.refused(der, last + 1))

    def test_one_that_does_not_say_when_it_ends(self) -> None:
        self.assertIn("does not say when it ends", self.refused(OURS.answer(LEAF, end=None)))


class SignatureTests(ReadCase):
    def test_the_issuer_by_its_name_or_its_key(self) -> None:
        for by_key in (False, True):
            self.assertEqual(read(OURS.answer(LEAF, by_key=by_key), REQUEST, EPOCH).status, "good")

    def test_one_bit_that_has_changed(self) -> None:
        der = OURS.answer(LEAF)
        broken = bytearray(der)
        broken[-1] ^= 1
        self.assertIn("has a wrong signature", self.refused(bytes(broken)))

    def test_another_key_under_the_name_of_the_issuer(self) -> None:
        impostor = Authority()
        der = Responder(impostor).answer(LEAF, issuer=CA.certificate)
        self.assertIn("has a wrong signature", self.refused(der))

    def test_a_digest_that_nobody_believes(self) -> None:
        """A signature that is right, and made over SHA-1: cryptography only makes it by hand."""
        signer = delegate(CA, kind="rsa")
        der = Responder(CA, signer).answer(LEAF)
        found = ocsp.load_der_ocsp_response(der)
        sha1 = hashes.SHA1()  # noqa: S303 - to be refused
        signature = signer.key.sign(found.tbs_response_bytes, padding.PKCS1v15(), sha1)
        rsa_with_sha256, rsa_with_sha1 = (bytes.fromhex(f"2a864886f70d0101{last}") for last in ("0b", "05"))
        der = der.replace(found.signature, signature).replace(rsa_with_sha256, rsa_with_sha1)
        self.assertIn("signed with SHA1", self.refused(der))

    def test_somebody_else(self) -> None:
        stranger = Authority("stranger")
        ours = CA.certificate
        self.assertIn("not known", self.refused(Responder(stranger).answer(LEAF, issuer=ours)))


class DelegateTests(ReadCase):
    def answer(self, **made: Any) -> bytes:
        return Responder(CA, delegate(CA, **made)).answer(LEAF)

    def test_one_whom_the_issuer_has_authorised(self) -> None:
        for by_key in (False, True):
            der = Responder(CA, delegate(CA)).answer(LEAF, by_key=by_key)
            self.assertEqual(read(der, REQUEST, EPOCH).status, "good")

    def test_keys_of_every_kind(self) -> None:
        for kind in ("ec", "p384", "rsa", "ed25519"):
            self.assertEqual(read(self.answer(kind=kind), REQUEST, EPOCH).status, "good")

    def test_one_that_has_the_name_of_the_issuer(self) -> None:
        self.assertEqual(read(self.answer(name="test authority"), REQUEST, EPOCH).status, "good")

    def test_a_certificate_for_something_else(self) -> None:
        for usage in (None, ExtendedKeyUsageOID.SERVER_AUTH):
            self.assertIn("is not for OCSP", self.refused(self.answer(usage=usage)))

    def test_one_whose_certificate_is_not_valid(self) -> None:
        for start, end in ((-2 * DAY, -DAY), (DAY, 2 * DAY)):
            self.assertIn("is not valid now", self.refused(self.answer(start=start, end=end)))

    def test_one_whom_another_authority_has_authorised(self) -> None:
        """Under our own authority's name, too."""
        for other in (Authority("other"), Authority()):
            der = Responder(CA, delegate(other)).answer(LEAF)
            self.assertIn("has not authorised", self.refused(der))

    def test_a_server_certificate_of_the_same_authority_may_not_answer(self) -> None:
        der = Responder(CA, CA.leaf("b.example")).answer(LEAF)
        self.assertIn("is not for OCSP", self.refused(der))

    def test_the_response_ends_with_its_certificate(self) -> None:
        found = read(Responder(CA, delegate(CA)).answer(LEAF, end=10 * DAY), REQUEST, EPOCH)
        self.assertEqual(found.until, (NOW + DAY).timestamp())
