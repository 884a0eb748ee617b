"""IP addresses, packed and as text, and host names: the only parser and spelling of each in the package.

Every address is spelled as ``inet_ntop`` spells it, and an IPv4-mapped IPv6 address (RFC 4291, 2.5.5.2) as
plain IPv4, so that a limit, a list or a log line never sees two spellings of one client.

``inet_pton`` reads the text: it is strict where it matters (four octets, no leading zeros, no zone) and takes
a fifth of the time of ``ipaddress``, which counts because addresses are parsed for every connection.
"""

from __future__ import annotations

import re
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton
from typing import Final

#: Bytes of a packed IPv4 address; an IPv6 one has 16.
IPV4_SIZE: Final = 4

#: 127.0.0.0/8 (RFC 1122, 3.2.1.3) and ::1 (RFC 4291, 2.5.3).
_LOOPBACK_NET: Final = 127
_LOOPBACK_V6: Final = bytes(15) + b"\x01"

#: Longest label in characters (RFC 1035, 2.3.4).
LABEL_LIMIT: Final = 63

#: Longest name of the DNS in text form. RFC 1035, 2.3.4 allows 255 octets on the wire, two of which the text does
#: not have: the length of the first label and the empty label of the root.
NAME_LIMIT: Final = 253

_MAPPED: Final = b"\x00" * 10 + b"\xff\xff"
_MAPPED_TEXT: Final = "::ffff:"

# Letters, digits, hyphens (RFC 1123, 2.1), and the underscore that real names have.
_LABEL = rb"[A-Za-z0-9_-]{1,63}"
_ONE_LABEL = re.compile(_LABEL)
# What arrives may have 255 bytes with its final dot, as in OpenSSL (TLSEXT_MAXLEN_host_name).
_NAME = re.compile(rb"(?=.{1,255}\Z)(" + _LABEL + rb"(?:\." + _LABEL + rb")*)\.?")


def address_text(packed: bytes) -> str:
    """The normalised text of an address of 4 or 16 bytes."""
    if len(packed) == IPV4_SIZE:
        return inet_ntop(AF_INET, packed)
    if packed.startswith(_MAPPED):
        return inet_ntop(AF_INET, packed[12:])
    return inet_ntop(AF_INET6, packed)


def pack_as_ipv6(packed: bytes) -> bytes:
    """``packed`` as 16 bytes, an IPv4 address in its mapped form, for formats with room for one family only."""
    return packed if len(packed) > IPV4_SIZE else _MAPPED + packed


def ipv6_text(packed: bytes) -> str:
    """An address as IPv6 text, an IPv4 one in its mapped form."""
    return inet_ntop(AF_INET6, pack_as_ipv6(packed))


def packed_address(text: str) -> bytes:
    """The 4 or 16 bytes of an address, an IPv4-mapped one in 4.

    A zone (``%eth0``) is dropped: no format here can carry one, and it means nothing on another host.

    :raises ValueError: where ``text`` is not an IP address.
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


def normalise_address(text: str) -> str:
    """The normalised text of an address in any spelling, without its zone.

    :raises ValueError: where ``text`` is not an IP address.
    """
    return address_text(packed_address(text))


def addresses_overlap(one: str, other: str) -> bool:
    """Whether two listeners on these addresses would collide on one port: the same address, or a wildcard and a part of it.

    :param one: an address, or ``""`` for every address.
    """
    if not one or not other:
        return True
    a, b = packed_address(one), packed_address(other)
    # A socket on :: accepts IPv4 too, unless IPV6_V6ONLY is set (RFC 3493, section 5.3).
    return a == b or any(len(wild) > IPV4_SIZE or len(a) == len(b) for wild in (a, b) if not any(wild))


def unmapped(host: str) -> str:
    """``192.0.2.1`` for ``::ffff:192.0.2.1``; every other address unchanged, without its zone.

    For addresses that the kernel has spelled (``accept``, ``getaddrinfo``): parsing them again, as
    :func:`normalise_address` does, would cost every connection time for nothing.
    """
    if ":" not in host:
        return host
    if host.startswith(_MAPPED_TEXT) and "." in host:
        return host[len(_MAPPED_TEXT) :]
    return host.partition("%")[0]


def host_name(raw: bytes) -> str | None:
    """The name in lower case and without its final dot; ``None`` where ``raw`` is not a host name.

    An IPv4 address passes as a name: where that matters, check :func:`is_address` too.
    """
    match = _NAME.fullmatch(raw)
    return match[1].decode("ascii").lower() if match else None


def is_label(text: str) -> bool:
    """Whether ``text`` is one label of a host name."""
    return text.isascii() and _ONE_LABEL.fullmatch(text.encode()) is not None


def is_loopback(host: str) -> bool:
    """Whether ``host`` is ``localhost`` or a loopback address (127.0.0.0/8, ::1), IPv4-mapped ones included."""
    if host.rstrip(".") == "localhost":
        return True
    try:
        packed = packed_address(host)
    except ValueError:
        return False
    return packed[0] == _LOOPBACK_NET if len(packed) == IPV4_SIZE else packed == _LOOPBACK_V6
