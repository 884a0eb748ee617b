"""A certificate as the proxy shows it: whom it is for, what kind of key it has, until when it is good.

::

    certificate = Certificate(plan)         # of a plan that settings found valid, or of one that is self-signed
    certificate.names, certificate.kind, certificate.not_after

Names are the DNS names of the subjectAltName (RFC 9525, 2 has nothing else count). Only a certificate that has no
subjectAltName at all is taken by its common name: it still occurs, in laboratories and in old devices.
"""

from __future__ import annotations

import datetime as dt
from enum import Enum
from functools import cached_property
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from smartproxy.model.plan import CertificatePlan
from smartproxy.wire.host import host_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

    from smartproxy.wire.client_hello import ClientHello

#: How long a certificate lives that is made at start: one restart a year must do.
_SELF_SIGNED_LIFE: Final = dt.timedelta(days=397)
_CLOCK_SKEW: Final = dt.timedelta(hours=1)

_TLS_1_3: Final = 0x0304
#: Suites of TLS 1.2 with ECDHE_ECDSA (IANA TLS parameters): those of our profiles, and with CBC and CCM.
_ECDSA_SUITES: Final = frozenset(
    {0xC008, 0xC009, 0xC00A, 0xC023, 0xC024, 0xC02B, 0xC02C, 0xC072, 0xC073, 0xC0AC, 0xC0AD, 0xC0AE, 0xC0AF}
    | {0xCCA9}
)


class KeyType(Enum):
    """What a key signs with, the cheapest first: signature schemes (RFC 8446, 4.2.3) that a client must offer."""

    P256 = frozenset({0x0403})
    ED25519 = frozenset({0x0807})
    P384 = frozenset({0x0503})
    P521 = frozenset({0x0603})
    ED448 = frozenset({0x0808})
    RSA = frozenset({0x0401, 0x0501, 0x0601, 0x0804, 0x0805, 0x0806})

    def fits(self, hello: ClientHello) -> bool:
        """Whether such a client can verify what this key signs."""
        if self is KeyType.RSA:
            # A client without the extension means RSA with SHA-1 (RFC 5246, 7.4.1.4.1); it gets its alert later.
            return not hello.signature_algorithms or not self.value.isdisjoint(hello.signature_algorithms)
        if self.value.isdisjoint(hello.signature_algorithms):
            return False
        return _TLS_1_3 in hello.versions or not _ECDSA_SUITES.isdisjoint(hello.cipher_suites)


_CURVES: Final = {"secp256r1": KeyType.P256, "secp384r1": KeyType.P384, "secp521r1": KeyType.P521}


def kind_of(key: CertificatePublicKeyTypes) -> KeyType:
    """The kind of a public key.

    :raises ValueError: where no TLS client takes such a one.
    """
    if isinstance(key, rsa.RSAPublicKey):
        return KeyType.RSA
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in _CURVES:
        return _CURVES[key.curve.name]
    if isinstance(key, ed25519.Ed25519PublicKey):
        return KeyType.ED25519
    if isinstance(key, ed448.Ed448PublicKey):
        return KeyType.ED448
    raise ValueError("has a key of a kind that TLS does not use")


class Certificate:
    """A leaf with its chain. The key stays PEM until a context needs it.

    :param plan: a valid one; where it says so, a self-signed certificate is made.
    :ivar chain: the leaf first. :ivar names: in lower case; a ``*.`` before some of them.
    :ivar any_name: whether it will do for every name: nobody expects a self-signed one to carry the right one.
    """

    def __init__(self, plan: CertificatePlan) -> None:
        self.plan = plan
        self.any_name = plan.self_signed
        made = self_signed(plan.names) if plan.self_signed else plan
        self._key = made.key
        self.chain = x509.load_pem_x509_certificates(made.chain)
        self.leaf = self.chain[0]
        self.names = names_of(self.leaf)
        self.kind = kind_of(self.leaf.public_key())
        self.not_after = self.leaf.not_valid_after_utc

    def load_key(self) -> object:
        """The private key, for a context. It was validated when it was read from its file."""
        return serialization.load_pem_private_key(self._key, None, unsafe_skip_rsa_key_validation=True)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the leaf, in hexadecimal."""
        return self.leaf.fingerprint(hashes.SHA256()).hex()

    @property
    def name(self) -> str:
        """What to call it in metrics: the first of its names, or else where it comes from."""
        return self.names[0] if self.names else self.plan.source


def names_of(leaf: x509.Certificate) -> tuple[str, ...]:
    """The DNS names of a certificate, as they are compared."""
    try:
        alternatives = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        common = [str(item.value) for item in leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
        return tuple(name for name in map(_compared, common) if name is not None)
    found = (_compared(name) for name in alternatives.get_values_for_type(x509.DNSName))
    return tuple(dict.fromkeys(name for name in found if name is not None))


def _compared(name: str) -> str | None:
    """``name`` in lower case and without a final dot; ``None`` where it is no host name and no wildcard."""
    wildcard, rest = ("*.", name[2:]) if name.startswith("*.") else ("", name)
    try:
        plain = host_name(rest.encode("ascii"))
    except UnicodeEncodeError:
        return None
    return None if plain is None else wildcard + plain


def self_signed(names: Sequence[str]) -> CertificatePlan:
    """A certificate of a new key, vouched for by nobody.

    :param names: patterns of domains; without any that a certificate can carry, it is for ``localhost``.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    carried = [name for name in names if name != "*"] or ["localhost"]
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "smartproxy self-signed")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + _SELF_SIGNED_LIFE)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in carried]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    unencrypted = serialization.NoEncryption()
    return CertificatePlan(
        source="selfSigned",
        chain=made.public_bytes(pem),
        key=key.private_bytes(pem, serialization.PrivateFormat.PKCS8, unencrypted),
    )
