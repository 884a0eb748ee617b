r"""PROXY protocol version 2: a binary header before the first byte of payload (section 2.2).

::

    \r\n\r\n\0\r\nQUIT\n   version|command   family|transport   length   addresses   TLVs
    12 bytes               1                 1                  2        0, 12, 36 or 216

``length`` counts the bytes behind it, so a receiver can skip addresses and TLVs that it does not know. A CRC32c is
checked where there is one (2.2.7.3). It covers one header only, so a received checksum is never forwarded.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, TypeAlias

from smartproxy.wire.host import IPV4_SIZE, address_text, pack_as_ipv6, packed_address
from smartproxy.wire.proxy_header import AddressFamily, Host, ProxyHeader, Tlv
from smartproxy.wire.proxy_tlv import (
    PP2_TYPE_CRC32C,
    PP2_TYPE_UNIQUE_ID,
    UNIQUE_ID_LIMIT,
    build_tlvs,
    crc32c,
    parse_tlvs,
)
from smartproxy.wire.verdict import Done, Malformed, NeedMore, Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

SIGNATURE: Final[bytes] = b"\r\n\r\n\x00\r\nQUIT\n"

#: Highest value of the length field that is accepted. The format allows 65535; two addresses and all standard TLVs
#: of usual sizes stay below 1 KiB.
LIMIT: Final = 4096

#: One end: host and port, the path of a unix socket, or unknown.
Address: TypeAlias = Host | bytes | None

_FIXED = struct.Struct(">12sBBH")
_IPV4 = struct.Struct(">4s4sHH")
_IPV6 = struct.Struct(">16s16sHH")
_UNIX = struct.Struct(">108s108s")
_PATH_LIMIT = 108  # sizeof(sun_path)

_LOCAL, _PROXY = 0x20, 0x21  # version 2 in the high four bits, the command in the low ones

# 2.2: "the following values are expected". All others are reserved, and must be refused.
_FAMILIES: dict[int, tuple[AddressFamily, struct.Struct | None]] = {
    0x00: (AddressFamily.UNSPEC, None),
    0x11: (AddressFamily.TCP4, _IPV4),
    0x12: (AddressFamily.UDP4, _IPV4),
    0x21: (AddressFamily.TCP6, _IPV6),
    0x22: (AddressFamily.UDP6, _IPV6),
    0x31: (AddressFamily.UNIX_STREAM, _UNIX),
    0x32: (AddressFamily.UNIX_DGRAM, _UNIX),
}
_DATAGRAM = 0x01  # added to the code of a stream family, gives that of the datagram family

_CRC_SIZE = 4
_TLV_HEAD = 3


def parse(data: bytes | bytearray | memoryview) -> Verdict[ProxyHeader]:
    """Parse the header at the beginning of ``data``."""
    held = bytes(data[: _FIXED.size + LIMIT])
    if len(held) < _FIXED.size:
        return _unfinished(held)
    signature, command, family, length = _FIXED.unpack_from(held)
    why = _refused(signature, command, family, length)
    if why:
        return Malformed(why)
    total = _FIXED.size + length
    if len(held) < total:
        return NeedMore(total)
    if command == _LOCAL:  # 2.2: the peer itself is the client; family, addresses and TLVs must be ignored
        return Done(ProxyHeader(2, local=True), total)
    return _announced(held[:total], family)


def _unfinished(held: bytes) -> NeedMore | Malformed:
    """The verdict on fewer bytes than the fixed part: whether they can still become a valid one."""
    if not SIGNATURE.startswith(held[: len(SIGNATURE)]):
        return Malformed("not the PROXY v2 signature")
    given = held[len(SIGNATURE) :]
    if given and given[0] not in (_LOCAL, _PROXY):
        return Malformed("unknown version or command")
    return NeedMore(_FIXED.size)


def _refused(signature: bytes, command: int, family: int, length: int) -> str:
    """Why the fixed part is malformed; empty where it is valid."""
    if signature != SIGNATURE:
        return "not the PROXY v2 signature"
    if command not in (_LOCAL, _PROXY):
        return "unknown version or command"
    if length > LIMIT:
        return "header over 4096 bytes"
    if command == _LOCAL:
        return ""
    if family not in _FAMILIES:
        return "unknown family or transport"
    addresses = _FAMILIES[family][1]
    return "shorter than the addresses of its family" if addresses and length < addresses.size else ""


def _announced(header: bytes, code: int) -> Verdict[ProxyHeader]:
    """Parse the addresses and TLVs of a complete header."""
    family, addresses = _FAMILIES[code]
    begin = _FIXED.size + (addresses.size if addresses else 0)
    tlvs = _checked(header, begin) if len(header) > begin else ()
    if isinstance(tlvs, Malformed):
        return tlvs
    if addresses is None:
        return Done(ProxyHeader(2, False, family, None, None, tlvs), len(header))
    if addresses is _UNIX:
        paths = [path.rstrip(b"\x00") for path in _UNIX.unpack_from(header, _FIXED.size)]
        return Done(ProxyHeader(2, False, family, None, None, tlvs, paths[0], paths[1]), len(header))
    client, server, client_port, server_port = addresses.unpack_from(header, _FIXED.size)
    source, destination = (address_text(client), client_port), (address_text(server), server_port)
    return Done(ProxyHeader(2, False, family, source, destination, tlvs), len(header))


def _checked(header: bytes, begin: int) -> tuple[Tlv, ...] | Malformed:
    """The TLVs from ``begin`` to the end, if the unique id is not too long and the checksum is right."""
    tlvs = parse_tlvs(header[begin:])
    if isinstance(tlvs, Malformed):
        return tlvs
    at, checksum = begin, -1
    for kind, value in tlvs:
        if kind == PP2_TYPE_UNIQUE_ID and len(value) > UNIQUE_ID_LIMIT:
            return Malformed("unique id over 128 bytes")
        if kind == PP2_TYPE_CRC32C:
            if len(value) != _CRC_SIZE or checksum >= 0:
                return Malformed("CRC32c of a wrong size, or twice")
            checksum = at + _TLV_HEAD
        at += _TLV_HEAD + len(value)
    if checksum >= 0 and not _adds_up(header, checksum):
        return Malformed("wrong CRC32c")
    return tlvs


def _adds_up(header: bytes, at: int) -> bool:
    """Whether the checksum at ``at`` is right: it is computed over the header with zeros in its own field (2.2.7.3)."""
    zeroed = header[:at] + bytes(_CRC_SIZE) + header[at + _CRC_SIZE :]
    return crc32c(zeroed) == int.from_bytes(header[at : at + _CRC_SIZE], "big")


def build(
    source: Address,
    destination: Address,
    *,
    tlvs: Sequence[Tlv] = (),
    local: bool = False,
    crc32c: bool = False,
    datagram: bool = False,
) -> bytes:
    """Build the header that announces ``source``.

    The family is UNSPEC where either end is ``None``. Of an IPv4 and an IPv6 address the IPv4 one is mapped into IPv6.
    A CRC32c in ``tlvs`` is of another header and is left out.

    :param local: announce that the sender connected on its own behalf; no address is written.
    :param crc32c: append a checksum of this header.
    :param datagram: announce UDP, or a unix datagram socket, instead of a stream.
    :raises ValueError: where a host is not an IP address, only one end is a unix socket, or a value does not fit in
        its field. The length field allows 65535 bytes here, not only the ``LIMIT`` of :func:`parse`.
    """
    family, addresses = (0x00, b"") if local else _addresses(source, destination)
    kept = [tlv for tlv in tlvs if tlv.type != PP2_TYPE_CRC32C]
    if crc32c:
        kept.append(Tlv(PP2_TYPE_CRC32C, bytes(_CRC_SIZE)))
    rest = addresses + build_tlvs(kept)
    if family and datagram:
        family += _DATAGRAM
    try:
        header = _FIXED.pack(SIGNATURE, _LOCAL if local else _PROXY, family, len(rest)) + rest
    except struct.error:
        raise ValueError("header over 65535 bytes") from None
    return _summed(header) if crc32c else header


def _addresses(source: Address, destination: Address) -> tuple[int, bytes]:
    """The code of the stream family, and the address block."""
    if source is None or destination is None:
        return 0x00, b""
    if isinstance(source, bytes) or isinstance(destination, bytes):
        return 0x31, _paths(source, destination)
    client, server = packed_address(source[0]), packed_address(destination[0])
    try:
        if len(client) == len(server) == IPV4_SIZE:
            return 0x11, _IPV4.pack(client, server, source[1], destination[1])
        return 0x21, _IPV6.pack(pack_as_ipv6(client), pack_as_ipv6(server), source[1], destination[1])
    except struct.error:
        raise ValueError("port not in 0..65535") from None


def _paths(source: Host | bytes, destination: Host | bytes) -> bytes:
    """The address block of two unix sockets."""
    if not isinstance(source, bytes) or not isinstance(destination, bytes):
        raise ValueError("a unix socket beside an IP address")  # noqa: TRY004 - a value of the wrong family, not of the wrong type
    if max(len(source), len(destination)) > _PATH_LIMIT:
        raise ValueError("path over 108 bytes")
    return _UNIX.pack(source, destination)


def _summed(header: bytes) -> bytes:
    """``header`` with its checksum written into its last four bytes, which are zeros before."""
    return header[:-_CRC_SIZE] + crc32c(header).to_bytes(_CRC_SIZE, "big")
