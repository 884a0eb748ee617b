r"""PROXY protocol version 1: one line of text before the first byte of payload (section 2.1).

::

    PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n
    PROXY TCP6 2001:db8::1 2001:db8::2 56324 443\r\n
    PROXY UNKNOWN\r\n

The parser is as strict as the specification, and refuses as soon as no valid line is possible: whoever can make
a lenient parser read another client address bypasses every list and limit.
"""

from __future__ import annotations

import re
from typing import Final

from smartproxy.wire.host import IPV4_SIZE, address_text, ipv6_text, packed_address
from smartproxy.wire.proxy_header import AddressFamily, Host, ProxyHeader
from smartproxy.wire.verdict import Done, Malformed, NeedMore, Verdict

SIGNATURE: Final[bytes] = b"PROXY "

#: Longest line in bytes, with its CRLF (section 2.1: "the worst case").
LIMIT: Final = 107

_NOTHING_KNOWN: Final = b"PROXY UNKNOWN\r\n"
_KEYWORDS: Final = (b"PROXY TCP4 ", b"PROXY TCP6 ", b"PROXY UNKNOWN")
_BEGUN = re.compile(rb"PROXY (?:TCP[46] [0-9A-Fa-f:. ]*|UNKNOWN(?: [^\r\n]*)?)\r?")

# Only the characters of an address are checked here; inet_pton decides below whether it is one.
_PORT = rb"(0|[1-9][0-9]{0,4})"
_ADDRESS = rb"([0-9A-Fa-f:.]+)"
_LINE = re.compile(rb"PROXY TCP([46]) " + b" ".join([_ADDRESS, _ADDRESS, _PORT, _PORT]))
_UNKNOWN = re.compile(rb"PROXY UNKNOWN(?: [^\r\n]*)?")
_HIGHEST_PORT = 65535


def parse(data: bytes | bytearray | memoryview) -> Verdict[ProxyHeader]:
    """Parse the header at the beginning of ``data``."""
    held = bytes(data[:LIMIT])
    end = held.find(b"\r\n")
    if end < 0:
        return _unfinished(held)
    line = held[:end]
    if _UNKNOWN.fullmatch(line):
        return Done(ProxyHeader(1), end + 2)
    match = _LINE.fullmatch(line)
    if match is None:
        return Malformed("not a PROXY v1 line")
    return _announced(match, end + 2)


def _announced(match: re.Match[bytes], consumed: int) -> Verdict[ProxyHeader]:
    """The header of a TCP4 or TCP6 line, whose addresses and ports are still to be checked."""
    four, source, destination, source_port, destination_port = match.groups()
    family = AddressFamily.TCP4 if four == b"4" else AddressFamily.TCP6
    six = family is AddressFamily.TCP6
    if (b":" in source) is not six or (b":" in destination) is not six:
        return Malformed("address not of the family announced")
    try:
        client = packed_address(source.decode("ascii"))
        server = packed_address(destination.decode("ascii"))
    except ValueError:
        return Malformed("not an IP address")
    ports = int(source_port), int(destination_port)
    if max(ports) > _HIGHEST_PORT:
        return Malformed("port over 65535")
    header = ProxyHeader(1, False, family, (address_text(client), ports[0]), (address_text(server), ports[1]))
    return Done(header, consumed)


def _unfinished(held: bytes) -> NeedMore | Malformed:
    """The verdict on a line without its CRLF: whether these bytes can still become a valid line."""
    if len(held) >= LIMIT - 1 and not (len(held) == LIMIT - 1 and held.endswith(b"\r")):
        return Malformed("no CRLF in the first 107 bytes")
    if not _BEGUN.fullmatch(held) and not any(word.startswith(held) for word in _KEYWORDS):
        return Malformed("not a PROXY v1 line")
    missing = 1 if held.endswith(b"\r") else 2
    return NeedMore(len(held) + missing)


def build(source: Host | None, destination: Host | None) -> bytes:
    """Build the line that announces ``source``; ``PROXY UNKNOWN`` where either end is ``None``.

    Of an IPv4 and an IPv6 address the IPv4 one is mapped into IPv6, since a line names one family.

    :raises ValueError: where a host is not an IP address or a port is not in 0..65535.
    """
    if source is None or destination is None:
        return _NOTHING_KNOWN
    ports = source[1], destination[1]
    if min(ports) < 0 or max(ports) > _HIGHEST_PORT:
        raise ValueError("port not in 0..65535")
    client, server = packed_address(source[0]), packed_address(destination[0])
    four = len(client) == len(server) == IPV4_SIZE
    spell, family = (address_text, "TCP4") if four else (ipv6_text, "TCP6")
    return f"PROXY {family} {spell(client)} {spell(server)} {ports[0]} {ports[1]}\r\n".encode("ascii")
