"""The outcomes of a connection: two closed sets, used as metric labels and in logs.

A connection that was established to its target ends with a :class:`CloseReason`; one that was refused before has
a :class:`RejectReason`. The values are the labels of the metrics and part of the public interface.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NamedTuple, TypeAlias


class CloseReason(StrEnum):
    """Why an established connection was closed."""

    NORMAL = "normal"
    CLIENT_RESET = "client_reset"
    UPSTREAM_RESET = "upstream_reset"
    INACTIVITY = "inactivity"
    LIFETIME = "lifetime"
    HALF_CLOSE_TIMEOUT = "half_close_timeout"
    ZOMBIE_FULL = "zombie_full"
    ZOMBIE_HALF = "zombie_half"
    ZOMBIE_STUCK = "zombie_stuck"
    TARGET_DOWN = "target_down"
    SHUTDOWN = "shutdown"
    ADMIN = "admin"
    ROUTE_REMOVED = "route_removed"
    ERROR = "error"


class RejectReason(StrEnum):
    """Why a connection was refused before it was established to a target."""

    IP_BLOCKED = "ip_blocked"
    IP_NOT_ALLOWED = "ip_not_allowed"
    GLOBAL_LIMIT = "global_limit"
    IP_LIMIT = "ip_limit"
    ROUTE_LIMIT = "route_limit"
    RATE_LIMIT = "rate_limit"
    PROXY_HEADER_INVALID = "proxy_header_invalid"
    PROXY_HEADER_MISSING = "proxy_header_missing"
    PROXY_HEADER_TIMEOUT = "proxy_header_timeout"
    INITIAL_DATA_TIMEOUT = "initial_data_timeout"
    NO_ROUTE = "no_route"
    UPSTREAM_REFUSED = "upstream_refused"
    UPSTREAM_TIMEOUT = "upstream_timeout"
    UPSTREAM_UNREACHABLE = "upstream_unreachable"
    TLS_ERROR = "tls_error"
    PENDING_DATA_LIMIT = "pending_data_limit"
    DRAINING = "draining"
    TARGET_LIMIT = "target_limit"
    QUEUE_FULL = "queue_full"
    QUEUE_TIMEOUT = "queue_timeout"
    NO_TARGET = "no_target"


Outcome: TypeAlias = CloseReason | RejectReason

#: Characters of a detail at most: ten failed targets with their errors.
LONGEST_DETAIL: Final = 1000
#: Characters that are shown of a path, a user agent or a referer at most; a head may have 64 KiB
#: (:mod:`smartproxy.wire.http_head`), and a line of the log has to fit in an atomic write to a pipe.
LONGEST_PATH: Final = 512


class EndedBy(StrEnum):
    """The end that ended a connection; code that serves it in this process is its target."""

    CLIENT = "client"
    TARGET = "target"
    PROXY = "proxy"


class EndingDetail(NamedTuple):
    """Why a connection ended.

    :ivar text: in words; may contain what a client sent.
    :ivar side: ``None``: as :data:`SIDES` has it for the outcome.
    """

    text: str
    side: EndedBy | None = None


class ConnectionState(StrEnum):
    """The step of the control path that a live connection has reached."""

    ACCEPTED = "accepted"
    DETECTING = "detecting"
    CONNECTING = "connecting"
    RELAYING = "relaying"
    CLOSING = "closing"


class RelayKind(StrEnum):
    """How the bytes of an established connection are moved: within the kernel, or through this process."""

    SPLICE = "splice"
    TRANSPORT = "transport"
