"""The types of the values in a configuration: ``Annotated`` types for the tables, made of the rules in :mod:`rules`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Literal, NamedTuple, TypeAlias

from pydantic import BeforeValidator, Discriminator, Field, Strict, Tag
from pydantic.json_schema import SkipJsonSchema

from smartproxy.http.local.file_names import is_plain_name
from smartproxy.http.local.redirect import is_template
from smartproxy.model.facts import Routed
from smartproxy.model.plan import Handler
from smartproxy.model.target_status import CheckedTarget
from smartproxy.routing.origins import normalise_origin
from smartproxy.settings.tables import hints, rules, shapes, units
from smartproxy.settings.tables.lists import OneOrList
from smartproxy.settings.tables.rules import Rule, StringRule

#: MAX_TCP_KEEPCNT of Linux's net/tcp.h.
_MOST_PROBES = 127

Flag: TypeAlias = Annotated[bool, Strict()]
String: TypeAlias = Annotated[str, Strict()]
NonEmptyString: TypeAlias = Annotated[
    str, StringRule("must be a string that is not empty", bool, minLength=1)
]
FilePath: TypeAlias = Annotated[str, Rule(rules.check_file_path, type="string", minLength=1)]
Count: TypeAlias = Annotated[int, Strict(), Field(ge=0)]
Positive: TypeAlias = Annotated[int, Strict(), Field(ge=1)]
PortNumber: TypeAlias = Annotated[int, Strict(), Field(ge=1, le=units.HIGHEST_PORT)]
Share: TypeAlias = Annotated[float, Strict(), Field(ge=0, le=1, allow_inf_nan=False)]

FLAG_OR_TABLE = shapes.shaped(shapes.flag_or_table, "must be true, false or a mapping")

# -- durations and sizes ---------------------------------------------------------------------------------

_DURATION_SCHEMA = {
    "title": "duration",
    "anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": units.DURATION_PATTERN}],
}
_SIZE_SCHEMA = {
    "title": "size",
    "anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": units.SIZE_PATTERN}],
}


class Least(NamedTuple):
    """The smallest sensible value of a duration or a size, as an annotation of its key.

    A smaller number is valid, but was probably written in another unit: ``check`` warns about it.

    :ivar value: in the unit of a number without one: milliseconds or bytes.
    :ivar unit: what such a number is.
    :ivar meant: the unit that a person had in mind.
    """

    value: float
    unit: str = "ms"
    meant: str = "s"


Duration: TypeAlias = Annotated[
    int | float | str, Rule(units.seconds, hints.duration_hint, **_DURATION_SCHEMA)
]
Interval: TypeAlias = Annotated[
    int | float | str, Rule(rules.check_interval, hints.duration_hint, **_DURATION_SCHEMA)
]
ProbeDelay: TypeAlias = Annotated[
    int | float | str, Rule(rules.check_probe_delay, hints.duration_hint, **_DURATION_SCHEMA)
]
UserTimeout: TypeAlias = Annotated[
    int | float | str, Rule(rules.check_user_timeout, hints.duration_hint, **_DURATION_SCHEMA)
]
ProbeCount: TypeAlias = Annotated[int, Strict(), Field(ge=0, le=_MOST_PROBES)]
Size: TypeAlias = Annotated[int | str, Rule(units.octets, hints.size_hint, **_SIZE_SCHEMA)]

HeadSize: TypeAlias = Annotated[int | str, Rule(rules.check_head_size, hints.size_hint, **_SIZE_SCHEMA)]

# -- addresses, ports and names --------------------------------------------------------------------------

_PORT_SCHEMA = {"type": "integer", "minimum": 1, "maximum": units.HIGHEST_PORT}
_RANGE_SCHEMA = {"type": "string", "pattern": units.PORTS_PATTERN}
PortRange: TypeAlias = Annotated[
    int | str, Rule(units.ports, hints.ports_hint, title="port or range", anyOf=[_PORT_SCHEMA, _RANGE_SCHEMA])
]
Ports: TypeAlias = Annotated[
    Annotated[PortRange, Tag("<one>")] | Annotated[list[PortRange], Field(min_length=1), Tag("<list>")],
    Discriminator(shapes.one_or_list),
]
Workers: TypeAlias = Annotated[
    int | Literal["auto"],
    Rule(
        rules.check_workers,
        anyOf=[{"type": "integer", "minimum": 1, "maximum": rules.MOST_WORKERS}, {"const": "auto"}],
    ),
]
Name: TypeAlias = Annotated[
    str,
    StringRule(
        f"must be a printable string of 1 to {rules.LONGEST_NAME} characters", rules.is_name, minLength=1
    ),
]
Domain: TypeAlias = Annotated[
    str,
    StringRule(
        'must be a name like "example.com", "*.example.com" or "*"',
        rules.is_domain,
        hints.domain_hint,
        title="domain",
    ),
]
BindAddress: TypeAlias = Annotated[
    str,
    StringRule(
        'must be an IP address, or "" for every address',
        rules.is_bind_address,
        hints.bind_hint,
        title="address",
    ),
]
BindAddresses: TypeAlias = Annotated[
    Annotated[BindAddress, Tag("<one>")] | Annotated[list[BindAddress], Field(min_length=1), Tag("<list>")],
    Discriminator(shapes.one_or_list),
]
SourceAddress: TypeAlias = Annotated[
    str, StringRule("must be an IP address of this machine", rules.is_source_address, title="address")
]
SocketPath: TypeAlias = Annotated[
    str,
    StringRule(
        "must be the path of a unix socket, or @ and a name",
        rules.is_socket_path,
        hints.socket_hint,
        title="path",
        minLength=1,
    ),
]
AddressEntry: TypeAlias = Annotated[
    str,
    StringRule(
        "must be an IP address, a CIDR, a range a-b or file:PATH",
        rules.is_address_entry,
        hints.address_hint,
        title="address, CIDR, range or file",
    ),
]
AddressList: TypeAlias = Annotated[list[AddressEntry], OneOrList()]
Domains: TypeAlias = Annotated[list[Domain], OneOrList()]
HostName: TypeAlias = Annotated[
    str,
    StringRule(
        "must be a host name or an IP address, without a port",
        rules.is_target_host,
        hints.host_hint,
        title="host",
    ),
]
ServerName: TypeAlias = Annotated[
    str,
    StringRule(
        'must be a host name or an IP address, without a port, or "{domain}"',
        rules.is_server_name,
        title="host or {domain}",
    ),
]

# -- the PROXY protocol ----------------------------------------------------------------------------------


def _as_written_type(value: object) -> object:
    """A type of TLV as text: ``0xE0`` is text in a file, and a number in Python."""
    return f"0x{value:02X}" if isinstance(value, int) and not isinstance(value, bool) else value


TlvType: TypeAlias = Annotated[
    str,
    StringRule(
        'must be "authority", "alpn", "uniqueId" or a type like 0xE0 that is none of ssl, crc32c and padding',
        rules.is_comparable_tlv,
        pattern="^(authority|alpn|uniqueId|0[xX][0-9a-fA-F]{1,2})$",
    ),
    BeforeValidator(_as_written_type),
]
CustomTlvType: TypeAlias = Annotated[
    str,
    StringRule(
        "must be a type from 0xE0 to 0xEF, those for own use; types that have a name are sent with tlvs",
        rules.is_custom_tlv,
        pattern="^0[xX][eE][0-9a-fA-F]$",
    ),
    BeforeValidator(_as_written_type),
]
TlvValue: TypeAlias = Annotated[
    str,
    StringRule(
        f'must be a string of 1 to {rules.LONGEST_TLV} bytes, or "hex:" and hexadecimal digits',
        rules.is_tlv_value,
        minLength=1,
    ),
]
TlvValues: TypeAlias = Annotated[
    Annotated[TlvValue, Tag("<one>")] | Annotated[list[TlvValue], Field(min_length=1), Tag("<list>")],
    Discriminator(shapes.one_or_list),
]

# -- HTTP and TLS ----------------------------------------------------------------------------------------

PathPattern: TypeAlias = Annotated[
    str, Rule(rules.check_path, hints.path_hint, type="string", title="path pattern")
]
Method: TypeAlias = Annotated[
    str,
    StringRule(
        "must be a method in capitals, like GET",
        rules.METHOD.fullmatch,
        hints.method_hint,
        pattern=f"^{rules.METHOD.pattern}$",
    ),
]
HeaderName: TypeAlias = Annotated[str, StringRule("must be the name of a header", rules.TOKEN.fullmatch)]
HeaderValue: TypeAlias = Annotated[
    str, StringRule("must be the value of a header: printable ASCII", rules.FIELD_VALUE.fullmatch)
]
#: No received value has line breaks, or blanks at its ends (RFC 9110, section 5.5).
ReceivedValue: TypeAlias = Annotated[
    str,
    StringRule(
        "must be a string without line breaks, and without blanks at its ends",
        rules.RECEIVED_VALUE.fullmatch,
    ),
]
HeaderTemplate: TypeAlias = Annotated[
    str,
    StringRule(
        "must be the value of a header: printable ASCII",
        rules.FIELD_VALUE.fullmatch,
        hints.header_hint,
        title="value, with variables",
        minLength=1,
    ),
]
PathTemplate: TypeAlias = Annotated[
    str, Rule(rules.check_new_path, type="string", title="path, with variables")
]
PathPrefix: TypeAlias = Annotated[
    str,
    StringRule(
        "must be a path like /api, without *, :name and variables", rules.is_path_prefix, title="path"
    ),
]
HostHeader: TypeAlias = Annotated[
    str,
    StringRule(
        'must be "preserve", "target", or a host with or without a port',
        rules.is_host_header,
        title="preserve, target or a host",
    ),
]
RedirectTo: TypeAlias = Annotated[
    str,
    StringRule(
        'must be a URL like "https://{host}{path}{query}", "{path}", or a path that begins with one / and no variable',
        is_template,
        title="URL with {host}, {path}, {query}",
    ),
]
FolderPath: TypeAlias = Annotated[
    str, StringRule("must be the path of a directory", rules.is_file_path, title="path", minLength=1)
]
FileName: TypeAlias = Annotated[
    str,
    StringRule("must be the name of a file, without a slash and not hidden", is_plain_name, title="name"),
]
Base64: TypeAlias = Annotated[
    str, StringRule("must be base64", rules.is_base64, title="base64", contentEncoding="base64")
]
RequestTarget: TypeAlias = Annotated[
    str,
    StringRule(
        "must be a path that begins with /, without blanks and #",
        rules.REQUEST_TARGET.fullmatch,
        title="path",
    ),
]
StatusRange: TypeAlias = Annotated[
    int | str,
    Rule(
        units.statuses,
        title="status or range",
        anyOf=[
            {"type": "integer", "minimum": 100, "maximum": 599},
            {"type": "string", "pattern": units.STATUSES_PATTERN},
        ],
    ),
]
ErrorStatus: TypeAlias = Annotated[
    str,
    StringRule("must be a status from 400 to 599", rules.is_error_status, pattern="^[45][0-9][0-9]$"),
    BeforeValidator(rules.as_written_number),
]
Origin: TypeAlias = Annotated[str, Rule(normalise_origin, type="string", title="origin")]
RegularExpression: TypeAlias = Annotated[
    str, Rule(rules.check_regular_expression, type="string", format="regex", title="regular expression")
]
AlpnName: TypeAlias = Annotated[
    str, StringRule('must be the name of a protocol, like "http/1.1"', rules.is_alpn, minLength=1)
]
NamePattern: TypeAlias = Annotated[str, Rule(rules.check_name_pattern, type="string", title="name pattern")]
Methods: TypeAlias = Annotated[list[Method], OneOrList()]
AlpnNames: TypeAlias = Annotated[list[AlpnName], OneOrList()]
NamePatterns: TypeAlias = Annotated[list[NamePattern], OneOrList()]

# -- what may be a callable in Python --------------------------------------------------------------------

HostChoice: TypeAlias = Callable[[Routed], str | Awaitable[str]]
PortChoice: TypeAlias = Callable[[Routed], int | Literal["preserve"] | Awaitable[int | Literal["preserve"]]]

Host: TypeAlias = Annotated[
    Annotated[HostName, Tag("<one>")]
    | Annotated[list[HostName], Field(min_length=1), Tag("<list>")]
    | Annotated[HostChoice, Tag("<callable>"), SkipJsonSchema()],
    shapes.shaped(shapes.host_shape, "must be a host name or an IP address, or a list of them"),
]
TargetPort: TypeAlias = Annotated[
    int | Literal["preserve"] | PortChoice,
    Rule(rules.check_target_port, title="port", anyOf=[_PORT_SCHEMA, {"const": "preserve"}]),
]
ServiceName: TypeAlias = Annotated[
    str,
    StringRule(
        "must be the name of an SRV record, like _pg._tcp.db.internal", rules.is_service, title="SRV name"
    ),
]
CheckChoice: TypeAlias = Callable[[CheckedTarget], str | Awaitable[str | None] | None]
CheckType: TypeAlias = Annotated[
    Literal["connect", "tls", "http", "script"] | CheckChoice,
    Rule(rules.check_check_type, type="string", enum=list(rules.CHECK_TYPES)),
]
HandlerReference: TypeAlias = Annotated[
    str | Handler,
    Rule(rules.check_handler, type="string", title="package.module:callable", pattern="^[^:]+:[^:]+$"),
]
