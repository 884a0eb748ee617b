"""Compiled timeouts and TCP keep-alive of a route. The defaults are those of the configuration keys."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple


class Treatment(StrEnum):
    """How long a keep-alive connection may live (``keepAliveTreatment``)."""

    STANDARD = "standard"
    EXTENDED = "extended"
    IMMORTAL = "immortal"


@dataclass(frozen=True, slots=True)
class Timeouts:
    """In seconds; 0 is no limit.

    :ivar jitter: the share, 0 to 1, by which the times of a linked connection are shortened at random.
    """

    initial_data: float = 60.0
    connection: float = 30.0
    tls_handshake: float = 10.0
    inactivity: float = 4 * 3600.0
    half_close: float = 60.0
    max_lifetime: float = 24 * 3600.0
    jitter: float = 0.0


class Probes(NamedTuple):
    """How the kernel probes a silent peer: whole seconds, and how many probes; 0 leaves it to the system.

    The first probe is sent after a minute, as curl does; the interval is Go's, and the count the kernel's default (tcp(7)).
    So a peer that no longer exists is found within 195 seconds, and the entry in a NAT is refreshed before it expires.
    """

    initial_delay: int = 60
    interval: int = 15
    attempts: int = 9


@dataclass(frozen=True, slots=True)
class KeepAlive:
    """TCP keep-alive, the timeouts of connections that have it, and the user timeout, which does not depend on it.

    :ivar extended_lifetime: in seconds.
    :ivar user_timeout: ``TCP_USER_TIMEOUT`` in milliseconds; 0 leaves it to the system.
    """

    enabled: bool = True
    treatment: Treatment = Treatment.EXTENDED
    inactivity_multiplier: float = 6.0
    extended_lifetime: float = 7 * 86400.0
    probes: Probes = field(default_factory=Probes)
    user_timeout: int = 0

    @property
    def applied(self) -> Treatment:
        """The treatment that applies: a connection without keep-alive has the normal timeouts."""
        return self.treatment if self.enabled else Treatment.STANDARD
