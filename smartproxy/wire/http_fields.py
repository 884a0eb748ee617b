r"""Header fields of HTTP/1 (RFC 9112, 5): a block of lines that was checked as a whole, and what was found in it.

::

    fields = Fields.parse(b"Host: a.example\r\nX-Env: staging\r\n")     # ValueError where it is malformed
    fields.values("x-env")                                               # ["staging"]
    fields.without({b"x-env"})                                           # b"Host: a.example\r\n"

A block is parsed by one regular expression and kept as bytes: most fields of a request are only passed on, and to make two
strings of each would cost more than everything else. Nothing is corrected. A folded line, a blank before the colon, CR or LF
alone and control characters are malformed, because another server may read them in another way (request smuggling).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, KeysView

#: Most fields of a head (Apache: 100, HAProxy: 101).
HEADERS_LIMIT: Final = 100
#: Most members of a list that each of them is compared for: as many as there are fields that Connection could name.
LIST_LIMIT: Final = 100

#: A character of a token, such as a name or a method.
TCHAR: Final = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]"  # RFC 9110, 5.6.2
#: Printable bytes, those above ASCII, blanks and tabs (RFC 9110, 5.5).
_VALUE: Final = rb"[\t -~\x80-\xff]"
# Possessive: each byte is looked at once, whatever the block is.
_BLOCK: Final = re.compile(rb"(?:%b++:%b*+\r\n)*+" % (TCHAR, _VALUE))
_LINE: Final = re.compile(rb"([^:]++):[\t ]*+([^\r]*?)[\t ]*+\r\n")
_NAME: Final = re.compile(TCHAR + rb"+")
_ANY_VALUE: Final = re.compile(_VALUE + rb"*")
#: Fields that framing, routing, persistence, logs and tracing depend on, and those that a proxy replaces. All are looked for
#: once, in one pass over the block. Most lines begin with another letter than these, which is found out first.
_NOTED: Final = re.compile(
    r"\n(?=[cefhkprtuvx])(host|content-length|transfer-encoding|connection|expect|upgrade|te|trailer|proxy-connection|keep-alive"
    r"|user-agent|referer|via|traceparent|tracestate|proxy|forwarded"
    r"|x[-_.](?:(?:request|real)[-_.][a-z]++|forwarded[-_.][^:\n]*+)):"
    r"[\t ]*+([^\r]*+)",
    re.IGNORECASE | re.ASCII,
)


class Fields:
    """Checked fields.

    :ivar block: the lines as received, each with its CRLF; without the blank line.
    :ivar derived: what a reader has derived of them, and keeps with them; ``None`` before.
    """

    __slots__ = ("_noted", "block", "derived")

    def __init__(self, block: bytes = b"") -> None:
        self.block = block
        self._noted: dict[str, list[str]] | None = None
        self.derived: Any = None

    @classmethod
    def parse(cls, block: bytes) -> Fields:
        """The fields of ``block``.

        :raises ValueError: where it is malformed.
        """
        if not _BLOCK.fullmatch(block):
            raise ValueError("not header fields")
        return cls(block)

    @classmethod
    def of(cls, pairs: Iterable[tuple[str, str]]) -> Fields:
        """Fields with these names and values.

        :raises ValueError: where one cannot be written as a line.
        """
        return cls(b"".join(line(name, value) for name, value in pairs))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Fields) and self.pairs() == other.pairs()

    def __hash__(self) -> int:
        return hash(self.pairs())

    def __repr__(self) -> str:
        return f"Fields({self.block!r})"

    def __len__(self) -> int:
        return self.block.count(b"\n")

    def pairs(self) -> tuple[tuple[str, str], ...]:
        """Names in lower case and values decoded as Latin-1, in the order received."""
        return tuple(
            (name.decode("ascii").lower(), value.decode("latin-1"))
            for name, value in _LINE.findall(self.block)
        )

    def noted(self, name: str) -> list[str]:
        """The values of one of the fields that framing, routing, persistence, logs and tracing depend on, or a proxy replaces.

        :param name: in lower case: ``host``, ``content-length``, ``transfer-encoding``, ``connection``, ``expect``,
            ``upgrade``, ``te``, ``trailer``, ``proxy-connection``, ``keep-alive``, ``user-agent``, ``referer``,
            ``via``, ``traceparent``, ``tracestate``, ``proxy``, ``forwarded``, or one that begins with ``x-request-``,
            ``x-forwarded-`` or ``x-real-``, also with ``_`` or ``.`` in place of ``-``.
        """
        noted = self._noted
        return (self._note() if noted is None else noted).get(name, [])

    def noted_names(self) -> KeysView[str]:
        """The names of the fields that :meth:`noted` has, in lower case."""
        return (self._note() if self._noted is None else self._noted).keys()

    def _note(self) -> dict[str, list[str]]:
        noted = self._noted = {}
        for found, value in _NOTED.findall("\n" + self.block.decode("latin-1")):
            name, text = found.lower(), value.rstrip("\t ")
            if name in noted:
                noted[name].append(text)
            else:
                noted[name] = [text]
        return noted

    def has_long_list(self) -> bool:
        """Whether ``Connection`` or ``Upgrade`` has over :data:`LIST_LIMIT` members, the empty ones included."""
        if self.block.count(b",") < LIST_LIMIT:  # most blocks: nothing else is looked at
            return False
        return any(
            sum(value.count(",") for value in self.noted(name)) >= LIST_LIMIT
            for name in ("connection", "upgrade")
        )

    def values(self, name: str) -> list[str]:
        """The values of any field; ``name`` in lower case."""
        return [value for found, value in self.pairs() if found == name]

    def without(self, names: Collection[bytes]) -> bytes:
        """The lines of all fields but ``names``, which are in lower case."""
        return b"".join(
            each
            for each in self.block.splitlines(keepends=True)
            if each[: each.find(b":")].lower() not in names
        )


class FieldRemoval:
    """Removes the lines of some fields from a block.

    :param names: a regular expression of their names.
    """

    __slots__ = ("_line",)

    def __init__(self, names: bytes) -> None:
        # The line break before it is literal, and so looked for first: twice as fast as with ^.
        self._line = re.compile(rb"\n(?:%b):[^\n]*+" % names, re.IGNORECASE)

    def __call__(self, block: bytes) -> bytes:
        """What is left of ``block``."""
        return self._line.sub(b"", b"\n" + block)[1:]


def line(name: str, value: str) -> bytes:
    """One field as a line.

    :param value: in Latin-1, which is how those that were received are decoded.
    :raises ValueError: where name or value cannot be written: a line break in it would begin another field.
    :raises TypeError: where one is no string.
    """
    try:
        encoded, text = name.encode("latin-1"), value.encode("latin-1")
    except UnicodeEncodeError:
        encoded = text = b""
    except AttributeError:
        types = f"{type(name).__name__} and {type(value).__name__}"
        raise TypeError(f"the name and the value of a header must be str (got {types})") from None
    if not _NAME.fullmatch(encoded) or not _ANY_VALUE.fullmatch(text):
        raise ValueError(f"not a header field: {name!a}: {value!a}")
    return b"%b: %b\r\n" % (encoded, text)


def tokens(values: Iterable[str]) -> list[str]:
    """The members of a list field such as Connection, in lower case (RFC 9110, 5.6.1)."""
    return [token for value in values for part in value.split(",") if (token := part.strip(" \t").lower())]
