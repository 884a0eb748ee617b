"""Compiled routes: what a route matches, its targets, and its handler."""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, TypeAlias

from smartproxy.model.plan.timing import KeepAlive, Timeouts

if TYPE_CHECKING:
    from smartproxy.model.plan.group import GroupPlan
    from smartproxy.model.plan.http import HttpPlan
    from smartproxy.model.plan.target import TargetPlan
    from smartproxy.model.plan.tls import TerminationPlan


class ActionKind(StrEnum):
    """What happens to a connection that a route has matched."""

    FORWARD = "forward"
    REDIRECT = "redirect"
    RESPOND = "respond"
    BLOCK = "block"
    STATIC = "static"
    HANDLER = "handler"


class ProtocolFactory(Protocol):
    """What Twisted calls for each connection. ``IProtocolFactory`` itself is not a type without mypy-zope."""

    def buildProtocol(self, addr: Any, /) -> object:
        """The protocol of a connection from ``addr``, or None."""


class WebResource(Protocol):
    """What ``twisted.web`` calls for each request. ``IResource`` itself is not a type without mypy-zope."""

    def render(self, request: Any, /) -> object:
        """Answer a request."""


#: What serves connections or requests in this process: a factory, a coroutine function, a resource, or a callable that chooses one.
Handler: TypeAlias = ProtocolFactory | WebResource | Callable[..., object]


class TlvMatch(NamedTuple):
    """A condition on a TLV of the PROXY header: it has one of the values, or a name that one of the patterns matches.

    :ivar domains: domain patterns, for a TLV that is a name; else empty.
    """

    type: int
    values: tuple[bytes, ...] = ()
    domains: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MatchPlan:
    """The conditions of a route. An empty tuple, an empty set or ``None`` is no condition.

    :ivar addresses: local addresses to listen on; ``""`` is every address.
    :ivar query: names and values, decoded; ``*`` is any value.
    :ivar alpn: the client must offer one of these protocols.
    :ivar fallback: whether a TLS client without SNI is taken, whatever the domains are.
    """

    ports: tuple[range, ...]
    addresses: tuple[str, ...] = ("",)
    domains: tuple[str, ...] = ()
    client_ip: Container[str] | None = None
    proxy_tlv: tuple[TlvMatch, ...] = ()
    path: str | None = None
    methods: frozenset[str] = frozenset()
    headers: tuple[tuple[str, str], ...] = ()
    query: tuple[tuple[str, str], ...] = ()
    protocol: Literal["tcp", "tls", "http"] | None = None
    alpn: frozenset[str] = frozenset()
    fallback: bool = False

    @property
    def needs_first_bytes(self) -> bool:
        """Whether the client's first bytes must be seen to decide."""
        return bool(self.domains or self.needs_request or self.protocol or self.alpn or self.fallback)

    @property
    def expects_tls(self) -> bool:
        """Whether it requires TLS, or a name that a ClientHello may have."""
        if self.protocol is not None:
            return self.protocol == "tls"
        if self.alpn or self.fallback:
            return True
        return bool(self.domains) and not self.needs_request

    @property
    def needs_request(self) -> bool:
        """Whether it has a condition on the head of an HTTP request."""
        return self.path is not None or bool(self.methods or self.headers or self.query)


@dataclass(frozen=True, slots=True, eq=False)
class RoutePlan:
    """One route.

    :ivar index: its place in the file, from 0, and the last tie-breaker of matching.
    :ivar group: the targets of ``forward``, each with the PROXY header and the TLS that it inherits; ``None`` for other actions.
    :ivar handler: serves its connections in this process; made from the action where that is not ``forward``. A ``block``
        without handler closes before anything else.
    :ivar answers: makes what answers its HTTP requests in this process: a ``LocalAnswers`` of :mod:`smartproxy.http.local`; ``None``
        where they are forwarded.
    :ivar tls: how the clients' TLS is terminated; ``None`` for passthrough.
    :ivar silence: seconds after which it takes a client that has sent nothing; 0: it does not.
    :ivar carries_tls: whether the configuration says that the route carries TLS (it sets ``tls.mode``).
    :ivar http: the terms on which it speaks HTTP; ``None`` forwards bytes as they are.
    :ivar chosen_http: those for a handler of requests that its callable may choose; ``None`` where it has no such callable.
    """

    name: str
    index: int
    match: MatchPlan
    kind: ActionKind = ActionKind.FORWARD
    priority: int = 0
    group: GroupPlan | None = None
    handler: Handler | None = None
    answers: Callable[[Any, Any, Any], Any] | None = None
    tls: TerminationPlan | None = None
    allow: Container[str] | None = None
    block: Container[str] | None = None
    max_connections: int = 0
    timeouts: Timeouts = field(default_factory=Timeouts)
    keep_alive: KeepAlive = field(default_factory=KeepAlive)
    stuck_detection: bool = True
    carries_tls: bool = False
    silence: float = 0.0
    http: HttpPlan | None = None
    chosen_http: HttpPlan | None = None

    @property
    def has_several_hosts(self) -> bool:
        """Whether connections may go to one of several hosts."""
        if self.group is not None and self.group.is_discovered:
            return True
        return len(self.targets) > 1 or any(
            isinstance(target.hosts, tuple) and len(target.hosts) > 1 for target in self.targets
        )

    @property
    def targets(self) -> tuple[TargetPlan, ...]:
        """Those of its group, with those in a file as they are now."""
        return () if self.group is None else tuple(self.group.written())

    @property
    def needs_first_bytes(self) -> bool:
        """Whether the first bytes must be seen: to choose the route, or the certificate by the ClientHello."""
        return self.tls is not None or self.match.needs_first_bytes

    @property
    def takes_only_tls(self) -> bool:
        """Whether every connection that it serves begins with a ClientHello."""
        return self.tls is not None or self.match.protocol == "tls" or bool(self.match.alpn)

    @property
    def expects_tls(self) -> bool:
        """Whether it terminates TLS, is said to carry it, or has a condition that a ClientHello answers."""
        return self.tls is not None or self.carries_tls or self.match.expects_tls
