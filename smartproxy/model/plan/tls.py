"""Compiled TLS settings: certificates, and what is negotiated with clients and with targets."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from smartproxy.model.address import UnixEndpoint

#: Values of a file that change when it is written or replaced.
FileState: TypeAlias = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class CertificatePlan:
    """One certificate with its chain and its key, checked: PEM, the key not encrypted.

    :ivar source: names it in messages: its file.
    :ivar files: the files to watch for a newer one.
    :ivar reread: reads those files again; raises :class:`ValueError` where their content is not valid.
    :ivar self_signed: whether it has no files and is made at start, for ``names``.
    :ivar automatic: whether it is an entry for a certificate that is ordered by ACME, for ``names``. With ``self_signed``
        clients get a self-signed one until there is one; without it, they are refused.
    :ivar names: the names of a self-signed one, and of an automatic one.
    :ivar remarks: what is wrong with it and does not prevent its use, one line each.
    :ivar states: of ``files``, taken before they were read; ``None`` for one that does not exist.
    """

    source: str
    chain: bytes = b""
    key: bytes = field(default=b"", repr=False)
    files: tuple[str, ...] = ()
    reread: Callable[[], CertificatePlan] | None = field(default=None, repr=False, compare=False)
    self_signed: bool = False
    automatic: bool = False
    names: tuple[str, ...] = ()
    remarks: tuple[str, ...] = field(default=(), compare=False)
    states: tuple[FileState | None, ...] = field(default=(), repr=False, compare=False)


class LeftOut(NamedTuple):
    """A file in a directory of certificates that is not used.

    :ivar file: its path.
    :ivar problem: why; one line that begins with the file.
    """

    file: str
    problem: str


@dataclass(frozen=True, slots=True)
class DirectoryPlan:
    """A directory of certificates, as it was read.

    :ivar path: of the directory.
    :ivar certificates: those that can be used.
    :ivar left_out: the files that cannot.
    :ivar pending: those of them that can be used later, and when, in seconds since the epoch.
    :ivar names: every name that ``certificates`` have.
    :ivar files: every file that may hold a certificate or a key, with its state before it was read.
    :ivar folders: every folder to watch for changes, with its device and inode.
    :ivar reread: reads it again, as far as it has changed; may be called in a thread.
    """

    path: str
    certificates: tuple[CertificatePlan, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    pending: Mapping[str, float] = field(default_factory=dict, repr=False, compare=False)
    names: frozenset[str] = frozenset()
    files: Mapping[str, FileState | None] = field(default_factory=dict, repr=False, compare=False)
    folders: Mapping[str, tuple[int, int]] = field(default_factory=dict, repr=False, compare=False)
    reread: Callable[[], DirectoryPlan] | None = field(default=None, repr=False, compare=False)


#: An embedder's callable: for the server name of a ClientHello, or None where it has none, it returns a certificate, or an
#: awaitable or a Deferred of one. None refuses the client; ``"auto"`` has a certificate for the name ordered by ACME.
CertificateChoice: TypeAlias = Callable[
    [str | None],
    CertificatePlan | Literal["auto"] | Awaitable[CertificatePlan | Literal["auto"] | None] | None,
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
    :ivar on_demand: domain patterns of the names for which a certificate is ordered when a client first asks for one; ``*``
        is every name.
    :ivar own_order: whether the order of our ciphers decides, and not the client's.
    :ivar handshake_timeout: in seconds.
    """

    certificates: tuple[CertificatePlan, ...] = ()
    certificate_for: CertificateChoice | None = None
    on_demand: tuple[str, ...] = ()
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
        return replace(self, certificates=(), certificate_for=None, on_demand=(), handshake_timeout=0.0)


@dataclass(frozen=True, slots=True)
class OriginationPlan:
    """TLS towards a target.

    :ivar ca: PEM of the authorities, or None for the store of the system.
    :ivar server_name: the name to ask for and to verify, or None for the target's host.
    :ivar client_name: whether the name is the one that the client asks for, in place of ``server_name``.
    :ivar verify: whether the target's certificate is verified.
    :ivar certificate: our own, where the target wants one.
    :ivar session_reuse: whether sessions are kept and resumed.
    """

    ca: bytes | None = None
    server_name: str | None = None
    client_name: bool = False
    verify: bool = True
    certificate: CertificatePlan | None = None
    alpn: tuple[str, ...] = ()
    min_version: Literal["1.2", "1.3"] = "1.2"
    session_reuse: bool = True

    def name_for(self, host: str | UnixEndpoint, asked: str | None) -> str:
        """The name to ask a target for, and to verify.

        :param host: the target's.
        :param asked: the server name in the client's ClientHello, if it has one.
        """
        name = asked if self.client_name else self.server_name
        return name or (host if isinstance(host, str) else "localhost")


@dataclass(frozen=True, slots=True)
class TlsPlan:
    """TLS of the whole proxy.

    :ivar certificates: those found in ``directory``.
    :ivar directory: where they were read from.
    :ivar default: the name or address whose certificate is shown where none fits.
    :ivar max_handshakes: in progress before stalled ones are closed.
    :ivar files: authorities, revocation lists and our certificates for targets, with their state before they were read.
        When one of these files changes, the configuration is compiled again.
    """

    certificates: tuple[CertificatePlan, ...] = ()
    directory: DirectoryPlan | None = None
    default: str | None = None
    max_handshakes: int = 200
    ocsp_stapling: bool = True
    files: Mapping[str, FileState | None] = field(default_factory=dict, repr=False, compare=False)
