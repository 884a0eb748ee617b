"""What a PROXY header says, whichever version said it.

The two versions have a module each for their bytes, :mod:`~smartproxy.wire.proxy_v1` and
:mod:`~smartproxy.wire.proxy_v2`; :mod:`~smartproxy.wire.proxy_detect` tells them apart. All three speak in
these values, so that nobody behind them asks which it was.

The specification is HAProxy's ``doc/proxy-protocol.txt``; sections named in these modules are its.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple, TypeAlias

#: A host and a port; the host is an IP address as text.
Host: TypeAlias = tuple[str, int]


class AddressFamily(StrEnum):
    """Which kind of connection was announced: address family and transport (section 2.2)."""

    UNSPEC = "unspec"
    TCP4 = "tcp4"
    TCP6 = "tcp6"
    UDP4 = "udp4"
    UDP6 = "udp6"
    UNIX_STREAM = "unix_stream"
    UNIX_DGRAM = "unix_dgram"


class Tlv(NamedTuple):
    """One type-length-value of a version 2 header, its value byte for byte as it came (section 2.2.7)."""

    type: int
    value: bytes


class ProxyHeader(NamedTuple):
    """One header.

    :ivar version: 1 or 2.
    :ivar local: the sender speaks for itself (LOCAL, a health check): the peer is the client.
    :ivar family: as the wire said, so ``TCP6`` stays where a mapped address became plain IPv4.
    :ivar source: the client, and :ivar destination: where it had connected to. Both are ``None`` where
        nothing usable is announced: LOCAL, UNKNOWN, UNSPEC and unix sockets. An IPv6 host is in the
        spelling of ``inet_ntop``; an IPv4-mapped one is plain IPv4.
    :ivar source_path: and :ivar destination_path: of the unix families, without their filling of NULs.
    """

    version: int
    local: bool = False
    family: AddressFamily = AddressFamily.UNSPEC
    source: Host | None = None
    destination: Host | None = None
    tlvs: tuple[Tlv, ...] = ()
    source_path: bytes | None = None
    destination_path: bytes | None = None
