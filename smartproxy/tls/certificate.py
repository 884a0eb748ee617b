"""A parsed certificate: the names it is valid for, the type of its key, and its expiry.

::

    certificate = Certificate(plan)         # a plan validated by settings, or one for a self-signed certificate
    certificate.names, certificate.key_type, certificate.not_after

The names are the DNS names and IP addresses of the subjectAltName, the only ones that clients compare (RFC 9525, 2; RFC
5280, 4.2.1.6). A certificate without a subjectAltName is found by its common name: old devices and test setups still have such certificates.
"""

from __future__ import annotations

import datetime as dt
import time
from enum import Enum
from functools import cached_property
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final, TypeAlias, cast

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from smartproxy.model.plan import CertificatePlan
from smartproxy.wire.host import host_name, is_address, normalise_address

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

    from smartproxy.wire.client_hello import ClientHello

#: A private key of one of the types in :class:`KeyType`.
PrivateKey: TypeAlias = (
    rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey
)

#: Lifetime of a self-signed certificate. It is made at start, so one restart a year is enough to renew it.
_SELF_SIGNED_LIFE: Final = dt.timedelta(days=397)
#: A self-signed certificate begins this much earlier, for clients whose clock is behind.
_CLOCK_SKEW: Final = dt.timedelta(hours=1)

_TLS_1_3: Final = 0x0304
#: Suites of TLS 1.2 with ECDHE_ECDSA (IANA TLS parameters): those of our profiles, and those with CBC and CCM.
_ECDSA_SUITES: Final = frozenset(
    {0xC008, 0xC009, 0xC00A, 0xC023, 0xC024, 0xC02B, 0xC02C, 0xC072, 0xC073, 0xC0AC, 0xC0AD, 0xC0AE, 0xC0AF}
    | {0xCCA9}
)


class KeyType(Enum):
    """The type of a certificate's key, the cheapest signature first.

    The value is the signature schemes (RFC 8446, 4.2.3) of which a client must offer one.
    """

    P256 = frozenset({0x0403})
    ED25519 = frozenset({0x0807})
    P384 = frozenset({0x0503})
    P521 = frozenset({0x0603})
    ED448 = frozenset({0x0808})
    RSA = frozenset({0x0401, 0x0501, 0x0601, 0x0804, 0x0805, 0x0806})

    def fits(self, hello: ClientHello) -> bool:
        """Whether the client of ``hello`` can verify a signature of such a key."""
        if self is KeyType.RSA:
            # Without the extension, a client asks for RSA with SHA-1 (RFC 5246, 7.4.1.4.1). OpenSSL refuses it later.
            return not hello.signature_algorithms or not self.value.isdisjoint(hello.signature_algorithms)
        if self.value.isdisjoint(hello.signature_algorithms):
            return False
        # In TLS 1.2 the cipher suite names the signature too; in TLS 1.3 it does not.
        return _TLS_1_3 in hello.versions or not _ECDSA_SUITES.isdisjoint(hello.cipher_suites)


_CURVES: Final = {"secp256r1": KeyType.P256, "secp384r1": KeyType.P384, "secp521r1": KeyType.P521}


def key_type_of(key: CertificatePublicKeyTypes) -> KeyType:
    """The type of a public key.

    :raises ValueError: if it is a type that TLS does not use.
    """
    if isinstance(key, rsa.RSAPublicKey):
        return KeyType.RSA
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in _CURVES:
        return _CURVES[key.curve.name]
    if isinstance(key, ed25519.Ed25519PublicKey):
        return KeyType.ED25519
    if isinstance(key, ed448.Ed448PublicKey):
        return KeyType.ED448
    raise ValueError("has a key of a type that TLS does not use")


class Certificate:
    """A leaf certificate with its chain. The private key is parsed only when a context needs it.

    :param plan: a valid plan; if it is for a self-signed certificate, that is made here.
    :ivar plan: as given.
    :ivar chain: the leaf first.
    :ivar leaf: the first of the chain.
    :ivar names: in lower case; wildcards begin with ``*.``; addresses are normalised.
    :ivar key_type: decides which clients can be shown it.
    :ivar not_after: its expiry, in UTC.
    :ivar any_name: whether it is shown for every name. True if it is self-signed: its clients do not check names. The one
        in place of an automatic certificate is only for the names of that.
    """

    def __init__(self, plan: CertificatePlan) -> None:
        self.plan = plan
        self.any_name = plan.self_signed and not plan.automatic
        made = self_signed_certificate(plan.names) if plan.self_signed else plan
        self._key = made.key
        self.chain = x509.load_pem_x509_certificates(made.chain)
        self.leaf = self.chain[0]
        self.names = names_of(self.leaf)
        self.key_type = key_type_of(self.leaf.public_key())
        self.not_after = self.leaf.not_valid_after_utc
        self._expires_at = self.not_after.timestamp()

    @property
    def has_expired(self) -> bool:
        """Whether clients reject it now."""
        return self._expires_at < time.time()

    def load_key(self) -> PrivateKey:
        """Parse the private key. It was validated when it was read from its file."""
        key = serialization.load_pem_private_key(self._key, None, unsafe_skip_rsa_key_validation=True)
        return cast("PrivateKey", key)

    @cached_property
    def fingerprint(self) -> str:
        """The SHA-256 of the leaf, in hexadecimal."""
        return self.leaf.fingerprint(hashes.SHA256()).hex()

    @property
    def name(self) -> str:
        """Its label in metrics and log lines: the first of its names, or else its source."""
        return self.names[0] if self.names else self.plan.source


def names_of(leaf: x509.Certificate) -> tuple[str, ...]:
    """The DNS names and then the IP addresses of a certificate, normalised for comparison, without duplicates."""
    try:
        alternatives = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        common = [str(item.value) for item in leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
        return tuple(name for name in map(_normalised, common) if name is not None)
    found = [_normalised(name) for name in alternatives.get_values_for_type(x509.DNSName)]
    found += [normalise_address(str(one)) for one in alternatives.get_values_for_type(x509.IPAddress)]
    return tuple(dict.fromkeys(name for name in found if name is not None))


def _normalised(name: str) -> str | None:
    """``name`` in lower case and without a final dot; ``None`` if it is neither a host name nor a wildcard."""
    wildcard, rest = ("*.", name[2:]) if name.startswith("*.") else ("", name)
    try:
        plain = host_name(rest.encode("ascii"))
    except UnicodeEncodeError:
        return None
    return None if plain is None else wildcard + plain


def general_name(name: str) -> x509.GeneralName:
    """A host name, a wildcard or an IP address as it is in a subjectAltName."""
    return x509.IPAddress(ip_address(name)) if is_address(name) else x509.DNSName(name)


def self_signed_certificate(names: Sequence[str]) -> CertificatePlan:
    """Make a self-signed certificate with a new key.

    :param names: host names, wildcards and addresses; without any that a certificate can carry, it is for ``localhost``.
    :raises TypeError: for one name that is not in a list: its letters would be the names.
    """
    if isinstance(names, str):
        raise TypeError(f"names must be a list of names: write [{names!r}]")
    carried = [name for name in names if name != "*"] or ["localhost"]
    now = dt.datetime.now(dt.UTC)
    return signed_by_itself(
        "selfSigned",
        "smartproxy self-signed",
        carried,
        (now - _CLOCK_SKEW, now + _SELF_SIGNED_LIFE),
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False),
    )


def signed_by_itself(
    source: str,
    common_name: str,
    names: Sequence[str],
    valid: tuple[dt.datetime, dt.datetime],
    *extensions: tuple[x509.ExtensionType, bool],
) -> CertificatePlan:
    """Make a certificate that a new key signs for itself.

    :param names: host names, wildcards and addresses.
    :param valid: from when, and until when.
    :param extensions: besides the names; each with whether it is critical.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    since, until = valid
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(since)
        .not_valid_after(until)
        .add_extension(x509.SubjectAlternativeName([general_name(name) for name in names]), critical=False)
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    pem, unencrypted = serialization.Encoding.PEM, serialization.NoEncryption()
    return CertificatePlan(
        source=source,
        chain=builder.sign(key, hashes.SHA256()).public_bytes(pem),
        key=key.private_bytes(pem, serialization.PrivateFormat.PKCS8, unencrypted),
    )
