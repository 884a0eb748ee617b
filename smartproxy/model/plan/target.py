"""Compiled targets: where to connect, and on which terms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from smartproxy.model.address import UnixEndpoint  # noqa: TC001 - a field's type
from smartproxy.wire.proxy_header import Tlv  # noqa: TC001 - a field's type

if TYPE_CHECKING:
    from smartproxy.model.plan.check import CheckPlan
    from smartproxy.model.plan.tls import OriginationPlan

#: An embedder's callable for a host, a port or a handler. It is given a :class:`~smartproxy.model.facts.Routed`, which this
#: module is below of; the types that an embedder sees are in :mod:`smartproxy.settings.tables.types`. It returns the value, or
#: an awaitable or a Deferred of it, which is checked for each connection.
Choice: TypeAlias = Callable[[Any], object]

#: In place of a host: the name that the client asks for, by SNI or Host.
CLIENT_NAME = "{domain}"
#: A name or an address, :data:`CLIENT_NAME`, a unix socket, or a callable that is asked for each connection.
TargetHost: TypeAlias = "str | UnixEndpoint | Choice"


@dataclass(frozen=True, slots=True)
class SendHeader:
    """The PROXY header that a target is sent.

    :ivar tlvs: as in the configuration, in its order.
    :ivar custom: TLVs with values of the configuration.
    """

    version: Literal[1, 2]
    tlvs: tuple[str, ...] = ()
    custom: tuple[Tlv, ...] = ()


class Discover(StrEnum):
    """What names of a target are asked for while the proxy runs, so that each answer is a target."""

    NOTHING = ""  # they are resolved when a connection needs them
    ADDRESSES = "addresses"
    SERVICES = "services"  # SRV records


@dataclass(frozen=True, slots=True)
class TargetPlan:
    """Where to connect.

    :ivar name: ``""``: it is called ``host:port``.
    :ivar hosts: names or addresses, or a unix socket alone, or a callable that is asked for each connection.
    :ivar port: a port, a callable, or ``None`` for the port that the client connected to; a unix socket has none either.
    :ivar tls: ``None`` connects without TLS.
    :ivar made: for a callable that gives the whole target: makes the plan of its answer, and raises ValueError. ``hosts`` and
        ``port`` are that callable then.
    :ivar send_header: ``None`` sends no PROXY header.
    :ivar source: local address to connect from, normalised; empty leaves it to the system.
    :ivar max_connections: 0 is no limit.
    :ivar check: how it is checked; ``None``: not at all.
    :ivar backup: whether it is used only while no other target is up.
    :ivar known_as: of an address that was found for a name: that name.
    :ivar discover: the answers for ``hosts`` are targets with these terms, and this is none.
    """

    hosts: tuple[str | UnixEndpoint, ...] | Choice
    port: int | Choice | None
    weight: int = 1
    tls: OriginationPlan | None = None
    send_header: SendHeader | None = None
    source: str = ""
    made: Callable[[object], TargetPlan] | None = field(default=None, repr=False)
    name: str = ""
    max_connections: int = 0
    backup: bool = False
    check: CheckPlan | None = None
    known_as: str = ""
    discover: Discover = Discover.NOTHING
