"""Hosts as formats spell them: IP addresses, packed and as text, and names of the DNS.

One address has one spelling behind this module: that of ``inet_ntop``, with an IPv4-mapped IPv6 address
(RFC 4291, 2.5.5.2) as plain IPv4. ``inet_pton`` is strict where it matters (four octets, no leading
zeros, no zone) and costs 2 microseconds less than ``ipaddress``.
"""

from __future__ import annotations

import re
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton

#: Bytes of a packed IPv4 address; an IPv6 one has 16.
IPV4_SIZE = 4

_MAPPED = b"\x00" * 10 + b"\xff\xff"

# Letters, digits, hyphens (RFC 1123, 2.1), and the underscore that real names have. A label is at most 63
# bytes and a name at most 255 (RFC 1035, 2.3.4); one final dot is the root's.
_NAME = re.compile(rb"(?=.{1,255}\Z)([A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*)\.?")


def address_text(packed: bytes) -> str:
    """The one spelling of an address of 4 or 16 bytes."""
    if len(packed) == IPV4_SIZE:
        return inet_ntop(AF_INET, packed)
    if packed.startswith(_MAPPED):
        return inet_ntop(AF_INET, packed[12:])
    return inet_ntop(AF_INET6, packed)


def mapped(packed: bytes) -> bytes:
    """``packed`` as 16 bytes, an IPv4 address in its mapped form, where a format has room for one family."""
    return packed if len(packed) > IPV4_SIZE else _MAPPED + packed


def wide_text(packed: bytes) -> str:
    """An address as IPv6 text, an IPv4 one in its mapped form."""
    return inet_ntop(AF_INET6, mapped(packed))


def packed_address(text: str) -> bytes:
    """The 4 or 16 bytes of an address, an IPv4-mapped one in 4.

    A zone (``%eth0``) is left out: no format here can carry one.

    :raises ValueError: where ``text`` is no IP address.
    """
    try:
        if ":" not in text:
            return inet_pton(AF_INET, text)
        packed = inet_pton(AF_INET6, text.partition("%")[0])
    except OSError:
        raise ValueError("not an IP address") from None
    return packed[12:] if packed.startswith(_MAPPED) else packed


def is_address(text: str) -> bool:
    """Whether ``text`` is an IPv4 or IPv6 address, without brackets or zone."""
    try:
        packed_address(text)
    except ValueError:
        return False
    return "%" not in text


def host_name(raw: bytes) -> str | None:
    """The name in lower case and without its final dot; ``None`` where ``raw`` is no host name.

    An IPv4 address passes: where that matters, ask :func:`is_address` too.
    """
    match = _NAME.fullmatch(raw)
    return match[1].decode("ascii").lower() if match else None
