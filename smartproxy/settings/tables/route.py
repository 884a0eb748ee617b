"""A route: its conditions (``match``), and what happens to the connections that meet them (``action``)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from pydantic import ConfigDict, Discriminator, Field, Tag, ValidationError, model_validator
from pydantic.json_schema import SkipJsonSchema
from pydantic_core import InitErrorDetails

from smartproxy.model.facts import Routed
from smartproxy.settings.tables.balancing import Balancing, BalancingDefaults, HealthCheckChoice
from smartproxy.settings.tables.base import ConnectionKeys, Extensible, Table
from smartproxy.settings.tables.http import HttpSettings, MessageHeaders, RewriteSettings
from smartproxy.settings.tables.lists import OneOrList
from smartproxy.settings.tables.shapes import flag_or_table, shaped, target_shape
from smartproxy.settings.tables.tls import RouteTls, UpstreamTls
from smartproxy.settings.tables.types import (
    FLAG_OR_TABLE,
    AddressList,
    AlpnNames,
    Base64,
    BindAddresses,
    Count,
    CustomTlvType,
    Domains,
    ErrorStatus,
    FileName,
    FilePath,
    Flag,
    FolderPath,
    HandlerReference,
    HeaderName,
    HeaderValue,
    Host,
    Interval,
    Least,
    Methods,
    Name,
    NonEmptyString,
    PathPattern,
    Ports,
    ReceivedValue,
    RedirectTo,
    ServiceName,
    SocketPath,
    SourceAddress,
    String,
    TargetPort,
    TlvType,
    TlvValue,
    TlvValues,
)

Tlv = Literal["authority", "alpn", "ssl", "uniqueId", "crc32c", "passThrough"]


class ProxyHeaderSettings(Table):
    """The PROXY header that is sent to a target."""

    version: Literal[1, 2] = 2
    """Version of the PROXY protocol."""
    tlvs: Annotated[list[Tlv], OneOrList()] = Field(default_factory=list)
    """TLVs of a version 2 header; `passThrough` is those of the header that the client's proxy sent."""
    custom_tlvs: dict[CustomTlvType, TlvValue] = Field(default_factory=dict)
    """More TLVs of a version 2 header: values by type, 0xE0 to 0xEF. A value is text, or `hex:` and hexadecimal digits. It replaces
    a received one of that type."""


def _header_shape(value: object) -> str | None:
    return "<number>" if type(value) is int and value in {1, 2} else flag_or_table(value)


SendProxyProtocol = Annotated[
    Annotated[Flag, Tag("<flag>")]
    | Annotated[Literal[1, 2], Tag("<number>")]
    | Annotated[ProxyHeaderSettings, Tag("<table>")],
    shaped(_header_shape, "must be true, false, 1, 2 or a mapping with version and tlvs"),
]


class Security(Table):
    """Which clients may connect, and how many at once."""

    ip_allow_list: AddressList = Field(default_factory=list)
    """Clients that are accepted; empty accepts everyone."""
    ip_block_list: AddressList = Field(default_factory=list)
    """Clients that are refused, even if the allow list has them."""
    max_connections: Count = 0
    """Concurrent connections of this route; 0 is no limit."""


class Match(Table):
    """The conditions of a route. A connection must meet all of them; a key that is left out is no condition."""

    ports: Ports
    """Ports to listen on: a port, a range like `"8000-8010"`, or a list of both."""
    address: BindAddresses = ""
    """Local addresses to listen on; `""` is every address, IPv4 and IPv6."""
    domains: Domains = Field(default_factory=list)
    """Names that the client asks for, by SNI or Host. A leading `*` matches one or more labels."""
    proxy_tlv: dict[TlvType, TlvValues] = Field(default_factory=dict)
    """TLVs that the PROXY header of a trusted peer must have: values by type, one or a list of which one is enough. A type is
    `authority` (a name, matched like `domains`), `alpn`, `uniqueId`, or any in hexadecimal like 0xEA. A value is text, or `hex:`
    and hexadecimal digits, and must be equal."""
    client_ip: AddressList = Field(default_factory=list)
    """Client addresses; behind a trusted peer, the announced ones."""
    alpn: AlpnNames = Field(default_factory=list)
    """Protocols of which a TLS client must offer one (ALPN), like `h2`."""
    path: PathPattern | None = None
    """Path of an HTTP request, the whole of it: exact, with `*` for anything and `:name` for one segment."""
    methods: Methods = Field(default_factory=list)
    """Methods of an HTTP request."""
    headers: dict[HeaderName, ReceivedValue] = Field(default_factory=dict)
    """Headers that an HTTP request must have, with exactly these values; other characters than ASCII are those of UTF-8."""
    query: dict[NonEmptyString, String] = Field(default_factory=dict)
    """Names that the query of an HTTP request must have, with exactly these values; `*` is any value, and `""` that of a name without
    `=`. They are compared percent-decoded, with `+` as a blank, and of a name that is there several times one value is enough."""
    protocol: Literal["tcp", "tls", "http"] | None = None
    """The protocol of the client; without it, any."""


class Target(Table):
    """Where to connect: `host` and `port`, or `unix`, or `srv`."""

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [{"required": ["host", "port"]}, {"required": ["unix"]}, {"required": ["srv"]}]
        }
    )

    name: Name | None = Field(
        default=None, json_schema_extra={"x-default": "`host:port`, or `unix:` and the path"}
    )
    """Its name in logs, metrics and the API; unique in its group."""
    host: Host | None = Field(default=None, json_schema_extra={"x-default": "required, or `unix` or `srv`"})
    """A host name or an IP address, or a list of them. `{domain}` is the name that the client asks for, by SNI or Host, where the
    route has `domains`. In Python also a callable that is given what is known of the connection."""
    port: TargetPort | None = Field(
        default=None, json_schema_extra={"x-default": "required, or `unix` or `srv`"}
    )
    """A port, or `preserve` for the port that the client connected to. In Python also a callable."""
    unix: SocketPath | None = None
    """Path of a unix socket, instead of `host` and `port`, relative to the configuration file. `@` and a name is one in the abstract
    namespace of Linux."""
    addresses: Literal["first", "all"] = "first"
    """`first`: the addresses of a name are tried in order until one is connected; `all`: each address is a target called
    `address:port`, and targets come and go as the name's answers change."""
    srv: ServiceName | None = None
    """In place of `host` and `port`: a name like `_pg._tcp.db.internal`, whose SRV records are targets called `address:port`. Those
    of the lowest priority serve, in proportion to their weights; the others are backups."""
    bind: SourceAddress | None = None
    """Local IP address that connections to this target begin at; of a name only the addresses of its family are tried. It must be
    an address of this machine when a connection is made. Without it the system chooses."""
    weight: Annotated[int, Field(strict=True, ge=0, le=1000)] = 1
    """Share of the connections, relative to the other targets; a target with 0 gets none."""
    backup: Flag = False
    """Whether it is used only while no other target is up. Several backups share the connections."""
    max_connections: Count = 0
    """Concurrent connections of this target; 0 is no limit."""
    health_check: HealthCheckChoice = False
    """How this target is checked; its keys replace those of its group."""
    tls: Annotated[
        Annotated[Flag, Tag("<flag>")] | Annotated[UpstreamTls, Tag("<table>")],
        FLAG_OR_TABLE,
    ] = False
    """Whether to connect with TLS; a mapping sets how."""
    send_proxy_protocol: SendProxyProtocol = False
    """As at the top level, for this target."""

    @model_validator(mode="after")
    def _has_address(self) -> Target:
        if self.unix is None and self.srv is None:
            missing = [name for name in ("host", "port") if getattr(self, name) is None]
            if missing:
                raise ValidationError.from_exception_data(
                    "Target", [InitErrorDetails(type="missing", loc=(name,), input=self) for name in missing]
                )
        return self

    def hosts(self) -> list[str]:
        """The names and addresses that are known before a connection."""
        if self.host is None or callable(self.host):
            return []
        return [self.host] if isinstance(self.host, str) else list(self.host)

    @property
    def is_discovered(self) -> bool:
        """Whether its answers in the DNS are the targets."""
        return self.srv is not None or self.addresses == "all"


#: A callable that gives a whole target: a :class:`Target`, or a mapping with the same keys.
TargetChoice: TypeAlias = Callable[
    [Routed], Target | Mapping[str, Any] | Awaitable[Target] | Awaitable[Mapping[str, Any]]
]

if TYPE_CHECKING:
    # A list of another type is no list[Target | TargetChoice], because something else could be appended to it.
    Targets: TypeAlias = Sequence[Target | TargetChoice]
else:
    Targets: TypeAlias = Annotated[
        list[
            Annotated[
                Annotated[Target, Tag("<table>")]
                | Annotated[TargetChoice, Tag("<callable>"), SkipJsonSchema()],
                Discriminator(target_shape),
            ]
        ],
        OneOrList(),
    ]


class ResponseSettings(Table):
    """The response to every client of a route."""

    body: String | None = None
    """The response as text, sent in UTF-8."""
    base64: Base64 | None = None
    """The response as base64, where it is not text."""
    status: Annotated[int, Field(strict=True, ge=200, le=599)] | None = None
    """With a status, every request gets an HTTP response; without one, the bytes are sent as they are, unless `protocol` is
    `http`."""
    content_type: HeaderValue = "text/plain; charset=utf-8"
    """`Content-Type` of an HTTP response."""


class Action(Balancing):
    """What happens to a connection."""

    type: Literal["forward", "redirect", "respond", "block", "static", "handler"] = "forward"
    """`forward` connects to a target; `redirect` and `respond` answer without one; `static` sends files; `block` refuses; `handler`
    gives the connection, or its requests, to your own code."""
    targets: Targets = Field(default_factory=list)
    """For `forward`: where to connect. In Python also callables that give a whole target."""
    group: Name | None = None
    """For `forward`: the group of `targetGroups` to connect to, instead of `targets`."""
    tls: RouteTls = RouteTls()
    """What happens to the client's TLS."""
    protocol: Literal["tcp", "http", "auto"] = "auto"
    """`tcp` relays bytes unchanged; `http` parses HTTP; `auto` is `http` where the action has `http`, `headers`,
    `rewrite`, `forwardedHeaders` or `errorPages`, and for connections that begin with a request where a route of the port is chosen
    by requests; see the page "HTTP". For `handler`, `http` gives a coroutine function each request, however its parameter is called."""
    send_proxy_protocol: SendProxyProtocol = False
    """As at the top level, for this route."""
    handler: HandlerReference | None = None
    """For `handler`: a Twisted protocol factory, a coroutine function that is given the connection, or one with a parameter `exchange`
    that is given each HTTP request; or a `twisted.web` resource, or a callable without parameters that returns one. Its module is
    looked for beside the configuration file first, and then on `sys.path`."""
    to: RedirectTo | None = None
    """For `redirect`: a URL with variables, such as `{host}`, `{path}` and `{query}` (with its `?`) of the request."""
    status: Literal[301, 302, 303, 307, 308] = 308
    """For `redirect`: status of the response."""
    response: ResponseSettings | None = None
    """For `respond`: the response."""
    root: FolderPath | None = None
    """For `static`: the directory with the files, relative to the configuration file."""
    index: Annotated[list[FileName], OneOrList()] = Field(default_factory=lambda: ["index.html"])
    """For `static`: the file that a directory is answered with, or several of which the first that exists is; `[]` is none."""
    spa: Flag = False
    """For `static`: whether a path without file gets the index of the root, where a page (`text/html`) is asked for."""
    precompressed: Flag = True
    """For `static`: whether a file is sent compressed to clients that take it so, where `FILE.br`, `FILE.zst` or `FILE.gz` exists."""
    http: HttpSettings = HttpSettings()
    """How HTTP is spoken."""
    headers: MessageHeaders = MessageHeaders()
    """Headers to set, add and remove. Values may have variables; see the page "HTTP"."""
    rewrite: RewriteSettings = RewriteSettings()
    """Another path and Host for the requests to targets."""
    forwarded_headers: Flag = True
    """Whether targets learn who the client is, by `X-Forwarded-For`, `-Proto`, `-Host` and `-Port`, `X-Real-IP` and `Forwarded`. What
    a peer in `proxyIPs` has sent in them is kept; what anyone else has sent is replaced."""
    error_pages: dict[ErrorStatus, FilePath] = Field(default_factory=dict)
    """Files for answers that the proxy makes itself, by status, 400 to 599; answers of targets are passed on as they are. The suffix
    gives the content type. A client that asks for JSON gets `{"error": ...}` in their place. At most 1 MiB each; read again when
    they change."""
    mode: Literal["close", "reset", "tarpit"] = "close"
    """For `block`: `close` sends a TLS alert or an HTTP error first where the client speaks TLS or HTTP; `reset` resets the
    connection; `tarpit` keeps up to 200 connections open for a minute, and closes then."""

    def written_targets(self) -> Iterator[tuple[int, Target]]:
        """The targets with their places in the list, without the callables that give one."""
        for index, target in enumerate(self.targets):
            if isinstance(target, Target):
                yield index, target


class Shared(ConnectionKeys):
    """Keys that ``defaults`` and a route have."""

    security: Security = Security()
    """Which clients may connect, and how many at once."""


class Defaults(Shared, BalancingDefaults):
    """Values for every route that does not set its own."""

    send_proxy_protocol: SendProxyProtocol = False
    """As at the top level."""
    http: HttpSettings = HttpSettings()
    """How HTTP is spoken, by routes that speak it."""
    error_pages: dict[ErrorStatus, FilePath] = Field(default_factory=dict)
    """As in an action: by status. A route's own ones are used in their place, status by status; requests without a route have these."""
    headers: MessageHeaders = MessageHeaders()
    """Headers to set, add and remove, by routes that speak HTTP. One that a route names is left to the route."""
    rewrite: RewriteSettings = RewriteSettings()
    """Another path and Host for requests, by routes that speak HTTP."""


class Route(Shared, Extensible):
    """One route."""

    name: Name
    """Its name in logs, metrics and the API; unique."""
    enabled: Flag = True
    """A route that is not enabled is checked, but not used."""
    priority: Annotated[int, Field(strict=True)] = 0
    """Routes with a higher priority are tried first; then the more specific match, then the order in the file."""
    fallback: Flag = False
    """Whether the route also takes TLS clients without SNI, whatever its `domains` are. A route without `domains` takes them
    in any case."""
    silence: Annotated[Interval | None, Least(500)] = None
    """With `fallback`: a client that has sent nothing by then goes to this route, so that protocols in which the server speaks first
    work beside routes by SNI on one port. Without it such a client is refused after `initialDataTimeout`."""
    match: Match
    """The conditions of the route."""
    action: Action
    """What happens to a connection that meets them."""
    stuck_detection: Flag = True
    """Whether a connection that receives client data and never sends a reply counts as stuck; `false` for one-way protocols."""


class TargetGroup(Balancing):
    """Targets that routes share."""

    targets: Annotated[list[Target], OneOrList()] = Field(default_factory=list)
    """Where to connect."""

    def written_targets(self) -> Iterator[tuple[int, Target]]:
        """The targets with their places in the list, as :meth:`Action.written_targets` gives them."""
        yield from enumerate(self.targets)
