"""The first message of a TLS client (RFC 8446, 4.1.2; RFC 5246, 7.4.1.2), read without answering it.

Routing by name, choosing a certificate and refusing all happen on these values; the bytes themselves go on
untouched. The parser must never see another name than the TLS behind it will. So it takes only what every
implementation reads the same way: lengths that add up exactly, each extension once, one name, and that name
a host name. With anything else in its place (a NUL, 256 bytes, a letter outside of ASCII that somebody may
fold into one inside) the hello is malformed and goes nowhere, not even to a route that asks for no name.

An IP address in place of a name is the one exception. RFC 6066, 3 forbids it, some clients send it, and no
one can take it for a name: such a hello has no ``server_name``, and ``bad_name`` says why.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, NamedTuple

from smartproxy.wire import tls_record
from smartproxy.wire.host import host_name, is_address
from smartproxy.wire.verdict import Done, Malformed, Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

#: The most bytes that a hello may take, with its record headers. OpenSSL stops at 128 KiB and Go at 64;
#: one with post-quantum keys has about 1.7 KiB.
LIMIT: Final = 64 * 1024

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
_SESSION_ID_AT = 34  # behind the version (2) and the random (32)
_SESSION_ID_LIMIT = 32
_HOST_NAME = 0
_EXTENSION_HEAD = 4

_U16 = struct.Struct(">H")
_U16_U16 = struct.Struct(">HH")


class ClientHello(NamedTuple):
    """What a client asks for. Numbers are as offered, GREASE values (RFC 8701) among them.

    :ivar server_name: lower case, without a final dot.
    :ivar alpn: the protocols offered; a byte is a character of the same number.
    :ivar versions: in the client's order; where it has no list, the one version that it names.
    :ivar offers_ticket: whether it wants to resume a session, by a ticket or a pre-shared key.
    :ivar bad_name: the name was an IP address, and was dropped.
    """

    server_name: str | None = None
    alpn: tuple[str, ...] = ()
    versions: tuple[int, ...] = ()
    offers_ticket: bool = False
    cipher_suites: tuple[int, ...] = ()
    signature_algorithms: tuple[int, ...] = ()
    bad_name: bool = False


class _MalformedHelloError(Exception):
    """Why a hello is malformed; it never leaves this module."""


def parse(data: bytes | bytearray | memoryview) -> Verdict[ClientHello]:
    """The hello at the beginning of ``data``. ``consumed`` counts the records that it came in, whole."""
    verdict = tls_record.handshake_message(data, _CLIENT_HELLO, LIMIT)
    if not isinstance(verdict, Done):
        return verdict
    try:
        return Done(_hello(verdict.value), verdict.consumed)
    except _MalformedHelloError as broken:
        return Malformed(str(broken))
    except (IndexError, struct.error):  # a length or a number that is not all there
        return Malformed("truncated ClientHello")


def _hello(body: bytes) -> ClientHello:
    (version,) = _U16.unpack_from(body)
    if version >> 8 != _MAJOR:
        raise _MalformedHelloError("not a version of TLS")
    if body[_SESSION_ID_AT] > _SESSION_ID_LIMIT:
        raise _MalformedHelloError("session id over 32 bytes")
    suites = _SESSION_ID_AT + 1 + body[_SESSION_ID_AT]
    methods = suites + 2 + _U16.unpack_from(body, suites)[0]
    extensions = methods + 1 + body[methods]
    if 0 not in body[methods + 1 : extensions]:
        raise _MalformedHelloError("compression is not optional")
    found = _extensions(body, extensions)
    name, bad_name = _server_name(found[SERVER_NAME]) if SERVER_NAME in found else (None, False)
    return ClientHello(
        name,
        _protocols(found[ALPN]) if ALPN in found else (),
        _numbers(found[SUPPORTED_VERSIONS], 1) if SUPPORTED_VERSIONS in found else (version,),
        bool(found.get(SESSION_TICKET)) or PRE_SHARED_KEY in found,
        _numbers(body[suites:methods], 2),
        _numbers(found[SIGNATURE_ALGORITHMS], 2) if SIGNATURE_ALGORITHMS in found else (),
        bad_name,
    )


def _extensions(body: bytes, at: int) -> dict[int, bytes]:
    """All extensions by their type, in their order. A hello may end without any (RFC 5246, 7.4.1.2)."""
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
            raise _MalformedHelloError("duplicate extension")
        at += _EXTENSION_HEAD + size
        found[kind] = body[at - size : at]
    if at != end:
        raise _MalformedHelloError("extension longer than the hello")
    if PRE_SHARED_KEY in found and next(reversed(found)) != PRE_SHARED_KEY:
        raise _MalformedHelloError("pre_shared_key is not the last extension")
    return found


def _server_name(value: bytes) -> tuple[str | None, bool]:
    """The one name of the list, and whether what stands there is an address instead."""
    listed, kind, size = struct.unpack_from(">HBH", value)
    raw = value[5:]
    if listed != len(value) - 2 or kind != _HOST_NAME or size != len(raw):
        raise _MalformedHelloError("server_name is not a list of one host name")
    name = host_name(raw)
    if name is not None and not name[-1].isdigit():  # the last label of an address is a number
        return name, False
    if is_address(name or raw.decode("latin-1")):
        return None, True
    if name is None:
        raise _MalformedHelloError("server_name is not a host name")
    return name, False


def _protocols(value: bytes) -> tuple[str, ...]:
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
    """A list of 16-bit numbers behind its length in bytes, which is ``width`` bytes long itself."""
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
    """A hello as a client of today would send it, but with zeros for its randomness and keys.

    It is enough for any server to choose a route or a certificate by, and not to finish a handshake.

    :param server_name: bytes are written as they are, whatever they are; ``None`` leaves the extension out.
    :param ticket: ``b""`` asks for one, ``None`` does not.
    :param post_quantum: adds a key share of X25519MLKEM768, which makes a hello of about 1.7 KiB.
    :param extensions: more of them, type and value, to stand last.
    :param size: pads the message to at least so many bytes (RFC 7685), record headers not counted.
    :param record_size: the most payload of one record.
    :raises OverflowError: where something is longer than the field of its length can say.
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
