"""Keys and signatures, against the examples of the RFCs."""

from __future__ import annotations

import hmac
import json

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.acme.jose import AccountKey, base64url, external_binding, thumbprint_of
from tests.acme.directory import decoded, verified
from tests.tls.made import key, key_pem

#: RFC 7638, 3.1.
RSA_KEY = {
    "kty": "RSA",
    "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhM"
    "stn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n9"
    "1CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",
    "e": "AQAB",
    "alg": "RS256",
    "kid": "2011-04-29",
}
#: RFC 7515, A.3.
EC_KEY = {
    "kty": "EC",
    "crv": "P-256",
    "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
}
EC_PRIVATE = "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"
EC_SIGNED = {
    "protected": "eyJhbGciOiJFUzI1NiJ9",
    "payload": "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ",
    "signature": "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
}
URL = "https://acme.test/new-order"


def rfc_key() -> AccountKey:
    private = int.from_bytes(decoded(EC_PRIVATE), "big")
    return AccountKey(ec.derive_private_key(private, ec.SECP256R1()))


class RfcTests(SynchronousTestCase):
    def test_thumbprint_is_that_of_rfc_7638(self) -> None:
        """Optional members of the key do not count."""
        self.assertEqual(thumbprint_of(RSA_KEY), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs")

    def test_public_key_is_that_of_rfc_7515(self) -> None:
        """The example of A.3."""
        self.assertEqual(rfc_key().jwk, EC_KEY)

    def test_signature_of_rfc_7515_verifies_as_ours_do(self) -> None:
        """The verifier of these tests is right, so what it accepts is a JWS."""
        verified(EC_KEY, EC_SIGNED)
        verified(EC_KEY, json.loads(rfc_key().sign(b"{}", url=URL, nonce="n")))
        with self.assertRaises(InvalidSignature):
            verified(EC_KEY, {**EC_SIGNED, "payload": "eyJ9"})


class AccountKeyTests(SynchronousTestCase):
    def header(self, **more: str) -> dict[str, object]:
        return json.loads(decoded(json.loads(rfc_key().sign(b"", url=URL, **more))["protected"]))

    def test_header_has_the_account_or_the_key(self) -> None:
        """RFC 8555, 6.2: exactly one of these."""
        self.assertEqual(
            self.header(nonce="n", kid="https://a"),
            {"alg": "ES256", "url": URL, "nonce": "n", "kid": "https://a"},
        )
        self.assertEqual(self.header(nonce="n"), {"alg": "ES256", "url": URL, "nonce": "n", "jwk": EC_KEY})
        self.assertNotIn("nonce", self.header())

    def test_a_key_is_the_same_after_pem(self) -> None:
        """The storage keeps it as PEM."""
        made = AccountKey.generate()
        self.assertEqual(AccountKey.from_pem(made.pem).jwk, made.jwk)
        self.assertNotEqual(AccountKey.generate().thumbprint, made.thumbprint)

    def test_other_keys_and_files_are_value_errors(self) -> None:
        """What the storage reads may be damaged, or another file."""
        for pem in (b"", b"x", key_pem(key("rsa")), key_pem(key("p384")), key_pem(key("ec"), b"secret")):
            with self.assertRaises(ValueError):
                AccountKey.from_pem(pem)

    @given(st.integers(min_value=1, max_value=2**16))
    def test_coordinates_have_32_bytes(self, private: int) -> None:
        """RFC 7518, 6.2.1.2: one that is shorter is padded."""
        made = AccountKey(ec.derive_private_key(private, ec.SECP256R1()))
        self.assertEqual({len(decoded(made.jwk[name])) for name in "xy"}, {32})
        verified(made.jwk, json.loads(made.sign(b"x", url=URL)))

    @given(st.binary())
    def test_base64url_has_no_padding(self, data: bytes) -> None:
        """RFC 7515, 2: a padded value is refused."""
        self.assertRegex(base64url(data), r"\A[A-Za-z0-9_-]*\Z")
        self.assertEqual(decoded(base64url(data)), data)


class ExternalBindingTests(SynchronousTestCase):
    def test_binding_signs_the_key_with_the_shared_secret(self) -> None:
        """RFC 8555, 7.3.4."""
        made = external_binding(rfc_key(), URL, "kid-1", b"secret")
        self.assertEqual(json.loads(decoded(made["protected"])), {"alg": "HS256", "kid": "kid-1", "url": URL})
        self.assertEqual(json.loads(decoded(made["payload"])), EC_KEY)
        signed = f"{made['protected']}.{made['payload']}".encode()
        self.assertEqual(decoded(made["signature"]), hmac.digest(b"secret", signed, "sha256"))
