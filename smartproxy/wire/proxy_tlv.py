"""TLVs of a version 2 PROXY header: their types, the value of the SSL type, and CRC32c.

The header's parser keeps the value of each TLV as received; only what is needed is parsed, by this module.
Section numbers are those of HAProxy's ``doc/proxy-protocol.txt``.
"""

from __future__ import annotations

import re
import struct
from enum import IntFlag
from typing import TYPE_CHECKING, Final, NamedTuple

from smartproxy.wire.proxy_header import Tlv
from smartproxy.wire.verdict import Malformed

if TYPE_CHECKING:
    from collections.abc import Iterable

# Section 2.2.7; the SUBTYPEs occur within the value of an SSL TLV (2.2.7.6).
PP2_TYPE_ALPN: Final = 0x01
PP2_TYPE_AUTHORITY: Final = 0x02
PP2_TYPE_CRC32C: Final = 0x03
PP2_TYPE_NOOP: Final = 0x04
PP2_TYPE_UNIQUE_ID: Final = 0x05
PP2_TYPE_SSL: Final = 0x20
PP2_SUBTYPE_SSL_VERSION: Final = 0x21
PP2_SUBTYPE_SSL_CN: Final = 0x22
PP2_SUBTYPE_SSL_CIPHER: Final = 0x23
PP2_SUBTYPE_SSL_SIG_ALG: Final = 0x24
PP2_SUBTYPE_SSL_KEY_ALG: Final = 0x25
PP2_TYPE_NETNS: Final = 0x30

#: Types for applications' own use (2.2.8).
PP2_TYPE_MIN_CUSTOM: Final = 0xE0
PP2_TYPE_MAX_CUSTOM: Final = 0xEF

#: Names of types, as users write and read them. Other types are written in hexadecimal.
TYPE_NAMES: Final = {
    "alpn": PP2_TYPE_ALPN,
    "authority": PP2_TYPE_AUTHORITY,
    "crc32c": PP2_TYPE_CRC32C,
    "uniqueId": PP2_TYPE_UNIQUE_ID,
    "ssl": PP2_TYPE_SSL,
}
_NAMES_OF: Final = {kind: name for name, kind in TYPE_NAMES.items()}
_HEXADECIMAL: Final = re.compile(r"0[xX][0-9a-fA-F]{1,2}")

#: Longest value of ``PP2_TYPE_UNIQUE_ID`` in bytes (2.2.7.5).
UNIQUE_ID_LIMIT: Final = 128

_HEAD = struct.Struct(">BH")  # type, length; the same for a TLV within a TLV
_SSL = struct.Struct(">BI")  # client, verify
_SSL_FIELDS = {  # in the order in which HAProxy writes them
    PP2_SUBTYPE_SSL_VERSION: "version",
    PP2_SUBTYPE_SSL_CN: "cn",
    PP2_SUBTYPE_SSL_CIPHER: "cipher",
    PP2_SUBTYPE_SSL_SIG_ALG: "sig_alg",
    PP2_SUBTYPE_SSL_KEY_ALG: "key_alg",
}


class SslClient(IntFlag):
    """The bits of ``client`` (2.2.7.6). Unassigned bits are kept."""

    SSL = 0x01
    CERT_CONN = 0x02
    CERT_SESS = 0x04


class SslInfo(NamedTuple):
    """The value of a ``PP2_TYPE_SSL``.

    :ivar client: whether the client connected over TLS, and whether it presented a certificate on this connection
        or on an earlier one of its session.
    :ivar verify: 0 where a certificate was presented and verified, else the TLS library's error number.
    :ivar version: as text, like ``TLSv1.3``.
    :ivar cn: common name of the client certificate's subject, in UTF-8.
    :ivar cipher: name of the cipher.
    :ivar sig_alg: algorithm that the server's certificate is signed with.
    :ivar key_alg: algorithm of the server certificate's key.
    :ivar others: sub-TLVs of unknown types, in the order received.
    """

    client: SslClient
    verify: int = 0
    version: bytes | None = None
    cn: bytes | None = None
    cipher: bytes | None = None
    sig_alg: bytes | None = None
    key_alg: bytes | None = None
    others: tuple[Tlv, ...] = ()


def type_of(name: str) -> int:
    """The type that ``name`` denotes: one of :data:`TYPE_NAMES`, or hexadecimal like ``0xE0``.

    :raises ValueError: where it is neither.
    """
    if name in TYPE_NAMES:
        return TYPE_NAMES[name]
    if _HEXADECIMAL.fullmatch(name):
        return int(name, 16)
    raise ValueError(f"{name!r} is not a type of a TLV")


def name_of(kind: int) -> str:
    """The name of a type; hexadecimal for one that has none."""
    return _NAMES_OF.get(kind) or f"0x{kind:02X}"


def text_of(value: bytes) -> str:
    """A value as printable ASCII on one line: every other byte, and a backslash, is escaped."""
    return value.decode("latin-1").encode("unicode_escape").decode("ascii")


def parse_tlvs(data: bytes) -> tuple[Tlv, ...] | Malformed:
    """Parse ``data``, which must consist of complete TLVs."""
    found = []
    at, end = 0, len(data)
    while at < end:
        if at + _HEAD.size > end:
            return Malformed("truncated TLV")
        kind, size = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        if at + size > end:
            return Malformed("truncated TLV")
        found.append(Tlv(kind, data[at : at + size]))
        at += size
    return tuple(found)


def build_tlvs(tlvs: Iterable[Tlv]) -> bytes:
    """Build the bytes of ``tlvs``, in this order.

    :raises ValueError: where a type is over 255 or a value over 65535 bytes.
    """
    try:
        return b"".join(_HEAD.pack(kind, len(value)) + value for kind, value in tlvs)
    except struct.error as error:
        raise ValueError(f"not a TLV: {error}") from None


def parse_ssl(value: bytes) -> SslInfo | Malformed:
    """Parse the value of an SSL TLV. A sub-TLV of a known type must not occur twice."""
    if len(value) < _SSL.size:
        return Malformed("truncated SSL TLV")
    client, verify = _SSL.unpack_from(value)
    inner = parse_tlvs(value[_SSL.size :])
    if isinstance(inner, Malformed):
        return inner
    known = [tlv for tlv in inner if tlv.type in _SSL_FIELDS]
    fields = {_SSL_FIELDS[tlv.type]: tlv.value for tlv in known}
    if len(fields) < len(known):
        return Malformed("duplicate sub-TLV in an SSL TLV")
    others = tuple(tlv for tlv in inner if tlv.type not in _SSL_FIELDS)
    return SslInfo(SslClient(client), verify, **fields, others=others)


def build_ssl(info: SslInfo) -> bytes:
    """Build the value of an SSL TLV.

    :raises ValueError: where a number or a value does not fit in its field.
    """
    known = [(kind, getattr(info, field)) for kind, field in _SSL_FIELDS.items()]
    inner = [Tlv(kind, value) for kind, value in known if value is not None]
    try:
        head = _SSL.pack(info.client, info.verify)
    except struct.error as error:
        raise ValueError(f"not an SSL TLV: {error}") from None
    return head + build_tlvs([*inner, *info.others])


def _castagnoli_table() -> tuple[int, ...]:
    """The remainder for each byte. 0x82F63B78 is the polynomial 0x1EDC6F41 with its bits reversed (RFC 3720, 12.1)."""
    table = []
    for remainder in range(256):
        for _ in range(8):
            remainder = remainder >> 1 ^ (0x82F63B78 if remainder & 1 else 0)  # noqa: PLW2901 - shifted in place
        table.append(remainder)
    return tuple(table)


_TABLE = _castagnoli_table()


def crc32c(data: bytes) -> int:
    """The Castagnoli CRC of ``data`` (RFC 3720, B.4 and RFC 4960, appendix B)."""
    table = _TABLE
    crc = 0xFFFFFFFF
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF
