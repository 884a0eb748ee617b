"""Certificates for tests: an authority, the certificates that it signs, and what can be wrong with them.

Keys are made once and shared, because an RSA key takes a tenth of a second.
"""

from __future__ import annotations

import datetime as dt
from functools import cache
from ipaddress import ip_address
from typing import Any, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID

from smartproxy.model.plan import CertificatePlan

PEM = serialization.Encoding.PEM
DAY = dt.timedelta(days=1)
NOW = dt.datetime.now(dt.UTC)


@cache
def key(kind: str = "ec", number: int = 0) -> Any:
    """A key of type ``ec``, ``p384``, ``k1``, ``rsa``, ``weak`` or ``ed25519``; each number has its own."""
    makers = {
        "ec": lambda: ec.generate_private_key(ec.SECP256R1()),
        "p384": lambda: ec.generate_private_key(ec.SECP384R1()),
        "rsa": lambda: rsa.generate_private_key(65537, 2048),
        "weak": lambda: rsa.generate_private_key(65537, 1024),  # noqa: S505 - to be refused
        "k1": lambda: ec.generate_private_key(ec.SECP256K1()),
        "ed25519": ed25519.Ed25519PrivateKey.generate,
    }
    return makers[kind]()


def key_pem(made: Any, passphrase: bytes | None = None) -> bytes:
    how = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    return made.private_bytes(PEM, serialization.PrivateFormat.PKCS8, how)


def as_pss(certificate: x509.Certificate) -> bytes:
    """The certificate with its RSA key declared as an RSA-PSS key, in PEM. Its signature is wrong then."""
    rsa_encryption = bytes.fromhex("06092a864886f70d0101010500")  # with the parameters, which are NULL
    rsassa_pss = bytes.fromhex("06092a864886f70d01010a3000")  # with the parameters, an empty sequence
    der = certificate.public_bytes(serialization.Encoding.DER)
    assert der.count(rsa_encryption) == 1
    changed = der.replace(rsa_encryption, rsassa_pss)
    return x509.load_der_x509_certificate(changed).public_bytes(PEM)


class Leaf(NamedTuple):
    """A certificate and its key."""

    certificate: x509.Certificate
    key: Any
    above: tuple[x509.Certificate, ...] = ()

    @property
    def pem(self) -> bytes:
        return b"".join(one.public_bytes(PEM) for one in (self.certificate, *self.above))

    @property
    def key_pem(self) -> bytes:
        return key_pem(self.key)

    def plan(self, source: str = "a.pem") -> CertificatePlan:
        return CertificatePlan(source=source, chain=self.pem, key=self.key_pem)


class Authority:
    """A certificate authority."""

    def __init__(self, name: str = "test authority", above: Authority | None = None) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.subject = named(name)
        self.above = above
        signer = above or self
        self.certificate = (
            builder(self.subject, signer.subject, self.key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(signer.key, hashes.SHA256())
        )

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(PEM)

    def leaf(
        self,
        *names: str,
        kind: str = "ec",
        number: int = 0,
        common_name: str | None = None,
        start: dt.timedelta = -DAY,
        end: dt.timedelta = 30 * DAY,
        client: bool = False,
        ocsp: str = "",
    ) -> Leaf:
        """A certificate for DNS names, addresses and ``spiffe:`` URIs.

        :param ocsp: the URL of its responder; then its chain has the issuer.
        """
        own = key(kind, number)
        common = common_name or (names[0] if names else "nobody")
        made = builder(named(common), self.subject, own, start, end)
        if names:
            made = made.add_extension(
                x509.SubjectAlternativeName([_general(n) for n in names]), critical=False
            )
        usage = ExtendedKeyUsageOID.CLIENT_AUTH if client else ExtendedKeyUsageOID.SERVER_AUTH
        made = made.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        if ocsp:
            made = made.add_extension(_responder(ocsp), critical=False)
        above = (self.certificate,) if self.above is not None or ocsp else ()
        return Leaf(made.sign(self.key, hashes.SHA256()), own, above)

    def crl(self, *revoked: Leaf, end: dt.timedelta = 7 * DAY) -> bytes:
        """A certificate revocation list, in PEM."""
        made = x509.CertificateRevocationListBuilder().issuer_name(self.subject)
        made = made.last_update(NOW - 8 * DAY).next_update(NOW + end)
        for leaf in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(leaf.certificate.serial_number)
            made = made.add_revoked_certificate(entry.revocation_date(NOW - DAY).build())
        return made.sign(self.key, hashes.SHA256()).public_bytes(PEM)


class Pair:
    """The public half of a key, as :func:`builder` takes a key."""

    def __init__(self, public: Any) -> None:
        self.public_key = lambda: public


def named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def builder(
    subject: x509.Name,
    issuer: x509.Name,
    own: Any,
    start: dt.timedelta = -DAY,
    end: dt.timedelta = 30 * DAY,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(own.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW + start)
        .not_valid_after(NOW + end)
    )


def _responder(url: str) -> x509.AuthorityInformationAccess:
    where = x509.UniformResourceIdentifier(url)
    return x509.AuthorityInformationAccess(
        [x509.AccessDescription(AuthorityInformationAccessOID.OCSP, where)]
    )


def _general(name: str) -> x509.GeneralName:
    if name.startswith("spiffe:"):
        return x509.UniformResourceIdentifier(name)
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)
