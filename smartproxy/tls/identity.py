"""Who a peer is, by the certificate that it has shown; and whether that is one of those that are wanted.

A pattern of ``clientAuth.match`` is a kind and a name::

    DNS:*.clients.example      a leading * stands for one label or more, as in match.domains
    CN:robot                   CN, EMAIL and URI: exactly this text, in which * stands for any
    IP:192.0.2.1               this address

What a certificate says was written by whoever asked for it. It is text of any kind, and not for a log
or a terminal before it has been escaped.
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
    """What a peer's certificate says.

    :ivar common_name: the subject's; empty where it has none.
    :ivar names: its other names, each with its kind, like ``DNS:robot.example``.
    :ivar fingerprint: SHA-256 of the certificate, in hexadecimal.
    :ivar verified: whether somebody whom the configuration names has vouched for it.
    """

    common_name: str
    names: tuple[str, ...]
    fingerprint: str
    verified: bool


def peer_identity(connection: SSL.Connection, *, verified: bool = True) -> ClientCertificate | None:
    """Who the peer is; ``None`` where it has shown no certificate.

    :param verified: whether the configuration names an authority: what does not verify has no handshake.
    """
    certificate = connection.get_peer_certificate(as_cryptography=True)
    return None if certificate is None else identity_of(certificate, verified=verified)


def identity_of(certificate: x509.Certificate, *, verified: bool) -> ClientCertificate:
    """What ``certificate`` says."""
    common = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return ClientCertificate(
        common_name=str(common[0].value) if common else "",
        names=tuple(_names(certificate)),
        fingerprint=certificate.fingerprint(hashes.SHA256()).hex(),
        verified=verified,
    )


def _names(certificate: x509.Certificate) -> Iterable[str]:
    try:
        said = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):  # none, or one that cannot be read
        return
    yield from (f"DNS:{name}" for name in said.get_values_for_type(x509.DNSName))
    yield from (f"EMAIL:{name}" for name in said.get_values_for_type(x509.RFC822Name))
    yield from (f"URI:{name}" for name in said.get_values_for_type(x509.UniformResourceIdentifier))
    yield from (f"IP:{address}" for address in said.get_values_for_type(x509.IPAddress))


def matches(identity: ClientCertificate, patterns: Iterable[str]) -> bool:
    """Whether it carries a name that one of ``patterns`` wants. Without patterns, any will do."""
    patterns = list(patterns)
    names = [f"CN:{identity.common_name}", *identity.names]
    return not patterns or any(_meets(name, pattern) for pattern in patterns for name in names)


def checked_pattern(pattern: str) -> None:
    """Nothing, for a pattern that can be met.

    :raises ValueError: for any other.
    """
    kind, _, wanted = pattern.partition(":")
    if kind not in _KINDS or not wanted:
        raise ValueError(f"must be a kind and a name, like DNS:*.clients.example; kinds: {', '.join(_KINDS)}")
    if kind == "IP":
        packed_address(wanted)
    plain = wanted.removeprefix("*.")
    if kind == "DNS" and (not plain.isascii() or host_name(plain.encode()) is None):
        raise ValueError("is not a DNS name, with or without a leading *.")


def _meets(name: str, pattern: str) -> bool:
    kind, _, wanted = pattern.partition(":")
    own_kind, _, own = name.partition(":")
    if kind != own_kind:
        return False
    if kind == "DNS":
        own, wanted = own.lower().removesuffix("."), wanted.lower().removesuffix(".")
        return own.endswith(wanted[1:]) and own != wanted[1:] if wanted.startswith("*.") else own == wanted
    if kind == "IP":
        return own == address_text(packed_address(wanted))
    return re.fullmatch(".*".join(map(re.escape, wanted.split("*"))), own, re.DOTALL) is not None
