"""The head of an HTTP/1 request (RFC 9112), parsed as far as routing needs it, and the refusal of a malformed one.

The request that a route is chosen by must be the request that the backend reads, or a client can smuggle one past
the rules of a route. So nothing is corrected here: a line ends in CRLF, a name is followed by its colon without
whitespace, there is one Host, and where the target also names a host, both are the same. Everything else is
malformed.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from smartproxy.wire.host import address_text, host_name, packed_address
from smartproxy.wire.http_fields import HEADERS_LIMIT, TCHAR, Fields
from smartproxy.wire.verdict import Done, Malformed, NeedMore, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable

#: Longest head in bytes, with its blank line (h11 has the same, nginx 32 KiB, Go 1 MiB). A request line may be as long.
HEAD_LIMIT: Final = 64 * 1024

LINE_TOO_LONG: Final = Malformed("request line too long")
HEAD_TOO_LONG: Final = Malformed("request head too large")
TOO_MANY_HEADERS: Final = Malformed("too many header fields")
_NOT_A_FIELD: Final = Malformed("not a header field")
_LONG_LIST: Final = Malformed("over 100 members of Connection or Upgrade")
OTHER_VERSION: Final = Malformed("neither HTTP/1.0 nor HTTP/1.1")

_NOT_ONE_HOST: Final = Malformed("not exactly one Host")
_NO_HOST: Final = Malformed("no host in the target")
_UNLIKE_HOST: Final = Malformed("Host unlike the target")

_STATUS: Final = {
    LINE_TOO_LONG: 414,
    HEAD_TOO_LONG: 431,
    TOO_MANY_HEADERS: 431,
    OTHER_VERSION: 505,
}

_END: Final = b"\r\n\r\n"
_LINE = re.compile(rb"(%b{1,32}) ([!-~]++) HTTP/([0-9]\.[0-9])" % TCHAR)
_LINE_BEGUN = re.compile(rb"\Z|%b{1,32}(?:\Z| (?:\Z|[!-~]))" % TCHAR)
_VERSIONS = {b"1.0": (1, 0), b"1.1": (1, 1)}
_LONGEST_LINE_BEGIN = 34
_SHORTEST_FIELD = 4  # b"a:\r\n"
_ABSOLUTE = re.compile(r"(https?)://([^/?]+)([^?]*)(?:\?.*)?", re.IGNORECASE)
_AUTHORITY = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^:\[\]]*))(?::([0-9]{0,5}))?")
_CONTROLS = bytes(
    [*range(9), 11, 12, *range(14, 32), 127]
)  # all but HTAB, and LF and CR, which are checked apart
_DEFAULT_PORTS = {"http": 80, "https": 443}

# What counts as the beginning of a request. The methods of RFC 9110, 9 and RFC 5789 are recognised by name;
# another word in capitals must be followed by a path, because "EHLO example" (SMTP) is not HTTP.
_BEGINS = re.compile(rb"(?:GET|HEAD|POST|PUT|DELETE|CONNECT|OPTIONS|TRACE|PATCH) |[A-Z][A-Z-]{0,15} /")
# A head that cannot be parsed is one of HTTP all the same, unless its first line is none, or names another protocol (RTSP, ICE).
_RESEMBLES = re.compile(rb"\S++ (?:/|https?:|\S++ HTTP/)", re.IGNORECASE)
_ANOTHER = re.compile(rb"\S++ \S++ (?!HTTP/)[A-Z]++/[0-9]")
# A server may skip blanks and empty lines (RFC 9112, 2.2), and take any word for a method.
_SKIPPED = re.compile(rb"[ \t\r\n]|[^\r\n]*[ \t]HTTP/1\.[0-9][ \t]*\r?\n")
_MAY_BEGIN = re.compile(rb"(?:[A-Z][A-Z-]{0,15} ?)?\Z")
_LONGEST_BEGIN = 18


class RequestHead(NamedTuple):
    """One request, without its body.

    :ivar method: as received; methods are case-sensitive.
    :ivar target: as received.
    :ivar path: of the target, as received, without its query; ``*`` for ``OPTIONS *``, empty for CONNECT.
    :ivar host: the host of the target or else of Host: lower case, without port, final dot or brackets.
    :ivar version: major and minor.
    :ivar fields: the header fields.
    """

    method: str
    target: str
    path: str
    host: str | None
    version: tuple[int, int] = (1, 1)
    fields: Fields = Fields()

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """The fields in the order received, names in lower case, values decoded as Latin-1."""
        return self.fields.pairs()


class HeadLimits(NamedTuple):
    """How large a head may be.

    :ivar size: most bytes, with its blank line; of the request line, too (RFC 9112, 3 asks for 8000).
    :ivar fields: most header fields.
    """

    size: int = HEAD_LIMIT
    fields: int = HEADERS_LIMIT


HEAD_LIMITS: Final = HeadLimits()


class _MalformedHeadError(Exception):
    """Why a head is malformed. Caught by :func:`parse`, and never raised to its callers."""

    def __init__(self, why: Malformed | str) -> None:
        super().__init__(why)
        self.verdict = Malformed(why) if isinstance(why, str) else why


class Authority(NamedTuple):
    """A host and a port, each ``None`` where it is empty."""

    host: str | None
    port: int | None


def begins_request(data: bytes | bytearray | memoryview) -> bool | None:
    """Whether ``data`` looks like the beginning of a request; ``None`` while more bytes are needed to decide."""
    begin = bytes(data[:_LONGEST_BEGIN])
    if _BEGINS.match(begin):
        return True
    return None if _MAY_BEGIN.match(begin) else False


def resembles_request(data: bytes | bytearray | memoryview) -> bool:
    """Whether a malformed head is a request that a lenient server might read, and not another protocol with words like GET."""
    return _RESEMBLES.match(data) is not None and _ANOTHER.match(data) is None


def precedes_request(data: bytes | bytearray | memoryview) -> bool:
    """Whether a lenient server might read a request in bytes that do not begin like one: blanks or empty lines, or any line of HTTP/1."""
    return _SKIPPED.match(data) is not None


def parse(data: bytes | bytearray | memoryview, limits: HeadLimits = HEAD_LIMITS) -> Verdict[RequestHead]:
    """Parse the head at the beginning of ``data``. ``consumed`` includes its blank line."""
    held = bytes(data[: limits.size])
    end = held.find(_END)
    return HeadParser(limits=limits)(held) if end < 0 else _complete(held[:end], limits.fields)


class HeadBlock(NamedTuple):
    """The lines of a head behind its request line: the same ones always give the same."""

    fields: Fields
    hosts: tuple[Authority, ...]  # what Host names; more than one is malformed, whatever they are
    number: int  # of fields


def parse_block(
    block: bytes, authority_of: Callable[[str], Authority] | None = None
) -> HeadBlock | Malformed:
    """Parse the lines of a head behind its request line.

    :param authority_of: :func:`parse_authority`, or a function that remembers what it has returned.
    """
    try:
        fields = Fields.parse(block)
        if fields.has_long_list():
            return _LONG_LIST
        hosts = tuple(map(authority_of or parse_authority, fields.noted("host")))
        return HeadBlock(fields, hosts, block.count(b"\n"))
    except ValueError:
        return _refusal(block, _NOT_A_FIELD)
    except _MalformedHeadError as broken:
        return broken.verdict


class RequestLine(NamedTuple):
    """A request line: the same one always gives the same.

    :ivar named: the host and the port in the target, where it has them.
    :ivar default: the port where the target has none.
    """

    method: str
    target: str
    path: str
    version: tuple[int, int]
    named: Authority | None = None
    default: int = 0


def parse_line(line: bytes) -> RequestLine | Malformed:
    """Parse a request line, without its CRLF."""
    try:
        return _read_line(*_request_line(line))
    except _MalformedHeadError as broken:
        return broken.verdict


def _complete(
    head: bytes,
    most_fields: int,
    block_of: Callable[[bytes], HeadBlock | Malformed] = parse_block,
    line_of: Callable[[bytes], RequestLine | Malformed] = parse_line,
) -> Verdict[RequestHead]:
    """Parse a head that has its blank line, which is not in ``head``."""
    end = head.find(b"\r\n")
    begin, lines = (head, b"") if end < 0 else (head[:end], head[end + 2 :] + b"\r\n")
    # Too many lines are not parsed: 10,000 fields would cost as much as many heads with the most that are allowed.
    is_too_many = len(lines) > _SHORTEST_FIELD * most_fields and lines.count(b"\n") > most_fields
    block = _refusal(head, TOO_MANY_HEADERS) if is_too_many else block_of(lines)
    if isinstance(block, Malformed):
        is_many = block is _NOT_A_FIELD and lines.count(b"\n") > most_fields
        return _refusal(begin, TOO_MANY_HEADERS if is_many else block)
    if block.number > most_fields:
        return TOO_MANY_HEADERS
    line = line_of(begin)
    if isinstance(line, Malformed):
        return line
    method, target, path, version, named, default = line
    hosts = block.hosts
    if len(hosts) != 1 and (hosts or version == (1, 1)):  # HTTP/1.0 needs none (RFC 9112, 3.2)
        return _NOT_ONE_HOST
    host = hosts[0].host if hosts else None
    if named is not None:
        agreed = _agreed(named, hosts[0] if hosts else None, default)
        if isinstance(agreed, Malformed):
            return agreed
        host = agreed
    return Done(RequestHead(method, target, path, host, version, block.fields), len(head) + 4)


def _refusal(head: bytes, otherwise: Malformed) -> Malformed:
    """Why ``head`` is refused: bytes that no head may have, or else ``otherwise``."""
    try:
        _refuse_bare(head)
    except _MalformedHeadError as broken:
        return broken.verdict
    return otherwise


class HeadParser:
    """:func:`parse` for bytes that are received in pieces: called with all of them, it checks new bytes only.

    A client may send one byte at a time, so only cheap checks are made before the blank line is received. Header fields
    are parsed once, when the head is complete. Then the parser is ready for another head.

    :param block_of: :func:`parse_block`, or a function that remembers what it has returned.
    :param line_of: :func:`parse_line`, likewise.
    :param known: the first head, where it was parsed before, perhaps by wider limits.
    """

    __slots__ = ("_block_of", "_checked", "_known", "_limits", "_line_end", "_line_of", "_lines")

    def __init__(
        self,
        block_of: Callable[[bytes], HeadBlock | Malformed] = parse_block,
        line_of: Callable[[bytes], RequestLine | Malformed] = parse_line,
        limits: HeadLimits = HEAD_LIMITS,
        known: RequestHead | None = None,
    ) -> None:
        self._known = known
        self._block_of = block_of
        self._line_of = line_of
        self._limits = limits
        self._begin()

    def _begin(self) -> None:
        self._checked = 0  # bytes that were checked; never between the CR and the LF of a line
        self._line_end = -1  # of the request line, once it was received
        self._lines = 0

    def __call__(self, data: bytes | bytearray) -> Verdict[RequestHead]:
        """The verdict on ``data``, which begins with the bytes of the former call."""
        # The blank line may begin with the CRLF at the end of what was checked.
        checked, (size, fields) = self._checked, self._limits
        end = data.find(_END, checked - 2 if checked > 2 else 0, size)  # noqa: PLR2004 - as above
        if end >= 0:
            if checked:
                self._begin()
            if self._known is not None:
                known, self._known = self._known, None
                return TOO_MANY_HEADERS if len(known.fields) > fields else Done(known, end + 4)
            return _complete(bytes(data[:end]), fields, self._block_of, self._line_of)
        try:
            return self._unfinished(data)
        except _MalformedHeadError as broken:
            return broken.verdict

    def _unfinished(self, data: bytes | bytearray) -> NeedMore:
        """The verdict on a head without its blank line."""
        most, most_fields = self._limits
        size = min(len(data), most)
        begun = bytes(data[self._checked : size]).removesuffix(b"\r")
        _refuse_bare(begun)
        if self._line_end < 0:
            self._check_line(data, self._checked + len(begun))
        self._checked += len(begun)
        self._lines += begun.count(b"\r\n")
        if self._lines > most_fields + 1:
            raise _MalformedHeadError(TOO_MANY_HEADERS)
        # The part of the blank line that is there already: NeedMore is exact, and no head over the limit is waited for.
        last = bytes(data[max(size - 3, 0) : size])
        tail = next(count for count in (3, 2, 1, 0) if last.endswith(_END[:count]))
        if size + 4 - tail > most:
            raise _MalformedHeadError(HEAD_TOO_LONG)
        return NeedMore(size + 4 - tail)

    def _check_line(self, data: bytes | bytearray, size: int) -> None:
        """Check the request line, or as much of it as is in the first ``size`` bytes."""
        end = data.find(b"\r\n", self._checked, size)
        if (size if end < 0 else end) + len(_END) > self._limits.size:
            raise _MalformedHeadError(LINE_TOO_LONG)
        if end >= 0:
            self._line_end = end
            _request_line(bytes(data[:end]))
        elif not _LINE_BEGUN.match(bytes(data[:_LONGEST_LINE_BEGIN])):
            raise _MalformedHeadError("not a request line")


def _refuse_bare(head: bytes) -> None:
    """Refuse CR or LF without the other (RFC 9112, 2.2), and controls other than HTAB (RFC 9110, 5.5)."""
    lines = head.count(b"\r\n")
    if head.count(b"\n") != lines or head.count(b"\r") != lines:
        raise _MalformedHeadError("CR or LF alone")
    if len(head.translate(None, _CONTROLS)) != len(head):
        raise _MalformedHeadError("control character")


def _request_line(line: bytes) -> tuple[str, str, tuple[int, int]]:
    """Method, target and version."""
    match = _LINE.fullmatch(line)
    if match is None:
        raise _MalformedHeadError("not a request line")
    version = _VERSIONS.get(match[3])
    if version is None:
        raise _MalformedHeadError(OTHER_VERSION)
    return match[1].decode("ascii"), match[2].decode("ascii"), version


def parse_authority(text: str) -> Authority:
    """Parse a host with an optional port (RFC 3986, 3.2); the host may be empty.

    :raises Exception: where it is malformed; the functions above return that as a verdict.
    """
    match = _AUTHORITY.fullmatch(text)
    if match is None:
        raise _MalformedHeadError("not a host")
    literal, name, digits = match.groups()
    port = int(digits) if digits else None
    if port is not None and port > 65535:  # noqa: PLR2004 - a number that the line itself explains
        raise _MalformedHeadError("port over 65535")
    if literal:
        return Authority(_literal(literal), port)
    host = host_name(name.encode("latin-1")) if name else None
    if name and host is None:
        raise _MalformedHeadError("not a host")
    return Authority(host, port)


def _literal(text: str) -> str:
    """The IPv6 address within brackets, normalised."""
    if ":" not in text:
        raise _MalformedHeadError("not an IPv6 address in brackets")
    try:
        return address_text(packed_address(text))
    except ValueError:
        raise _MalformedHeadError("not an IPv6 address in brackets") from None


def _read_line(method: str, target: str, version: tuple[int, int]) -> RequestLine:
    """A request line, by the four forms of a target (RFC 9112, 3.2)."""
    if target.startswith("/") and "#" not in target and method != "CONNECT":
        return RequestLine(method, target, target.partition("?")[0], version)
    if "#" in target:
        raise _MalformedHeadError("fragment in the target")
    if method == "CONNECT":
        authority = parse_authority(target)
        if authority.host is None or authority.port is None:
            raise _MalformedHeadError("CONNECT to no host and port")
        return RequestLine(method, target, "", version, authority, authority.port)
    if target == "*" and method == "OPTIONS":
        return RequestLine(method, target, target, version)
    match = _ABSOLUTE.fullmatch(target)
    if match is None:
        raise _MalformedHeadError("not a request target")
    named = parse_authority(match[2])
    return RequestLine(method, target, match[3] or "/", version, named, _DEFAULT_PORTS[match[1].lower()])


def _agreed(target: Authority, host: Authority | None, default: int) -> str | Malformed:
    """The target's host. It overrides Host (RFC 9112, 3.2.2); not every backend does so, hence both must be equal."""
    if target.host is None:
        return _NO_HOST
    if host and (host.host, host.port or default) != (target.host, target.port or default):
        return _UNLIKE_HOST
    return target.host


def status_of(why: Malformed) -> int:
    """The status of the response to a head that :func:`parse` called malformed: 414, 431, 505, and else 400."""
    return _STATUS.get(why, 400)
