"""The content of a PROXY header, the same for both versions.

Each version has a module for its bytes, :mod:`~smartproxy.wire.proxy_v1` and :mod:`~smartproxy.wire.proxy_v2`;
:mod:`~smartproxy.wire.proxy_detect` finds out which one was sent. All three use these values, so that no later code
depends on the version.

The specification is HAProxy's ``doc/proxy-protocol.txt``; section numbers in these modules refer to it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple, TypeAlias

#: A host and a port; the host is an IP address as text.
Host: TypeAlias = tuple[str, int]


class AddressFamily(StrEnum):
    """Address family and transport of the announced connection (section 2.2)."""

    UNSPEC = "unspec"
    TCP4 = "tcp4"
    TCP6 = "tcp6"
    UDP4 = "udp4"
    UDP6 = "udp6"
    UNIX_STREAM = "unix_stream"
    UNIX_DGRAM = "unix_dgram"


class Tlv(NamedTuple):
    """One type-length-value of a version 2 header, its value as received (section 2.2.7)."""

    type: int
    value: bytes


class ProxyHeader(NamedTuple):
    """One header.

    :ivar version: 1 or 2.
    :ivar local: the sender connected on its own behalf (LOCAL, as for a health check): the peer is the client.
    :ivar family: as received, so ``TCP6`` also where both addresses were IPv4-mapped.
    :ivar source: the client. ``None`` where no IP address is announced: LOCAL, UNKNOWN, UNSPEC and unix sockets.
        The host is normalised as in :mod:`smartproxy.wire.host`.
    :ivar destination: the address that the client connected to; ``None`` as for ``source``.
    :ivar tlvs: in the order received; none in version 1.
    :ivar source_path: of the unix families, without trailing NULs.
    :ivar destination_path: of the unix families, without trailing NULs.
    """

    version: int
    local: bool = False
    family: AddressFamily = AddressFamily.UNSPEC
    source: Host | None = None
    destination: Host | None = None
    tlvs: tuple[Tlv, ...] = ()
    source_path: bytes | None = None
    destination_path: bytes | None = None
