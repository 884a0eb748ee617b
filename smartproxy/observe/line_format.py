"""How the fields of an access log become a line: as a JSON object, or as ``key=value`` pairs.

Both escape everything but printable ASCII. In text, a value with a space, a quote or an equals sign is quoted, and an
unknown one is ``-``.
"""

from __future__ import annotations

import json
from json.encoder import encode_basestring_ascii as _quoted
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

#: Escapes a value as JSON does; the text format uses the same escapes.
_encode = json.JSONEncoder(ensure_ascii=True).encode
_TO_QUOTE = frozenset(' "=\\')
_UNKNOWN = "-"  # in text


class LineFormat(NamedTuple):
    """How fields become a line.

    :ivar part: formats some of them.
    :ivar value: formats a value of any kind.
    :ivar text: formats a string; numbers are written as they are, and booleans as :data:`BOOLEANS`.
    :ivar unknown: is written for ``None``.
    :ivar pair: of a name and a value, as a format of :meth:`str.format`; the value is ``%s``.
    :ivar between: stands between two pairs.
    :ivar line: makes a line of all.
    """

    part: Callable[[dict[str, object]], str]
    value: Callable[[object], str]
    text: Callable[[str], str]
    unknown: str
    pair: str
    between: str
    line: Callable[[str], str]

    def template(self, names: Iterable[str]) -> str:
        """What ``%`` makes a part of a line of, with a value for each of ``names``."""
        return self.between.join([self.pair.format(name) for name in names])


#: What is written for ``False`` and ``True``.
BOOLEANS: Final = ("false", "true")


def as_text(values: dict[str, object]) -> str:
    """Format as ``key=value`` pairs, separated by spaces."""
    return " ".join([f"{key}={_value(value)}" for key, value in values.items()])


def _value(value: object) -> str:
    if isinstance(value, bool):
        return BOOLEANS[value]
    if isinstance(value, dict):
        value = ";".join(f"{name}={inner}" for name, inner in value.items())
    if value is None:
        return _UNKNOWN
    return _text(value) if isinstance(value, str) else str(value)


def _text(value: str) -> str:
    # An empty string and a literal "-" are quoted too, so that neither can be taken for an unknown value.
    quoted = _quoted(value)
    bare = quoted[1:-1]
    return bare if bare and bare != _UNKNOWN and _TO_QUOTE.isdisjoint(bare) else quoted


JSON: Final = LineFormat(
    part=lambda fields: _encode(fields)[1:-1],
    value=_encode,
    text=_quoted,
    unknown="null",
    pair='"{}": %s',
    between=", ",
    line=lambda all_of: "{" + all_of + "}",
)
TEXT: Final = LineFormat(
    part=as_text, value=_value, text=_text, unknown=_UNKNOWN, pair="{}=%s", between=" ", line=str
)
