"""The kinds of values that a configuration is made of: what each may look like, and what it is refused with.

Each is an ``Annotated`` type for the models. A model keeps what a person wrote, once it has been found
right; :mod:`plans` turns it into numbers and sets. Where one key takes several shapes, a discriminator
looks at the shape first, so that the problem told is that of the shape that was meant; its tags stand in
angle brackets, and :mod:`problems` leaves them out of a path.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Callable, Mapping
from inspect import isclass
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, Discriminator, Field, Strict, Tag
from pydantic.json_schema import SkipJsonSchema
from pydantic_core import core_schema

from smartproxy.routing import domains
from smartproxy.security.address_set import networks_of
from smartproxy.serving.ready.web import is_template
from smartproxy.settings.tables import units
from smartproxy.tls.identity import checked_pattern
from smartproxy.wire.host import NAME_LIMIT, host_name, is_address

#: RFC 9110, 5.6.2: a token, which names headers and methods.
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_METHOD = re.compile(r"[A-Z][A-Z0-9_-]*")
_LONGEST_NAME = 200
#: MAX_TCP_KEEPIDLE, MAX_TCP_KEEPINTVL and MAX_TCP_KEEPCNT of Linux's net/tcp.h: seconds, and probes.
_LONGEST_PROBE_DELAY = 32767
_MOST_PROBES = 127
#: What is no part of a path as it is sent (RFC 3986, 3.3), or is written in regular expressions only.
_REGEX_LIKE = re.compile(r"[\^\\|{}\[\]]|\(\.|\(\?|/\.[*+]|\$$")
_PATH = re.compile(r"[/*][!-~]*")
_NAMELESS = re.compile(r"/:(?![A-Za-z_])")
_HANDLER = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*:[^\W\d]\w*(?:\.[^\W\d]\w*)*")

#: An embedder's callable, for which there is nothing to write in a file.
Choice: TypeAlias = Callable[[Any], Any]


class Rule:
    """A check that leaves the value as it was written, and what the JSON Schema says of such a value."""

    def __init__(self, check: Callable[[Any], object], **schema: Any) -> None:
        self._check = check
        self._schema = schema

    def __get_pydantic_core_schema__(self, _source: Any, _handler: Any) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(self._kept)

    def __get_pydantic_json_schema__(self, _schema: Any, _handler: Any) -> dict[str, Any]:
        return dict(self._schema)

    def _kept(self, written: Any) -> Any:
        self._check(written)
        return written


class TextRule(Rule):
    """Likewise for a text that must pass ``test``, refused with ``message``."""

    def __init__(self, message: str, test: Callable[[str], object], **schema: Any) -> None:
        def check(written: Any) -> None:
            if not isinstance(written, str) or not test(written):
                raise ValueError(message)

        super().__init__(check, **({"type": "string"} | schema))


def _interval(written: Any) -> None:
    if units.seconds(written) == 0:
        raise ValueError("must be longer than 0")


def _probe_delay(written: Any) -> None:
    value = units.seconds(written)
    if value and not 1 <= value <= _LONGEST_PROBE_DELAY:
        raise ValueError(f"must be 1s to {_LONGEST_PROBE_DELAY}s, or 0 for what the system does")


def _target_port(written: Any) -> None:
    number = isinstance(written, int) and not isinstance(written, bool)
    if written == "preserve" or callable(written) or (number and 1 <= written <= units.HIGHEST_PORT):
        return
    raise ValueError('must be 1..65535 or "preserve"')


def _workers(written: Any) -> None:
    number = isinstance(written, int) and not isinstance(written, bool)
    if written != "auto" and not (number and written >= 1):
        raise ValueError('must be a number of processes from 1, or "auto"')


def _path(written: Any) -> None:
    if not isinstance(written, str) or not written:
        raise ValueError('must be a text like "/api/*"')
    if _REGEX_LIKE.search(written):
        raise ValueError(
            "looks like a regular expression; a path is exact, with * for anything and :name for one segment"
        )
    if not _PATH.fullmatch(written) or "?" in written or "#" in written:
        raise ValueError("must be a path that begins with / or *, without blanks and without a query")
    if _NAMELESS.search(written):
        raise ValueError("must have a name after each : that begins a segment")


def _is_entry(text: str) -> bool:
    try:
        networks_of(text)
    except ValueError:
        return False
    return True


def _is_host(text: str) -> bool:
    if is_address(text):
        return True
    name = host_name(text.encode("utf-8", "replace"))
    if name is None or len(text) > NAME_LIMIT:
        return False
    # Stricter than for names that arrive: these two are more likely typing errors than names.
    # No top level domain is a number (RFC 3696, 2), as in 10.0.0.300; no label begins or ends with a hyphen.
    labels = name.split(".")
    return not labels[-1].isdigit() and all(label == label.strip("-") for label in labels)


def _is_domain(text: str) -> bool:
    try:
        domains.normalise_pattern(text)
    except ValueError:
        return False
    return True


def _is_name(text: str) -> bool:
    return bool(text.strip()) and len(text) <= _LONGEST_NAME and text.isprintable()


def _is_base64(text: str) -> bool:
    try:
        b64decode(text, validate=True)
    except ValueError:
        return False
    return True


def one_or_list(value: Any) -> str:
    return "<list>" if isinstance(value, list | tuple) else "<one>"


def flag_or_table(value: Any) -> str | None:
    if isinstance(value, Mapping | BaseModel):
        return "<table>"
    return "<flag>" if isinstance(value, bool) else None


def text_or_table(value: Any) -> str | None:
    if isinstance(value, Mapping | BaseModel):
        return "<table>"
    return "<text>" if isinstance(value, str) else None


def shaped(look: Callable[[Any], str | None], message: str) -> Discriminator:
    """A choice between the tagged shapes of a key; ``message`` where it has none of them."""
    return Discriminator(look, custom_error_type="shape", custom_error_message=message)


FLAG_OR_TABLE = shaped(flag_or_table, "must be true, false or a mapping of keys")

Flag: TypeAlias = Annotated[bool, Strict()]
Text: TypeAlias = Annotated[str, Strict()]
FilledText: TypeAlias = Annotated[str, TextRule("must be a text that is not empty", bool, minLength=1)]
Count: TypeAlias = Annotated[int, Strict(), Field(ge=0)]
Positive: TypeAlias = Annotated[int, Strict(), Field(ge=1)]
PortNumber: TypeAlias = Annotated[int, Strict(), Field(ge=1, le=units.HIGHEST_PORT)]

_DURATION_SCHEMA = {
    "title": "duration",
    "anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": units.DURATION_PATTERN}],
}
Duration: TypeAlias = Annotated[int | float | str, Rule(units.seconds, **_DURATION_SCHEMA)]
Interval: TypeAlias = Annotated[int | float | str, Rule(_interval, **_DURATION_SCHEMA)]
ProbeDelay: TypeAlias = Annotated[int | float | str, Rule(_probe_delay, **_DURATION_SCHEMA)]
ProbeCount: TypeAlias = Annotated[int, Strict(), Field(ge=0, le=_MOST_PROBES)]
Share: TypeAlias = Annotated[float, Strict(), Field(ge=0, le=1, allow_inf_nan=False)]
Size: TypeAlias = Annotated[
    int | str,
    Rule(
        units.octets,
        title="size",
        anyOf=[{"type": "integer", "minimum": 0}, {"type": "string", "pattern": units.SIZE_PATTERN}],
    ),
]

_PORT_SCHEMA = [
    {"type": "integer", "minimum": 1, "maximum": units.HIGHEST_PORT},
    {"type": "string", "pattern": units.PORTS_PATTERN},
]
PortRange: TypeAlias = Annotated[int | str, Rule(units.ports, title="port or range", anyOf=_PORT_SCHEMA)]
Ports: TypeAlias = Annotated[
    Annotated[PortRange, Tag("<one>")] | Annotated[list[PortRange], Field(min_length=1), Tag("<list>")],
    Discriminator(one_or_list),
]
TargetPort: TypeAlias = Annotated[
    int | Literal["preserve"] | Choice,
    Rule(_target_port, title="port", anyOf=[_PORT_SCHEMA[0], {"const": "preserve"}]),
]
Workers: TypeAlias = Annotated[
    int | Literal["auto"],
    Rule(_workers, anyOf=[{"type": "integer", "minimum": 1}, {"const": "auto"}]),
]

Name: TypeAlias = Annotated[
    str, TextRule(f"must be a printable text of 1 to {_LONGEST_NAME} characters", _is_name, minLength=1)
]
Domain: TypeAlias = Annotated[
    str, TextRule('must be a name like "example.com", "*.example.com" or "*"', _is_domain, title="domain")
]
BindAddress: TypeAlias = Annotated[
    str,
    TextRule(
        'must be an IP address, or "" for every one',
        lambda text: not text or is_address(text),
        title="address",
    ),
]
AddressEntry: TypeAlias = Annotated[
    str,
    TextRule("must be an IP address, a CIDR or a range a-b", _is_entry, title="address, CIDR or range"),
]
AddressList: TypeAlias = list[AddressEntry]
PathPattern: TypeAlias = Annotated[str, Rule(_path, type="string", title="path pattern")]
Method: TypeAlias = Annotated[
    str, TextRule("must be a method in capitals, like GET", _METHOD.fullmatch, pattern=f"^{_METHOD.pattern}$")
]
HeaderName: TypeAlias = Annotated[str, TextRule("must be the name of a header", _TOKEN.fullmatch)]
HostName: TypeAlias = Annotated[
    str, TextRule("must be a host name or an IP address, without a port", _is_host, title="host")
]


HeaderValue: TypeAlias = Annotated[
    str,
    TextRule(
        "must be the value of a header: printable ASCII", re.compile(r"[!-~](?:[ -~]*[!-~])?").fullmatch
    ),
]
RedirectTo: TypeAlias = Annotated[
    str,
    TextRule(
        'must be a URL like "https://{host}{path}{query}", or a path that begins with one / and no field',
        is_template,
        title="URL with {host}, {path}, {query}",
    ),
]
Base64: TypeAlias = Annotated[
    str, TextRule("must be base64", _is_base64, title="base64", contentEncoding="base64")
]
_LONGEST_ALPN = 255  # RFC 7301, 3.1


def _is_alpn(text: str) -> bool:
    return text.isascii() and text.isprintable() and 1 <= len(text) <= _LONGEST_ALPN


AlpnName: TypeAlias = Annotated[
    str, TextRule('must be the name of a protocol, like "http/1.1"', _is_alpn, minLength=1)
]


def _name_pattern(written: Any) -> None:
    if not isinstance(written, str):
        raise ValueError("must be a text like DNS:*.clients.example")  # noqa: TRY004 - pydantic collects this one only
    checked_pattern(written)


NamePattern: TypeAlias = Annotated[str, Rule(_name_pattern, type="string", title="name pattern")]


def _host_shape(value: Any) -> str | None:
    if callable(value):
        return "<callable>"
    return one_or_list(value) if isinstance(value, str | list | tuple) else None


Host: TypeAlias = Annotated[
    Annotated[HostName, Tag("<one>")]
    | Annotated[list[HostName], Field(min_length=1), Tag("<list>")]
    | Annotated[Choice, Tag("<callable>"), SkipJsonSchema()],
    shaped(_host_shape, "must be a host name or an IP address, or a list of them"),
]


def _handler(written: Any) -> None:
    if isinstance(written, str) and _HANDLER.fullmatch(written):
        return
    if not is_handler(written):
        raise ValueError('must be written "package.module:callable"')


def is_handler(value: object) -> bool:
    """Whether a connection can be given to it: a callable, or a Twisted protocol factory, made already."""
    makes = hasattr(value, "buildProtocol")
    return not isclass(value) if makes else callable(value)


HandlerReference: TypeAlias = Annotated[
    Any, Rule(_handler, type="string", title="package.module:callable", pattern="^[^:]+:[^:]+$")
]
