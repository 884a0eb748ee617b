"""ClientHello, the first message of a TLS client (RFC 8446, 4.1.2; RFC 5246, 7.4.1.2), parsed without consuming it.

Its values decide on the route, the certificate and refusals; the bytes themselves are forwarded unchanged. The
parser must never see another name than the TLS implementation behind the proxy does. So it accepts only what every
implementation reads the same way: lengths that add up exactly, each extension once, and one name, which must be
a host name. With anything else in its place (a NUL, 256 bytes, a letter outside of ASCII that case folding may map
into it) the hello is malformed and refused, even where no route asks for a name.

The one exception is an IP address in place of a name. RFC 6066, 3 forbids it, but some clients send it, and no
implementation confuses it with a name: such a hello has no ``server_name``, and ``bad_name`` is true.

A hello that is received in pieces is parsed by one :class:`HelloParser`; :func:`parse` is for one that is complete as
a rule. :func:`alert_for` tells a client why its hello is malformed.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, NamedTuple

from smartproxy.wire import tls_record
from smartproxy.wire.host import host_name, is_address
from smartproxy.wire.tls_alert import Alert
from smartproxy.wire.verdict import Done, Malformed, Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Longest hello in bytes, without the headers of its message and its records: OpenSSL's CLIENT_HELLO_MAX_LENGTH. Go
#: accepts 64 KiB; one with post-quantum keys has about 1.7 KiB.
LIMIT: Final = 131_396

#: Longest hello in bytes with its records. The 16 KiB for their headers are enough for a hello of usual size in
#: records of one byte each, which only test tools send.
WIRE_LIMIT: Final = LIMIT + 16 * 1024

_CLIENT_HELLO: Final = 1

# Extension types: https://www.iana.org/assignments/tls-extensiontype-values
SERVER_NAME: Final = 0  # RFC 6066, 3
SUPPORTED_GROUPS: Final = 10  # RFC 8446, 4.2.7
SIGNATURE_ALGORITHMS: Final = 13  # RFC 8446, 4.2.3
ALPN: Final = 16  # RFC 7301, 3.1
PADDING: Final = 21  # RFC 7685
SESSION_TICKET: Final = 35  # RFC 5077, 3.2
PRE_SHARED_KEY: Final = 41  # RFC 8446, 4.2.11
SUPPORTED_VERSIONS: Final = 43  # RFC 8446, 4.2.1
PSK_KEY_EXCHANGE_MODES: Final = 45  # RFC 8446, 4.2.9
KEY_SHARE: Final = 51  # RFC 8446, 4.2.8

_MAJOR = 3
_TLS_1_2 = 0x0303
_SESSION_ID_AT = 34  # behind the version (2) and the random (32)
_SESSION_ID_LIMIT = 32
#: Entries of each list that are kept of a hello once its route is known: OpenSSL has 60 cipher suites by default, and scanners
#: offer some hundred.
KEPT: Final = 128
_HOST_NAME = 0
_EXTENSION_HEAD = 4

_U16 = struct.Struct(">H")
_U16_U16 = struct.Struct(">HH")


class ClientHello(NamedTuple):
    """What a client offers. Numbers are as received, GREASE values (RFC 8701) included.

    :ivar server_name: the SNI in lower case, without a final dot.
    :ivar alpn: the protocols offered, decoded as Latin-1.
    :ivar versions: in the client's order; without the extension, the one version of the fixed field, at most TLS 1.2.
    :ivar offers_ticket: whether the client tries to resume a session, by a ticket or a pre-shared key.
    :ivar cipher_suites: in the client's order.
    :ivar signature_algorithms: in the client's order.
    :ivar bad_name: whether the SNI was an IP address, and was dropped.
    """

    server_name: str | None = None
    alpn: tuple[str, ...] = ()
    versions: tuple[int, ...] = ()
    offers_ticket: bool = False
    cipher_suites: tuple[int, ...] = ()
    signature_algorithms: tuple[int, ...] = ()
    bad_name: bool = False

    def shortened(self) -> ClientHello:
        """The same with at most :data:`KEPT` entries in each list, which is all of what usual clients send.

        The lists of a hello of 128 KiB take over 2 MB.
        """
        if max(len(self.alpn), len(self.cipher_suites), len(self.signature_algorithms)) <= KEPT:
            return self
        return self._replace(
            alpn=self.alpn[:KEPT],
            cipher_suites=self.cipher_suites[:KEPT],
            signature_algorithms=self.signature_algorithms[:KEPT],
        )


class _MalformedHelloError(Exception):
    """Why a hello is malformed. Caught by :func:`parse`, and never raised to its callers."""


EARLIER_VERSION: Final = Malformed("a version before SSL 3")
DUPLICATE_EXTENSION: Final = Malformed("duplicate extension")
PRE_SHARED_KEY_NOT_LAST: Final = Malformed("pre_shared_key is not the last extension")

#: By RFC 8446, 5.1 (records), 4.2 and 4.2.11 (extensions), and RFC 5246, E.1 (versions).
_ALERTS: Final = {
    tls_record.OTHER_RECORD: Alert.UNEXPECTED_MESSAGE,
    tls_record.OTHER_MESSAGE: Alert.UNEXPECTED_MESSAGE,
    tls_record.SECOND_MESSAGE: Alert.UNEXPECTED_MESSAGE,
    tls_record.EMPTY_RECORD: Alert.UNEXPECTED_MESSAGE,
    tls_record.LONG_RECORD: Alert.RECORD_OVERFLOW,
    EARLIER_VERSION: Alert.PROTOCOL_VERSION,
    DUPLICATE_EXTENSION: Alert.ILLEGAL_PARAMETER,
    PRE_SHARED_KEY_NOT_LAST: Alert.ILLEGAL_PARAMETER,
}


def alert_for(why: Malformed) -> Alert:
    """The alert to a client whose hello is malformed."""
    return _ALERTS.get(why, Alert.DECODE_ERROR)


def parse(data: bytes | bytearray | memoryview) -> Verdict[ClientHello]:
    """Parse the hello at the beginning of ``data``. ``consumed`` is the length of its records."""
    return _parsed(tls_record.handshake_message(data, _CLIENT_HELLO, LIMIT, WIRE_LIMIT))


class HelloParser:
    """:func:`parse` for bytes that are received in pieces: called with all of them, it looks at new records only."""

    __slots__ = ("_message",)

    def __init__(self) -> None:
        self._message = tls_record.HandshakeMessage(_CLIENT_HELLO, LIMIT, WIRE_LIMIT)

    def __call__(self, data: bytes | bytearray | memoryview) -> Verdict[ClientHello]:
        """The verdict on ``data``, which begins with the bytes of the former call."""
        return _parsed(self._message(data))


def _parsed(verdict: Verdict[bytes]) -> Verdict[ClientHello]:
    """The hello in a message that may be complete."""
    if not isinstance(verdict, Done):
        return verdict
    try:
        return Done(_hello(verdict.value), verdict.consumed)
    except _MalformedHelloError as broken:
        return Malformed(str(broken))
    except (IndexError, struct.error):  # a length points behind the end
        return Malformed("truncated ClientHello")


def _hello(body: bytes) -> ClientHello:
    """Parse the body of the message: version, random, session id, cipher suites, compression methods, extensions."""
    (version,) = _U16.unpack_from(body)
    if version >> 8 < _MAJOR:
        raise _MalformedHelloError(EARLIER_VERSION.why)
    if body[_SESSION_ID_AT] > _SESSION_ID_LIMIT:
        raise _MalformedHelloError("session id over 32 bytes")
    # Each of these begins behind the one before, whose length its first one or two bytes give.
    suites = _SESSION_ID_AT + 1 + body[_SESSION_ID_AT]
    methods = suites + 2 + _U16.unpack_from(body, suites)[0]
    extensions = methods + 1 + body[methods]
    # Every client must offer the null method (RFC 5246, 7.4.1.2), and in TLS 1.3 no other (RFC 8446, 4.1.2).
    if 0 not in body[methods + 1 : extensions]:
        raise _MalformedHelloError("compression is not optional")
    found = _extensions(body, extensions)
    name, bad_name = _server_name(found[SERVER_NAME]) if SERVER_NAME in found else (None, False)
    return ClientHello(
        name,
        _protocols(found[ALPN]) if ALPN in found else (),
        # A later version than TLS 1.2 goes on as that (RFC 5246, E.1): the extension alone offers more.
        _numbers(found[SUPPORTED_VERSIONS], 1) if SUPPORTED_VERSIONS in found else (min(version, _TLS_1_2),),
        bool(found.get(SESSION_TICKET)) or PRE_SHARED_KEY in found,
        _numbers(body[suites:methods], 2),
        _numbers(found[SIGNATURE_ALGORITHMS], 2) if SIGNATURE_ALGORITHMS in found else (),
        bad_name,
    )


def _extensions(body: bytes, at: int) -> dict[int, bytes]:
    """All extensions by type, in the order received. A hello may end without any (RFC 5246, 7.4.1.2)."""
    end = len(body)
    if at == end:
        return {}
    if at + 2 + _U16.unpack_from(body, at)[0] != end:
        raise _MalformedHelloError("extensions do not fill the hello")
    at += 2
    found: dict[int, bytes] = {}
    while at < end:
        kind, size = _U16_U16.unpack_from(body, at)
        if kind in found:
            raise _MalformedHelloError(DUPLICATE_EXTENSION.why)
        at += _EXTENSION_HEAD + size
        found[kind] = body[at - size : at]
    if at != end:
        raise _MalformedHelloError("extension longer than the hello")
    # Its binders authenticate all bytes before them, so it must be last (RFC 8446, 4.2.11).
    if PRE_SHARED_KEY in found and next(reversed(found)) != PRE_SHARED_KEY:
        raise _MalformedHelloError(PRE_SHARED_KEY_NOT_LAST.why)
    return found


def _server_name(value: bytes) -> tuple[str | None, bool]:
    """The one name of the list, or ``None`` and whether it is an address instead."""
    listed, kind, size = struct.unpack_from(">HBH", value)
    raw = value[5:]
    if listed != len(value) - 2 or kind != _HOST_NAME or size != len(raw):
        raise _MalformedHelloError("server_name is not a list of one host name")
    name = host_name(raw)
    # An IPv4 address ends in a digit, most names do not, and so need not be parsed as an address.
    if name is not None and not name[-1].isdigit():
        return name, False
    if is_address(name or raw.decode("latin-1")):
        return None, True
    if name is None:
        raise _MalformedHelloError("server_name is not a host name")
    return name, False


def _protocols(value: bytes) -> tuple[str, ...]:
    """The names of an ALPN list (RFC 7301, 3.1), each behind its length in one byte."""
    end = len(value)
    if _U16.unpack_from(value)[0] != end - 2:
        raise _MalformedHelloError("ALPN list of a wrong size")
    names = []
    at = 2
    while at < end:
        size = value[at]
        at += 1 + size
        if not size:
            raise _MalformedHelloError("empty name in ALPN")
        names.append(value[at - size : at].decode("latin-1"))
    if at != end or not names:
        raise _MalformedHelloError("ALPN list of a wrong size")
    return tuple(names)


def _numbers(value: bytes, width: int) -> tuple[int, ...]:
    """A list of 16-bit numbers behind its size in bytes, a field of ``width`` bytes."""
    size = len(value) - width
    if size <= 0 or size % 2 or int.from_bytes(value[:width], "big") != size:
        raise _MalformedHelloError("list of a wrong size")
    return struct.unpack_from(f">{size // 2}H", value, width)


def build(
    server_name: str | bytes | None = None,
    alpn: Sequence[str] = (),
    versions: Sequence[int] = (0x0304, 0x0303),
    *,
    cipher_suites: Sequence[int] = (0x1301, 0x1302, 0x1303, 0xC02B, 0xC02F, 0xC02C, 0xC030),
    signature_algorithms: Sequence[int] = (0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501),
    ticket: bytes | None = b"",
    post_quantum: bool = False,
    extensions: Sequence[tuple[int, bytes]] = (),
    size: int = 0,
    record_size: int = tls_record.RECORD_LIMIT,
) -> bytes:
    """Build a hello like those of current clients, but with zeros for its random and keys.

    A server can choose a route or a certificate by it, but not complete a handshake.

    :param server_name: bytes are written unchanged, even if invalid; ``None`` leaves the extension out.
    :param ticket: ``b""`` asks for a session ticket, ``None`` does not.
    :param post_quantum: add a key share of X25519MLKEM768, which makes a hello of about 1.7 KiB.
    :param extensions: further extensions, type and value, appended in this order.
    :param size: pad the message to at least so many bytes (RFC 7685), record headers not counted.
    :param record_size: most payload bytes of one record.
    :raises OverflowError: where a value is longer than its length field allows.
    """
    parts = _own_extensions(
        server_name,
        alpn,
        versions,
        signature_algorithms=signature_algorithms,
        ticket=ticket,
        post_quantum=post_quantum,
    )
    given = b"".join(_extension(kind, value) for kind, value in extensions)
    fixed = b"".join(
        [
            b"\x03\x03" + bytes(32),  # legacy_version, random
            _sized(bytes(32), 1),  # legacy_session_id
            _sized(_packed(cipher_suites), 2),
            _sized(b"\x00", 1),  # no compression
        ]
    )
    # What remains to ``size`` behind the padding's own head, the message's head and the length of the extensions.
    missing = size - sum(map(len, (fixed, parts, given))) - 2 * _EXTENSION_HEAD - 2
    if missing > -_EXTENSION_HEAD:
        parts += _extension(PADDING, bytes(max(missing, 0)))
    body = fixed + _sized(parts + given, 2)
    message = bytes([_CLIENT_HELLO]) + _sized(body, 3)
    return tls_record.wrap(tls_record.HANDSHAKE, message, version=tls_record.FIRST_VERSION, size=record_size)


def _own_extensions(
    server_name: str | bytes | None,
    alpn: Sequence[str],
    versions: Sequence[int],
    *,
    signature_algorithms: Sequence[int],
    ticket: bytes | None,
    post_quantum: bool,
) -> bytes:
    """The extensions that :func:`build` writes itself."""
    groups = [(0x11EC, bytes(1216)), (0x001D, bytes(32))] if post_quantum else [(0x001D, bytes(32))]
    shares = b"".join(_U16.pack(group) + _sized(key, 2) for group, key in groups)
    given = [
        (SUPPORTED_GROUPS, _sized(_packed([group for group, _ in groups]), 2)),
        (SIGNATURE_ALGORITHMS, _sized(_packed(signature_algorithms), 2)),
        (SUPPORTED_VERSIONS, _sized(_packed(versions), 1)),
        (PSK_KEY_EXCHANGE_MODES, b"\x01\x01"),
        (KEY_SHARE, _sized(shares, 2)),
    ]
    if ticket is not None:
        given.insert(0, (SESSION_TICKET, ticket))
    if alpn:
        names = b"".join(_sized(name.encode("latin-1"), 1) for name in alpn)
        given.insert(0, (ALPN, _sized(names, 2)))
    if server_name is not None:
        raw = server_name.encode("ascii") if isinstance(server_name, str) else server_name
        given.insert(0, (SERVER_NAME, _sized(bytes([_HOST_NAME]) + _sized(raw, 2), 2)))
    return b"".join(_extension(kind, value) for kind, value in given)


def _extension(kind: int, value: bytes) -> bytes:
    return _U16.pack(kind) + _sized(value, 2)


def _packed(numbers: Sequence[int]) -> bytes:
    return struct.pack(f">{len(numbers)}H", *numbers)


def _sized(value: bytes, width: int) -> bytes:
    """``value`` behind its length in ``width`` bytes."""
    return len(value).to_bytes(width, "big") + value
