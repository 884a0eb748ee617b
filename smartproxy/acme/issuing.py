"""The request for a certificate, and what is checked in the certificate that comes back (RFC 8555, 7.4)."""

from __future__ import annotations

from contextlib import suppress
from ipaddress import ip_address
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed448, ed25519

from smartproxy.acme.text import listed
from smartproxy.errors import AcmeError
from smartproxy.tls.certificate import names_of
from smartproxy.wire.host import is_address, normalise_address

if TYPE_CHECKING:
    from collections.abc import Sequence

    from smartproxy.tls.certificate import PrivateKey


def identifier_of(name: str) -> dict[str, str]:
    """A name in an order: of type ``dns``, or ``ip`` for an address (RFC 8738)."""
    if is_address(name):
        return {"type": "ip", "value": normalise_address(name)}
    return {"type": "dns", "value": name.lower()}


def signing_request(names: Sequence[str], key: PrivateKey) -> bytes:
    """A certificate signing request in DER: the names as subjectAltName, and an empty subject.

    :raises AcmeError: if a name cannot be in a certificate.
    """
    try:
        alternatives = x509.SubjectAlternativeName([_general(name) for name in names])
    except ValueError:
        raise AcmeError(f"{listed(names)}: not every name can be in a certificate") from None
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    algorithm = (
        None if isinstance(key, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey) else hashes.SHA256()
    )
    made = request.add_extension(alternatives, critical=False).sign(key, algorithm)
    return made.public_bytes(serialization.Encoding.DER)


def _general(name: str) -> x509.GeneralName:
    if is_address(name):
        return x509.IPAddress(ip_address(normalise_address(name)))
    return x509.DNSName(name.lower())


def checked_chain(body: bytes, names: Sequence[str], key: PrivateKey, what: str) -> bytes:
    """The PEM chain in an answer, leaf first, without what is between the certificates.

    :param key: must be the leaf's.
    :param what: what was asked for, to begin a message with.
    :raises AcmeError: if it is not the certificate that was ordered.
    """
    chain = []
    with suppress(ValueError):
        chain = x509.load_pem_x509_certificates(body)
    if not chain:
        raise AcmeError(f"{what}: the directory's answer is not a chain of certificates in PEM")
    try:
        is_ours = chain[0].public_key() == key.public_key()
        missing = _missing(names, chain[0])
    except Exception:  # a key or an extension that cryptography cannot read
        raise AcmeError(f"{what}: the directory's certificate cannot be read") from None
    if not is_ours:
        raise AcmeError(f"{what}: the directory's certificate is for another key")
    if missing:
        raise AcmeError(
            f"{what}: the directory's certificate is not for {listed(missing)}", names=tuple(missing)
        )
    return b"".join(one.public_bytes(serialization.Encoding.PEM) for one in chain)


def _missing(names: Sequence[str], leaf: x509.Certificate) -> list[str]:
    carried = set(names_of(leaf))
    return [name for name in names if identifier_of(name)["value"] not in carried]
