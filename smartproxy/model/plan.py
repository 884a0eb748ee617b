"""The configuration, compiled for the path: frozen, slotted, seconds and bytes, nothing left to parse.

``settings`` reads and checks what a person wrote, and makes these. Nothing on the path looks at a
configuration key, a default or a unit again.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Literal, NamedTuple

#: An embedder's callable: it gets the connection's facts and gives a value, an awaitable or a Deferred.
Choice = Callable[[Any], Any]


class AcceptHeader(StrEnum):
    """What a PROXY header from a trusted peer means (``acceptProxyProtocol``)."""

    DETECT = "detect"
    REQUIRE = "require"
    NEVER = "never"


class ActionKind(StrEnum):
    """What happens to a connection that a route has matched."""

    FORWARD = "forward"
    REDIRECT = "redirect"
    RESPOND = "respond"
    BLOCK = "block"
    HANDLER = "handler"


class Treatment(StrEnum):
    """How long a keep-alive connection may live (``keepAliveTreatment``)."""

    STANDARD = "standard"
    EXTENDED = "extended"
    IMMORTAL = "immortal"


@dataclass(frozen=True, slots=True)
class SendHeader:
    """The PROXY header that a target gets. ``tlvs`` are names of the configuration, in its order."""

    version: Literal[1, 2]
    tlvs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CertificatePlan:
    """One certificate with its chain and key, found to be valid: PEM, the key not encrypted.

    :ivar source: what to call it in messages: its files. :ivar files: what to watch for a newer one.
    :ivar reread: reads those files again; raises :class:`ValueError` where what is there now is not valid.
    :ivar self_signed: there is none yet; one is made at start, for ``names``.
    """

    source: str
    chain: bytes = b""
    key: bytes = field(default=b"", repr=False)
    files: tuple[str, ...] = ()
    reread: Callable[[], CertificatePlan] | None = field(default=None, repr=False, compare=False)
    self_signed: bool = False
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ClientAuthPlan:
    """What is asked of a client's certificate. ``ca`` and ``crl`` are PEM; ``match`` as in the configuration.

    Without ``ca`` any certificate will do, and is told of as not verified.
    """

    required: bool
    ca: bytes = b""
    crl: bytes = b""
    match: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TerminationPlan:
    """How the TLS of a route's clients is ended here. Without certificates, the proxy's own store is asked.

    :ivar certificate_for: an embedder's, in place of certificates: given the name that a client asks for, or
        None, it gives a :class:`CertificatePlan`, or a Deferred or an awaitable of one.
    :ivar own_order: whether the order of our ciphers decides, and not the client's.
    """

    certificates: tuple[CertificatePlan, ...] = ()
    certificate_for: Choice | None = None
    ciphers: str = ""
    ciphersuites: str = ""
    own_order: bool = False
    min_version: Literal["1.2", "1.3"] = "1.2"
    alpn: tuple[str, ...] = ()
    client_auth: ClientAuthPlan | None = None
    handshake_timeout: float = 10.0

    @property
    def terms(self) -> TerminationPlan:
        """What a client agrees to, whichever certificate it is shown, and however long it took."""
        return replace(self, certificates=(), certificate_for=None, handshake_timeout=0.0)


@dataclass(frozen=True, slots=True)
class OriginationPlan:
    """TLS towards a target. ``ca`` is PEM, or None for the system's store."""

    ca: bytes | None = None
    server_name: str | None = None
    verify: bool = True
    certificate: CertificatePlan | None = None
    alpn: tuple[str, ...] = ()
    min_version: Literal["1.2", "1.3"] = "1.2"


@dataclass(frozen=True, slots=True)
class TlsPlan:
    """TLS of the whole proxy: the store of certificates, and what keeps handshakes in bounds."""

    certificates: tuple[CertificatePlan, ...] = ()
    directory: str | None = None
    default: str | None = None
    max_handshakes: int = 200
    ocsp_stapling: bool = True


@dataclass(frozen=True, slots=True)
class TargetPlan:
    """Where to connect. A callable host or port is asked for each connection; ``None`` keeps the port."""

    hosts: tuple[str, ...] | Choice
    port: int | Choice | None
    weight: int = 1
    tls: OriginationPlan | None = None
    send_header: SendHeader | None = None


@dataclass(frozen=True, slots=True)
class Timeouts:
    """In seconds; 0 means that there is none. The keys of the configuration, with their defaults.

    ``jitter`` is a share, 0 to 1, of the times of a linked connection.
    """

    initial_data: float = 60.0
    connection: float = 30.0
    tls_handshake: float = 10.0
    inactivity: float = 4 * 3600.0
    half_close: float = 60.0
    max_lifetime: float = 24 * 3600.0
    jitter: float = 0.0


class Probes(NamedTuple):
    """How the kernel probes a silent peer: whole seconds, and how many; 0 leaves it to the system.

    The first after a minute, as curl does; the others as Go does, whose count is the kernel's own (tcp(7)). So a
    peer that is no longer there is found within 195 seconds, and a NAT is reminded before it forgets.
    """

    initial_delay: int = 60
    interval: int = 15
    attempts: int = 9


@dataclass(frozen=True, slots=True)
class KeepAlive:
    """TCP keep-alive, and what having it does to the timeouts."""

    enabled: bool = True
    treatment: Treatment = Treatment.EXTENDED
    inactivity_multiplier: float = 6.0
    extended_lifetime: float = 7 * 86400.0
    probes: Probes = field(default_factory=Probes)


@dataclass(frozen=True, slots=True)
class MatchPlan:
    """What a route asks of a connection. An empty tuple or ``None`` asks nothing."""

    ports: tuple[range, ...]
    address: str = ""
    domains: tuple[str, ...] = ()
    client_ip: Container[str] | None = None
    path: str | None = None
    methods: frozenset[str] = frozenset()
    headers: tuple[tuple[str, str], ...] = ()
    protocol: Literal["tcp", "tls", "http"] | None = None

    @property
    def needs_first_bytes(self) -> bool:
        """Whether the first bytes must be seen before this can be answered."""
        return bool(self.domains or self.path is not None or self.methods or self.headers or self.protocol)

    @property
    def expects_tls(self) -> bool:
        """Whether it asks for TLS, or for a name that may stand in a ClientHello."""
        if self.protocol is not None:
            return self.protocol == "tls"
        return bool(self.domains) and not (self.path is not None or self.methods or self.headers)


@dataclass(frozen=True, slots=True, eq=False)
class RoutePlan:
    """One route. ``index`` is its place in the file, from 0, and the last tie-breaker of matching.

    ``handler`` is what serves its connections in this process: an action that is no ``forward`` has been made
    into one. A ``block`` without it closes, before anything else. ``carries_tls``: whether the route says that it carries it.
    """

    name: str
    index: int
    match: MatchPlan
    kind: ActionKind = ActionKind.FORWARD
    priority: int = 0
    targets: tuple[TargetPlan, ...] = ()
    balance: str = "roundRobin"
    send_header: SendHeader | None = None
    handler: Any = None
    tls: TerminationPlan | None = None
    allow: Container[str] | None = None
    block: Container[str] | None = None
    max_connections: int = 0
    timeouts: Timeouts = field(default_factory=Timeouts)
    keep_alive: KeepAlive = field(default_factory=KeepAlive)
    stuck_detection: bool = True
    carries_tls: bool = False

    @property
    def needs_first_bytes(self) -> bool:
        """Whether the first bytes must be seen: to choose it, or to choose the certificate by the ClientHello."""
        return self.tls is not None or self.match.needs_first_bytes

    @property
    def expects_tls(self) -> bool:
        """Whether it has to do with TLS: it ends it, says that it carries it, or asks for what a ClientHello tells."""
        return self.tls is not None or self.carries_tls or self.match.expects_tls


@dataclass(frozen=True, slots=True)
class AdminPlan:
    """The admin listener: TCP (``address``, ``port``) or a unix socket (``unix``), never both."""

    address: str = "127.0.0.1"
    port: int = 8404
    unix: str | None = None
    token: str | None = None


@dataclass(frozen=True, slots=True)
class ZombiePlan:
    """When a connection is a zombie, in seconds."""

    interval: float = 10.0
    half_grace_tls: float = 300.0
    half_grace_plain: float = 30.0
    stuck_tls: float = 300.0
    stuck_plain: float = 60.0


@dataclass(frozen=True, slots=True)
class CleanupPlan:
    """How ended connections are cleaned up: at most ``batch_size`` at once, after ``delay`` seconds."""

    batch_size: int = 100
    delay: float = 0.1


@dataclass(frozen=True, slots=True)
class MetricsPlan:
    """How often throughput is sampled and how long samples are kept, in seconds."""

    sample_interval: float = 1.0
    retention: float = 3600.0


@dataclass(frozen=True, slots=True)
class AccessLogPlan:
    """Where a line a connection goes: ``-`` is standard output."""

    path: str = "-"
    format: Literal["json", "text"] = "json"


@dataclass(frozen=True, slots=True)
class ProxyPlan:
    """The whole of a configuration. Disabled routes are not in it."""

    routes: tuple[RoutePlan, ...]
    trusted: Container[str] | None = None
    accept_header: AcceptHeader = AcceptHeader.DETECT
    header_timeout: float = 5.0
    graceful_shutdown: float = 30.0
    max_pending_data: int = 10 * 1024 * 1024
    max_connections: int = 0
    max_connections_per_ip: int = 0
    connection_rate_per_minute: int = 0
    keep_alive: bool = True
    probes: Probes = field(default_factory=Probes)
    acceleration: bool = True
    timeouts: Timeouts = field(default_factory=Timeouts)
    zombies: ZombiePlan | None = field(default_factory=ZombiePlan)
    cleanup: CleanupPlan = field(default_factory=CleanupPlan)
    tls: TlsPlan = field(default_factory=TlsPlan)
    metrics: MetricsPlan | None = field(default_factory=MetricsPlan)
    admin: AdminPlan | None = None
    access_log: AccessLogPlan | None = None
