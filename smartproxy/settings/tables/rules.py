"""Rules for values: what a value must be, and the message when it is not.

A rule checks a value and keeps it as it was written, so that messages, the API and ``again`` show what a person wrote;
:mod:`smartproxy.settings.compile` turns it into numbers and sets. The types in :mod:`types` combine the rules.
"""

from __future__ import annotations

import os
import re
from base64 import b64decode
from inspect import isclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from pydantic_core import core_schema

from smartproxy.http.local.handlers import answers_of
from smartproxy.model.plan.target import CLIENT_NAME
from smartproxy.routing import domains, paths
from smartproxy.security.address_set import networks_of
from smartproxy.settings.tables import units
from smartproxy.settings.tables.hints import header_hint, quotes_hint
from smartproxy.tls.identity import checked_pattern
from smartproxy.wire import proxy_tlv
from smartproxy.wire.host import NAME_LIMIT, host_name, is_address

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeGuard

    from smartproxy.model.plan import Handler

ValueT = TypeVar("ValueT")

#: RFC 9110, section 5.6.2: a token; header names and methods are tokens.
TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
METHOD = re.compile(r"[A-Z][A-Z0-9_-]*")
#: The target of a request (RFC 9112, section 3.2.1). It has no fragment.
REQUEST_TARGET = re.compile(r'/[!"$-~]*')
#: Printable ASCII without blanks at the ends (RFC 9110, section 5.5).
FIELD_VALUE = re.compile(r"[!-~](?:[ -~]*[!-~])?")
RECEIVED_VALUE = re.compile(r"(?![ \t])[^\0\r\n]*(?<![ \t])")
LONGEST_NAME: Final = 200
#: What a check of a target may be, besides a callable.
CHECK_TYPES: Final = ("connect", "tls", "http", "script")
#: Bytes of a value: receivers limit the whole header, nginx to 4,096 bytes.
LONGEST_TLV: Final = 1024
#: Before a value that is not text.
_HEX: Final = "hex:"
#: Their values are structures, checksums or padding.
_NOT_COMPARED: Final = frozenset({proxy_tlv.PP2_TYPE_SSL, proxy_tlv.PP2_TYPE_CRC32C, proxy_tlv.PP2_TYPE_NOOP})
_LONGEST_ALPN: Final = 255  # RFC 7301, section 3.1
#: MAX_TCP_KEEPIDLE and MAX_TCP_KEEPINTVL of Linux's net/tcp.h, in seconds.
_LONGEST_PROBE_DELAY: Final = 32767
#: tcp(7): milliseconds in an int, which is almost 25 days.
_LONGEST_USER_TIMEOUT: Final = 24 * 86400
#: What cannot be in a path (RFC 3986, section 3.3), or is only written in regular expressions.
_REGEX_LIKE = re.compile(r"[\^\\|{}\[\]]|\(\.|\(\?|/\.[*+]|\$$")
#: Worker processes at most: more than a machine has cores are of no use.
MOST_WORKERS: Final = 256
_PATH = re.compile(r"[/*][!-~]*")
_NOT_IN_A_PREFIX = re.compile(r"\A[^/]|[^!-~]|[*?#{}\\]|/:[A-Za-z_]|//")
_HOST_HEADER = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]]+)(?::([0-9]{1,5}))?")
_NAMELESS_SEGMENT = re.compile(r"/:(?![A-Za-z_])")
#: ``package.module:callable``.
HANDLER = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*:[^\W\d]\w*(?:\.[^\W\d]\w*)*")


class Rule:
    """A check of a value, for ``Annotated``.

    :param check: raises ``ValueError`` with the message.
    :param hint: what to write instead of a value that is refused, for the end of the message; or ``""``.
    :param schema: what the JSON Schema has for such a value.
    """

    def __init__(
        self, check: Callable[[object], object], hint: Callable[[Any], str] | None = None, **schema: object
    ) -> None:
        self._check = check
        self._hint = hint
        self._schema = schema

    def __get_pydantic_core_schema__(self, _source: object, _handler: object) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(self._validate)

    def __get_pydantic_json_schema__(self, _schema: object, _handler: object) -> dict[str, Any]:
        return dict(self._schema)

    def _validate(self, written: ValueT) -> ValueT:
        try:
            self._check(written)
        except ValueError as problem:
            hint = self._hint(written) if self._hint is not None else ""
            if not hint:
                raise
            raise ValueError(f"{problem}; {hint}") from None
        return written


class StringRule(Rule):
    """A rule for a string.

    :param message: where the value is not a string, or does not pass ``test``.
    :param hint: as of :class:`Rule`, for strings.
    """

    def __init__(
        self,
        message: str,
        test: Callable[[str], object],
        hint: Callable[[str], str] | None = None,
        **schema: object,
    ) -> None:
        def check(written: object) -> None:
            if not isinstance(written, str) or not test(written):
                raise ValueError(message)

        def hint_for(written: object) -> str:
            if isinstance(written, str):
                return hint(written) if hint is not None else ""
            # The other hints are for names, paths and addresses: a number in place of one is not a matter of quotes.
            return quotes_hint(written) if hint in {None, header_hint} and test(str(written)) else ""

        super().__init__(check, hint_for, **({"type": "string"} | schema))


# -- checks of any value: they raise ValueError with the message -----------------------------------------


def check_interval(written: object) -> None:
    value = units.seconds(written)
    if value < units.SHORTEST_INTERVAL:
        raise ValueError("must be 1ms or longer" if value else "must be longer than 0")


def check_probe_delay(written: object) -> None:
    value = units.seconds(written)
    if value and not 1 <= value <= _LONGEST_PROBE_DELAY:
        meant = f'; did you mean "{written:g}s"?' if isinstance(written, int | float) and value < 1 else ""
        raise ValueError(f"must be 1s to {_LONGEST_PROBE_DELAY}s, or 0 for the default of the system{meant}")


def check_user_timeout(written: object) -> None:
    value = units.seconds(written)
    if value and not 1 <= value <= _LONGEST_USER_TIMEOUT:
        raise ValueError('must be 1s to "24d", or 0 for the default of the system')


def check_target_port(written: object) -> None:
    if written == "preserve" or callable(written):
        return
    if not _is_integer(written) or not 1 <= written <= units.HIGHEST_PORT:
        raise ValueError('must be 1..65535 or "preserve"')


def check_check_type(written: object) -> None:
    """A class is callable, but what it makes is no result of a check."""
    is_callable = callable(written) and not isclass(written)
    if not is_callable and not (isinstance(written, str) and written in CHECK_TYPES):
        *others, last = (f'"{name}"' for name in CHECK_TYPES)
        raise ValueError(f"must be {', '.join(others)} or {last}")


def check_workers(written: object) -> None:
    if written != "auto" and not (_is_integer(written) and 1 <= written <= MOST_WORKERS):
        raise ValueError(f'must be a number of processes from 1 to {MOST_WORKERS}, or "auto"')


def check_path(written: object) -> None:
    if not isinstance(written, str) or not written:
        raise ValueError('must be a string like "/api/*"')
    if _REGEX_LIKE.search(written):
        raise ValueError(
            "looks like a regular expression; a path is exact, with * for anything and :name for one segment"
        )
    if not _PATH.fullmatch(written) or "?" in written or "#" in written:
        raise ValueError("must be a path that begins with / or *, without blanks and without a query")
    if _NAMELESS_SEGMENT.search(written):
        raise ValueError("must have a name after each : that begins a segment")
    names = paths.names(written)
    if len(set(names)) < len(names):
        raise ValueError("must not have two segments with the same name")


def check_new_path(written: object) -> None:
    if not isinstance(written, str) or not written.startswith("/"):
        raise ValueError('must be a path like "/v2/:id"')


def check_regular_expression(written: object) -> None:
    if not isinstance(written, str) or not written:
        raise ValueError("must be a regular expression")
    try:
        re.compile(written.encode())
    except re.error as why:
        raise ValueError(f"is not a regular expression: {why}") from None


def check_name_pattern(written: object) -> None:
    if not isinstance(written, str):
        raise ValueError("must be a string like DNS:*.clients.example")  # noqa: TRY004 - pydantic collects ValueError only
    checked_pattern(written)


def check_handler(written: object) -> None:
    is_reference = isinstance(written, str) and HANDLER.fullmatch(written)
    if is_reference or is_handler(written):
        return
    if isinstance(written, str | int | float | list | dict):
        raise ValueError('must be written "package.module:callable"')  # noqa: TRY004 - pydantic collects ValueError only
    raise ValueError("is not a handler: neither a callable nor a protocol factory")


def is_file_path(written: str) -> bool:
    """A path that the system can be asked for."""
    return bool(written) and "\0" not in written and _succeeds(os.fsencode, written)


def check_file_path(written: object) -> None:
    if not isinstance(written, str) or not written:
        raise ValueError("must be a string that is not empty")
    if not is_file_path(written):
        raise ValueError("must be a path: it has a character that no path has")


def is_handler(value: object) -> TypeGuard[Handler]:
    """Whether it can serve connections or requests: a callable, a web resource, or an instance of a Twisted protocol factory."""
    is_factory = hasattr(value, "buildProtocol")
    return not isclass(value) if is_factory else callable(value) or answers_of(value) is not None


def _is_integer(value: object) -> TypeGuard[int]:
    """Whether it is an integer; ``True`` and ``False`` are none here."""
    return isinstance(value, int) and not isinstance(value, bool)


#: Below, no browser's request fits; above, a head is longer than what is held of a client before it has a route.
_HEAD_SIZES: Final = range(1024, 128 * 1024 + 1)


def check_head_size(written: object) -> None:
    if units.octets(written) not in _HEAD_SIZES:
        raise ValueError('must be 1 KiB to 128 KiB ("64KiB")')


# -- tests of strings ------------------------------------------------------------------------------------


#: Begins an entry of an address list that names a file with entries.
ADDRESS_FILE: Final = "file:"


def is_address_entry(text: str) -> bool:
    if text.startswith(ADDRESS_FILE):
        return is_file_path(text.removeprefix(ADDRESS_FILE).strip())
    return _succeeds(networks_of, text)


def is_bind_address(text: str) -> bool:
    return not text or is_address(text)


def is_source_address(text: str) -> bool:
    return is_address(text)


def is_socket_path(text: str) -> bool:
    return text not in {"", "@"} and text.isprintable() and not text.startswith("unix:")


def is_host(text: str) -> bool:
    if is_address(text):
        return True
    name = host_name(text.encode("utf-8", "replace"))
    if name is None or len(text) > NAME_LIMIT:
        return False
    # Stricter than for names on the wire, because these are more likely typing errors than names: no top-level domain is a
    # number (RFC 3696, section 2), as in 10.0.0.300, and no label begins or ends with a hyphen.
    labels = name.split(".")
    return not labels[-1].isdigit() and all(label == label.strip("-") for label in labels)


def is_target_host(text: str) -> bool:
    return text == CLIENT_NAME or is_host(text)


def is_path_prefix(text: str) -> bool:
    return bool(text.strip("/")) and not _NOT_IN_A_PREFIX.search(text)


def is_host_header(text: str) -> bool:
    found = _HOST_HEADER.fullmatch(text)
    if found is None or not text.isascii() or not 1 <= int(found[2] or 1) <= units.HIGHEST_PORT:
        return False
    host = found[1]
    return is_address(host[1:-1]) and ":" in host if host.startswith("[") else is_host(host)


def is_service(text: str) -> bool:
    return not is_address(text) and is_host(text)


def is_server_name(text: str) -> bool:
    """Whether a certificate can be valid for ``text``, or it is :data:`CLIENT_NAME`. Other alphabets are allowed."""
    if text == CLIENT_NAME or is_address(text):
        return True
    return "*" not in text and is_domain(text) and is_host(domains.normalise_pattern(text))


def is_domain(text: str) -> bool:
    return _succeeds(domains.normalise_pattern, text)


def is_comparable_tlv(text: str) -> bool:
    return _succeeds(proxy_tlv.type_of, text) and proxy_tlv.type_of(text) not in _NOT_COMPARED


def is_custom_tlv(text: str) -> bool:
    if not _succeeds(proxy_tlv.type_of, text):
        return False
    return proxy_tlv.PP2_TYPE_MIN_CUSTOM <= proxy_tlv.type_of(text) <= proxy_tlv.PP2_TYPE_MAX_CUSTOM


def as_written_number(value: object) -> object:
    """A number as text: keys of a file are text, and those of a mapping in Python may be numbers."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def is_error_status(text: str) -> bool:
    return len(text) == len("502") and text.isascii() and text.isdigit() and text[0] in "45"


def is_tlv_value(text: str) -> bool:
    return _succeeds(tlv_value, text) and 1 <= len(tlv_value(text)) <= LONGEST_TLV


def tlv_value(text: str) -> bytes:
    """The bytes of a value: those behind ``hex:``, or else the text in UTF-8.

    :raises ValueError: where what follows ``hex:`` is not hexadecimal.
    """
    if text.startswith(_HEX):
        return bytes.fromhex(text.removeprefix(_HEX))
    return text.encode("utf-8", "surrogateescape")


def is_name(text: str) -> bool:
    return bool(text.strip()) and len(text) <= LONGEST_NAME and text.isprintable()


def is_alpn(text: str) -> bool:
    return text.isascii() and text.isprintable() and 1 <= len(text) <= _LONGEST_ALPN


def is_base64(text: str) -> bool:
    return _succeeds(lambda written: b64decode(written, validate=True), text)


def _succeeds(parse: Callable[[str], object], text: str) -> bool:
    try:
        parse(text)
    except ValueError:
        return False
    return True
