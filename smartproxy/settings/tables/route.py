"""A route: what it asks of a connection (``match``), and what becomes of one that fits (``action``)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, Tag

from smartproxy.settings.tables.base import ConnectionKeys, Table
from smartproxy.settings.tables.tls import RouteTls, Unsettled, UpstreamTls
from smartproxy.settings.tables.types import (
    FLAG_OR_TABLE,
    AddressList,
    Base64,
    BindAddress,
    Count,
    Domain,
    Flag,
    HandlerReference,
    HeaderName,
    HeaderValue,
    Host,
    Method,
    Name,
    PathPattern,
    Ports,
    RedirectTo,
    TargetPort,
    Text,
    flag_or_table,
    shaped,
)

Tlv = Literal["authority", "alpn", "ssl", "uniqueId", "crc32c", "passThrough"]


class ProxyHeaderSettings(Table):
    """The PROXY header that a target is sent."""

    version: Literal[1, 2] = 2
    """Of the PROXY protocol."""
    tlvs: list[Tlv] = Field(default_factory=list)
    """What a header of version 2 says besides the addresses; `passThrough` is what we were sent ourselves."""


def _header_shape(value: Any) -> str | None:
    return "<number>" if type(value) is int and value in {1, 2} else flag_or_table(value)


SendProxyProtocol = Annotated[
    Annotated[Flag, Tag("<flag>")]
    | Annotated[Literal[1, 2], Tag("<number>")]
    | Annotated[ProxyHeaderSettings, Tag("<table>")],
    shaped(_header_shape, "must be true, false, 1, 2 or a mapping with version and tlvs"),
]


class Security(Table):
    """Who may connect, and how many at once."""

    ip_allow_list: AddressList = Field(default_factory=list)
    """Clients that are let in; empty: everyone."""
    ip_block_list: AddressList = Field(default_factory=list)
    """Clients that are not; wins over the allow list."""
    max_connections: Count = 0
    """Connections of this route at once; 0 is no limit."""


class LoadBalancing(Table):
    """How a target is chosen."""

    algorithm: Annotated[str, Field(strict=True, min_length=1)] = "roundRobin"
    """`roundRobin`: by turns, in proportion to the weights."""


class Match(Table):
    """What a route asks of a connection. All of it must fit; what is left out asks nothing."""

    ports: Ports
    """Where to listen: a port, a range like `"8000-8010"`, or a list of both."""
    address: BindAddress = ""
    """Where to listen: an address of this machine; `""` is every one, v4 and v6."""
    domains: list[Domain] = Field(default_factory=list)
    """Names that the client asks for, by SNI or Host. A leading `*` stands for one label or more, never none."""
    client_ip: AddressList = Field(default_factory=list)
    """Addresses of clients, as announced where a trusted peer announces them."""
    path: PathPattern | None = None
    """Path of an HTTP request: exact, with `*` for anything and `:name` for one segment; anchored at both ends."""
    methods: list[Method] = Field(default_factory=list)
    """Methods of an HTTP request."""
    headers: dict[HeaderName, Text] = Field(default_factory=dict)
    """Headers that an HTTP request must carry, with these values."""
    protocol: Literal["tcp", "tls", "http"] | None = None
    """What the client must speak; without it, whatever comes."""


class Target(Table):
    """Where to connect."""

    host: Host
    """A name or an address, or a list of them. In Python also a callable that is given the connection's facts."""
    port: TargetPort
    """A port, or `preserve` for the one that the client came in on. In Python also a callable."""
    weight: Annotated[int, Field(strict=True, ge=0, le=1000)] = 1
    """Share of the connections, beside the other targets; 0 is none."""
    tls: Annotated[
        Annotated[Flag, Tag("<flag>")] | Annotated[UpstreamTls, Tag("<table>")],
        FLAG_OR_TABLE,
    ] = False
    """Whether to speak TLS with it, and how."""
    send_proxy_protocol: SendProxyProtocol = False
    """As at the top level, for this target."""


class ResponseSettings(Table):
    """What every client of a route is answered."""

    body: Text | None = None
    """The answer, as UTF-8."""
    base64: Base64 | None = None
    """The answer, where it is no text."""
    status: Annotated[int, Field(strict=True, ge=200, le=599)] | None = None
    """With a status the answer is an HTTP response, given to each request; without one the bytes are sent as they are."""
    content_type: HeaderValue = "text/plain; charset=utf-8"
    """Of an HTTP response."""


class Action(Table):
    """What becomes of a connection."""

    type: Literal["forward", "redirect", "respond", "block", "static", "handler"] = "forward"
    """`forward` connects to a target, `redirect` and `respond` answer by themselves, `block` turns away, `handler`
    gives the connection to your own code."""
    targets: list[Target] = Field(default_factory=list)
    """Where to connect, for `forward`."""
    tls: RouteTls = RouteTls()
    """What happens to the client's TLS."""
    protocol: Literal["tcp", "http", "auto"] = "auto"
    """`tcp` relays bytes as they are; `http` speaks HTTP; `auto` is `http` where the route uses its features."""
    send_proxy_protocol: SendProxyProtocol = False
    """As at the top level, for this route."""
    handler: HandlerReference | None = None
    """For `handler`: a Twisted protocol factory, or a coroutine function that is given the connection."""
    to: RedirectTo | None = None
    """For `redirect`: a URL, in which `{host}`, `{path}` and `{query}` are those of the request."""
    status: Literal[301, 302, 303, 307, 308] = 308
    """For `redirect`: of the response."""
    response: ResponseSettings | None = None
    """For `respond`: the answer."""
    mode: Literal["close", "reset", "tarpit"] = "close"
    """For `block`: `close` says so where TLS or HTTP has words for it, `reset` does not; `tarpit` lets 200 at once wait a
    minute first."""


class Shared(ConnectionKeys):
    """What ``defaults`` and a route may both say."""

    security: Security = Security()
    """Who may connect, and how many at once."""
    headers: Unsettled = Field(default_factory=dict)
    """Headers to add, change and remove."""
    load_balancing: LoadBalancing = LoadBalancing()
    """How a target is chosen."""


class Defaults(Shared):
    """What holds for every route that does not say otherwise."""

    send_proxy_protocol: SendProxyProtocol = False
    """As at the top level."""


class Route(Shared):
    """One route."""

    name: Name
    """What it is called in logs, metrics and the API; unique."""
    enabled: Flag = True
    """A route that is not enabled is checked, and otherwise not there."""
    priority: Annotated[int, Field(strict=True)] = 0
    """Higher goes first. Ties: the more specific match, then the order in the file."""
    match: Match
    """What it asks of a connection."""
    action: Action
    """What becomes of one that fits."""
    stuck_detection: Flag = True
    """Whether a connection that receives and never answers counts as stuck; `false` for one-way protocols."""
