"""The account's key, and the signatures that ACME wants: JWK, JWS and their encodings, without a network.

::

    key = AccountKey.generate()
    body = key.sign(b"{}", url=url, nonce=nonce, kid=account_url)      # the body of a POST
    key.thumbprint                                                     # for a challenge's key authorization

RFC 7515 is JWS, in its flattened JSON serialization (7.2.2); RFC 7517 JWK; RFC 7518 the algorithms; RFC 7638 the thumbprint. Keys
are P-256 and signatures ES256, which every ACME server must support (RFC 8555, 6.2).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import TYPE_CHECKING, Any, Final

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Bytes of a coordinate of P-256, and of each half of a signature (RFC 7518, 3.4).
_SIZE: Final = 32


def base64url(data: bytes) -> str:
    """Base64 for URLs without padding (RFC 7515, 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def compact_json(value: object) -> bytes:
    """JSON without whitespace, with the keys of an object in order: the same bytes for the same value."""
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode("ascii")


def thumbprint_of(jwk: Mapping[str, str]) -> str:
    """The SHA-256 thumbprint of a public key (RFC 7638, 3): of its required members only.

    :raises KeyError: if one is missing, or its ``kty`` is unknown.
    """
    required = {"EC": ("crv", "kty", "x", "y"), "RSA": ("e", "kty", "n")}[jwk["kty"]]
    return base64url(hashlib.sha256(compact_json({name: jwk[name] for name in required})).digest())


class AccountKey:
    """The private key of an account.

    :param key: on P-256.
    """

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key

    @classmethod
    def generate(cls) -> AccountKey:
        """A new key."""
        return cls(ec.generate_private_key(ec.SECP256R1()))

    @classmethod
    def from_pem(cls, pem: bytes) -> AccountKey:
        """The key in ``pem``.

        :raises ValueError: if it is not the unencrypted private key of a P-256 key pair.
        """
        try:
            key = serialization.load_pem_private_key(pem, None)
        except TypeError:
            raise ValueError("the account's key is encrypted") from None
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
            raise ValueError("the account's key is not an EC key on P-256")  # noqa: TRY004 - a wrong file, not a wrong type
        return cls(key)

    @property
    def pem(self) -> bytes:
        """The private key in PEM (PKCS #8), not encrypted."""
        return self._key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )

    @property
    def jwk(self) -> dict[str, str]:
        """The public key (RFC 7517; RFC 7518, 6.2)."""
        point = self._key.public_key().public_numbers()
        x, y = (base64url(number.to_bytes(_SIZE, "big")) for number in (point.x, point.y))
        return {"kty": "EC", "crv": "P-256", "x": x, "y": y}

    @property
    def thumbprint(self) -> str:
        """Identifies the key in a key authorization (RFC 8555, 8.1)."""
        return thumbprint_of(self.jwk)

    def sign(self, payload: bytes, *, url: str, nonce: str | None = None, kid: str | None = None) -> bytes:
        """The body of a request (RFC 8555, 6.2).

        :param payload: empty for POST-as-GET (6.3).
        :param nonce: ``None`` only within the request that changes the key (7.3.5).
        :param kid: the account's URL; ``None`` sends the public key instead, as for a new account.
        """
        header: dict[str, object] = {"alg": "ES256", "url": url}
        header.update({"jwk": self.jwk} if kid is None else {"kid": kid})
        if nonce is not None:
            header["nonce"] = nonce
        return _flattened(header, payload, self._signature)

    def _signature(self, signed: bytes) -> bytes:
        r, s = decode_dss_signature(self._key.sign(signed, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(_SIZE, "big") + s.to_bytes(_SIZE, "big")


def external_binding(key: AccountKey, url: str, key_id: str, hmac_key: bytes) -> dict[str, str]:
    """Binds an account to a customer of the authority (RFC 8555, 7.3.4): the public key, signed with HS256.

    :param url: of the resource ``newAccount``.
    :param hmac_key: decoded.
    """
    header = {"alg": "HS256", "kid": key_id, "url": url}
    made = _flattened(
        header,
        compact_json(key.jwk),
        lambda signed: hmac.digest(hmac_key, signed, "sha256"),
    )
    binding: dict[str, str] = json.loads(made)
    return binding


def _flattened(header: Mapping[str, object], payload: bytes, signature: Any) -> bytes:
    """A JWS in the flattened JSON serialization (RFC 7515, 7.2.2).

    :param signature: makes the signature of bytes.
    """
    protected, content = base64url(compact_json(header)), base64url(payload)
    signed = f"{protected}.{content}".encode("ascii")
    made = {"protected": protected, "payload": content, "signature": base64url(signature(signed))}
    return compact_json(made)
