"""Rules for values: what a value must be, and the message when it is not.

A rule checks a value and keeps it as it was written, so that messages, the API and ``again`` show what a person wrote;
:mod:`smartproxy.settings.compile` turns it into numbers and sets. The types in :mod:`types` combine the rules.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Callable, Mapping
from inspect import isclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from pydantic import BaseModel, Discriminator
from pydantic_core import core_schema

from smartproxy.routing import domains
from smartproxy.security.address_set import networks_of
from smartproxy.settings.tables import units
from smartproxy.tls.identity import checked_pattern
from smartproxy.wire.host import NAME_LIMIT, host_name, is_address

if TYPE_CHECKING:
    from typing import TypeGuard

    from smartproxy.model.plan import Handler

ValueT = TypeVar("ValueT")

#: RFC 9110, section 5.6.2: a token; header names and methods are tokens.
TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
METHOD = re.compile(r"[A-Z][A-Z0-9_-]*")
#: Printable ASCII without blanks at the ends (RFC 9110, section 5.5).
#: The target of a request (RFC 9112, section 3.2.1).
REQUEST_TARGET = re.compile(r"/[!-~]*")
FIELD_VALUE = re.compile(r"[!-~](?:[ -~]*[!-~])?")
LONGEST_NAME: Final = 200
_LONGEST_ALPN: Final = 255  # RFC 7301, section 3.1
#: MAX_TCP_KEEPIDLE and MAX_TCP_KEEPINTVL of Linux's net/tcp.h, in seconds.
_LONGEST_PROBE_DELAY: Final = 32767
#: What cannot be in a path (RFC 3986, section 3.3), or is only written in regular expressions.
_REGEX_LIKE = re.compile(r"[\^\\|{}\[\]]|\(\.|\(\?|/\.[*+]|\$$")
_PATH = re.compile(r"[/*][!-~]*")
_NAMELESS_SEGMENT = re.compile(r"/:(?![A-Za-z_])")
_HANDLER = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*:[^\W\d]\w*(?:\.[^\W\d]\w*)*")


class Rule:
    """A check of a value, for ``Annotated``.

    :param check: raises ``ValueError`` with the message.
    :param schema: what the JSON Schema has for such a value.
    """

    def __init__(self, check: Callable[[object], object], **schema: object) -> None:
        self._check = check
        self._schema = schema

    def __get_pydantic_core_schema__(self, _source: object, _handler: object) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(self._validate)

    def __get_pydantic_json_schema__(self, _schema: object, _handler: object) -> dict[str, Any]:
        return dict(self._schema)

    def _validate(self, written: ValueT) -> ValueT:
        self._check(written)
        return written


class StringRule(Rule):
    """A rule for a string.

    :param message: where the value is not a string, or does not pass ``test``.
    """

    def __init__(self, message: str, test: Callable[[str], object], **schema: object) -> None:
        def check(written: object) -> None:
            if not isinstance(written, str) or not test(written):
                raise ValueError(message)

        super().__init__(check, **({"type": "string"} | schema))


# -- checks of any value: they raise ValueError with the message -----------------------------------------


def check_interval(written: object) -> None:
    if units.seconds(written) == 0:
        raise ValueError("must be longer than 0")


def check_probe_delay(written: object) -> None:
    value = units.seconds(written)
    if value and not 1 <= value <= _LONGEST_PROBE_DELAY:
        raise ValueError(f"must be 1s to {_LONGEST_PROBE_DELAY}s, or 0 for the default of the system")


def check_target_port(written: object) -> None:
    if written == "preserve" or callable(written):
        return
    if not _is_integer(written) or not 1 <= written <= units.HIGHEST_PORT:
        raise ValueError('must be 1..65535 or "preserve"')


def check_workers(written: object) -> None:
    if written != "auto" and not (_is_integer(written) and written >= 1):
        raise ValueError('must be a number of processes from 1, or "auto"')


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
    is_reference = isinstance(written, str) and _HANDLER.fullmatch(written)
    if not is_reference and not is_handler(written):
        raise ValueError('must be written "package.module:callable"')


def is_handler(value: object) -> TypeGuard[Handler]:
    """Whether it can serve connections: a callable, or an instance of a Twisted protocol factory."""
    is_factory = hasattr(value, "buildProtocol")
    return not isclass(value) if is_factory else callable(value)


def _is_integer(value: object) -> TypeGuard[int]:
    """Whether it is an integer; ``True`` and ``False`` are none here."""
    return isinstance(value, int) and not isinstance(value, bool)


# -- tests of strings ------------------------------------------------------------------------------------


def is_address_entry(text: str) -> bool:
    return _succeeds(networks_of, text)


def is_bind_address(text: str) -> bool:
    return not text or is_address(text)


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


#: In place of a server name: the one that the client asks for.
CLIENT_NAME = "{domain}"


def is_server_name(text: str) -> bool:
    """Whether a certificate can be valid for ``text``, or it is :data:`CLIENT_NAME`. Other alphabets are allowed."""
    if text == CLIENT_NAME or is_address(text):
        return True
    return "*" not in text and is_domain(text) and is_host(domains.normalise_pattern(text))


def is_domain(text: str) -> bool:
    return _succeeds(domains.normalise_pattern, text)


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


# -- keys with several shapes ----------------------------------------------------------------------------
#
# A discriminator looks at the shape of a value first, so that the message is that of the shape that was meant. Its tags
# are in angle brackets, which tells them from keys in the paths of pydantic's errors.


def shaped(shape_of: Callable[[object], str | None], message: str) -> Discriminator:
    """A choice between the tagged shapes of a key; ``message`` where the value has none of them."""
    return Discriminator(shape_of, custom_error_type="shape", custom_error_message=message)


def one_or_list(value: object) -> str:
    return "<list>" if isinstance(value, list | tuple) else "<one>"


def flag_or_table(value: object) -> str | None:
    if isinstance(value, Mapping | BaseModel):
        return "<table>"
    return "<flag>" if isinstance(value, bool) else None


def string_or_table(value: object) -> str | None:
    if isinstance(value, Mapping | BaseModel):
        return "<table>"
    return "<string>" if isinstance(value, str) else None


def host_shape(value: object) -> str | None:
    if callable(value):
        return "<callable>"
    return one_or_list(value) if isinstance(value, str | list | tuple) else None
