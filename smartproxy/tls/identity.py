"""The identity in a peer's certificate, and its comparison with the patterns of ``clientAuth.match``.

A pattern is a kind of name and a name::

    DNS:*.clients.example      a leading * matches one label or more, as in match.domains
    CN:robot                   CN, EMAIL and URI: this text, in which * matches any text
    IP:192.0.2.1               this address

The names in a certificate were chosen by whoever applied for it. They may contain any character and must be escaped
before they are logged or printed.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID

from smartproxy.wire.host import address_text, host_name, packed_address

if TYPE_CHECKING:
    from collections.abc import Iterable

    from OpenSSL import SSL

_KINDS: Final = ("DNS", "CN", "EMAIL", "URI", "IP")


class ClientCertificate(NamedTuple):
    """The identity in a peer's certificate.

    :ivar common_name: that of the subject; empty if it has none.
    :ivar names: the subjectAltNames, each with its kind, like ``DNS:robot.example``.
    :ivar fingerprint: the SHA-256 of the certificate, in hexadecimal.
    :ivar verified: whether its chain leads to a configured authority.
    """

    common_name: str
    names: tuple[str, ...]
    fingerprint: str
    verified: bool


def peer_identity(connection: SSL.Connection, *, verified: bool = True) -> ClientCertificate | None:
    """The identity of a connection's peer; ``None`` if it has sent no certificate.

    :param verified: whether the context verifies certificates: then one that does not verify fails the handshake.
    """
    certificate = connection.get_peer_certificate(as_cryptography=True)
    return None if certificate is None else identity_of(certificate, verified=verified)


def identity_of(certificate: x509.Certificate, *, verified: bool) -> ClientCertificate:
    """The identity in ``certificate``."""
    common = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return ClientCertificate(
        common_name=str(common[0].value) if common else "",
        names=tuple(_names(certificate)),
        fingerprint=certificate.fingerprint(hashes.SHA256()).hex(),
        verified=verified,
    )


def _names(certificate: x509.Certificate) -> Iterable[str]:
    try:
        alternatives = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):  # none, or malformed
        return
    yield from (f"DNS:{name}" for name in alternatives.get_values_for_type(x509.DNSName))
    yield from (f"EMAIL:{name}" for name in alternatives.get_values_for_type(x509.RFC822Name))
    yield from (f"URI:{name}" for name in alternatives.get_values_for_type(x509.UniformResourceIdentifier))
    yield from (f"IP:{address}" for address in alternatives.get_values_for_type(x509.IPAddress))


def matches(identity: ClientCertificate, patterns: Iterable[str]) -> bool:
    """Whether one of the identity's names matches one of ``patterns``. Without patterns, every identity does."""
    patterns = list(patterns)
    names = [f"CN:{identity.common_name}", *identity.names]
    return not patterns or any(_name_matches(name, pattern) for pattern in patterns for name in names)


def checked_pattern(pattern: str) -> None:
    """Validate a pattern.

    :raises ValueError: if no name can match it; the message says why.
    """
    kind, _, wanted = pattern.partition(":")
    if kind not in _KINDS or not wanted:
        raise ValueError(
            f"must be a kind of name and a name, like DNS:*.clients.example; kinds: {', '.join(_KINDS)}"
        )
    if kind == "IP":
        packed_address(wanted)
    plain = wanted.removeprefix("*.")
    if kind == "DNS" and (not plain.isascii() or host_name(plain.encode()) is None):
        raise ValueError("is not a DNS name, with or without a leading *.")


def _name_matches(name: str, pattern: str) -> bool:
    kind, _, wanted = pattern.partition(":")
    own_kind, _, own = name.partition(":")
    if kind != own_kind:
        return False
    if kind == "DNS":
        own, wanted = own.lower().removesuffix("."), wanted.lower().removesuffix(".")
        if wanted.startswith("*."):
            return own.endswith(wanted[1:]) and own != wanted[1:]
        return own == wanted
    if kind == "IP":
        return own == address_text(packed_address(wanted))  # an address has several spellings
    return re.fullmatch(".*".join(map(re.escape, wanted.split("*"))), own, re.DOTALL) is not None
