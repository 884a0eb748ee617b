"""Admission of a connection by limits and lists, and its record in the registry, in one step.

Nothing else runs between the check and the record, so a burst cannot exceed a limit. Behind a trusted proxy the
announced address counts, so limits apply to the real client. A connection that the proxy in front announces as its own
(LOCAL, a health check) has no client: the limits per client and the address lists do not apply to it, and it does not
count for clients of the same address.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from smartproxy.errors import Refused
from smartproxy.model.facts import ApplicationProtocol as Spoken
from smartproxy.model.outcome import ConnectionState, RejectReason
from smartproxy.model.plan import ActionKind, RoutePlan, Treatment

if TYPE_CHECKING:
    from collections.abc import Callable

    from smartproxy.model.address import Endpoint
    from smartproxy.model.facts import Announced, Routed
    from smartproxy.model.record import ConnectionRecord


class AdmissionLimits(Protocol):
    """Limits and lists: :class:`~smartproxy.security.limits.Admission`."""

    def accept(self) -> RejectReason | None: ...

    def client(self, ip: str) -> RejectReason | None: ...

    def lists(self, route: RoutePlan, ip: str, *, listed: bool) -> RejectReason | None: ...

    def route(self, route: RoutePlan, ip: str, *, listed: bool) -> RejectReason | None: ...

    def explain(self, reason: RejectReason, ip: str = "", route: RoutePlan | None = None) -> str: ...


class AdmissionRecorder(Protocol):
    """Records admitted connections: :class:`~smartproxy.connections.registry.Registry`."""

    def identify(self, record: ConnectionRecord, client: Endpoint, *, counts: bool) -> None: ...

    def assign(self, record: ConnectionRecord, route: str) -> None: ...


class Admit:
    """Checks limits and records admitted connections.

    :param draining: whether new connections are refused.
    """

    def __init__(
        self, limits: AdmissionLimits, counts: AdmissionRecorder, draining: Callable[[], bool]
    ) -> None:
        self._limits = limits
        self._counts = counts
        self._draining = draining

    def accept(self) -> Refused | None:
        """Why a connection just accepted is refused; ``None``: it is not."""
        if self._draining():
            return Refused(RejectReason.DRAINING, "no new connections are accepted")
        reason = self._limits.accept()
        return None if reason is None else Refused(reason, self._limits.explain(reason))

    def client(self, record: ConnectionRecord, announced: Announced) -> None:
        """Admit the client.

        :raises Refused: for the rate or number of its connections.
        """
        is_client = not announced.is_local
        record.header = announced.header  # before: the access log has it of a refused client, too
        reason = self._limits.client(announced.client.host) if is_client else None
        if reason is not None:
            record.client = announced.client
            raise Refused(reason, self._limits.explain(reason, announced.client.host))
        self._counts.identify(record, announced.client, counts=is_client)
        record.state = ConnectionState.DETECTING

    def admits(self, routed: Routed) -> bool:
        """Whether the route's lists admit the client. Its number of connections does not matter, and nothing is counted."""
        announced = routed.detected.announced
        return self._limits.lists(routed.route, announced.client.host, listed=not announced.is_local) is None

    def route(self, record: ConnectionRecord, routed: Routed) -> None:
        """Admit the connection to its route.

        :raises Refused: by the route's lists or for the number of its connections.
        """
        if routed.route.kind is ActionKind.BLOCK and routed.route.handler is None:
            record.refused_by = routed.route.name
            raise Refused(RejectReason.IP_BLOCKED, "the route blocks every client")
        # Last before the record: whoever counts for several processes has counted the connection where it is admitted.
        listed = not routed.detected.announced.is_local
        reason = self._limits.route(routed.route, record.client.host, listed=listed)
        if reason is not None:
            record.refused_by = routed.route.name
            raise Refused(reason, self._limits.explain(reason, record.client.host, routed.route))
        record.refused_by = None
        self._counts.assign(record, routed.route.name)
        record.tls = routed.route.carries_tls or routed.detected.protocol is Spoken.TLS
        record.keep_alive = routed.route.keep_alive.enabled
        immortal = routed.route.keep_alive.enabled and routed.route.keep_alive.treatment is Treatment.IMMORTAL
        record.stuck_detection = routed.route.stuck_detection and not immortal
        record.state = ConnectionState.CONNECTING
