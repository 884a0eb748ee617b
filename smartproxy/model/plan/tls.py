"""Compiled TLS settings: certificates, and what is negotiated with clients and with targets."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias


@dataclass(frozen=True, slots=True)
class CertificatePlan:
    """One certificate with its chain and its key, checked: PEM, the key not encrypted.

    :ivar source: names it in messages: its file.
    :ivar files: the files to watch for a newer one.
    :ivar reread: reads those files again; raises :class:`ValueError` where their content is not valid.
    :ivar self_signed: whether it has no files and is made at start, for ``names``.
    :ivar names: the names of a self-signed one.
    """

    source: str
    chain: bytes = b""
    key: bytes = field(default=b"", repr=False)
    files: tuple[str, ...] = ()
    reread: Callable[[], CertificatePlan] | None = field(default=None, repr=False, compare=False)
    self_signed: bool = False
    names: tuple[str, ...] = ()


#: An embedder's callable: for the server name of a ClientHello, or None where it has none, it returns a certificate, or an
#: awaitable or a Deferred of one. None refuses the client.
CertificateChoice: TypeAlias = Callable[
    [str | None], CertificatePlan | Awaitable[CertificatePlan | None] | None
]


@dataclass(frozen=True, slots=True)
class ClientAuthPlan:
    """How clients are authenticated by certificate.

    :ivar required: whether a client without a certificate is refused.
    :ivar ca: PEM of the authorities; without it any certificate is accepted, and reported as not verified.
    :ivar crl: PEM of their revocation lists.
    :ivar match: names of which a certificate must have one, as in the configuration.
    """

    required: bool
    ca: bytes = b""
    crl: bytes = b""
    match: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TerminationPlan:
    """How the TLS of a route's clients is terminated.

    :ivar certificates: those of the route; without any, those of the proxy are used.
    :ivar certificate_for: an embedder's callable that chooses, in place of ``certificates``.
    :ivar own_order: whether the order of our ciphers decides, and not the client's.
    :ivar handshake_timeout: in seconds.
    """

    certificates: tuple[CertificatePlan, ...] = ()
    certificate_for: CertificateChoice | None = None
    ciphers: str = ""
    ciphersuites: str = ""
    own_order: bool = False
    min_version: Literal["1.2", "1.3"] = "1.2"
    alpn: tuple[str, ...] = ()
    client_auth: ClientAuthPlan | None = None
    handshake_timeout: float = 10.0

    @property
    def terms(self) -> TerminationPlan:
        """What a session depends on: everything but the certificate that was shown and the time limit."""
        return replace(self, certificates=(), certificate_for=None, handshake_timeout=0.0)


@dataclass(frozen=True, slots=True)
class OriginationPlan:
    """TLS towards a target.

    :ivar ca: PEM of the authorities, or None for the store of the system.
    :ivar server_name: the name to ask for and to verify, or None for the target's host.
    :ivar verify: whether the target's certificate is verified.
    :ivar certificate: our own, where the target wants one.
    """

    ca: bytes | None = None
    server_name: str | None = None
    verify: bool = True
    certificate: CertificatePlan | None = None
    alpn: tuple[str, ...] = ()
    min_version: Literal["1.2", "1.3"] = "1.2"


@dataclass(frozen=True, slots=True)
class TlsPlan:
    """TLS of the whole proxy.

    :ivar certificates: those found in ``directory``.
    :ivar default: the name whose certificate is shown where none fits.
    :ivar max_handshakes: in progress before stalled ones are closed.
    """

    certificates: tuple[CertificatePlan, ...] = ()
    directory: str | None = None
    default: str | None = None
    max_handshakes: int = 200
    ocsp_stapling: bool = True
