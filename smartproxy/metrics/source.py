"""What metrics read of the live connections, and what they provide for them.

:class:`~smartproxy.connections.registry.Registry` satisfies :class:`ConnectionSource`; the protocols are here so that
metrics depend on nothing above them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from smartproxy.metrics.throughput import Rate
    from smartproxy.model.record import ClosedConnection, ConnectionRecord, Meter


class MeterSource(Protocol):
    """Selects the meters that a record adds its bytes to: :class:`~smartproxy.metrics.rates.MeterAssignment`."""

    def of_client(self, ip: str) -> tuple[Meter, ...]: ...

    def of_route(self, fed: tuple[Meter, ...], route: str) -> tuple[Meter, ...]: ...


class RateSource(Protocol):
    """Rates by key: :class:`~smartproxy.metrics.rates.RateMeters`."""

    def rates(self) -> dict[str, Rate]:
        """The rate of every key."""

    def each(self) -> Iterator[tuple[str, Rate]]:
        """The same one by one. A reader may pause in between."""


class CleanupProgress(Protocol):
    """The cleanup queue: its length, the batches run and the connections cleaned so far."""

    @property
    def batches(self) -> int: ...

    @property
    def cleaned(self) -> int: ...

    def __len__(self) -> int: ...


class ConnectionSource(Protocol):
    """Live connections, and the totals of closed ones.

    :ivar on_closed: called with each closed connection when it is cleaned up.
    """

    on_closed: list[Callable[[ClosedConnection], object]]

    @property
    def active(self) -> int:
        """Live connections."""

    @property
    def opened(self) -> int:
        """Connections accepted since the process started."""

    @property
    def by_ip(self) -> Mapping[str, int]:
        """Live connections by client address."""

    @property
    def by_route(self) -> Mapping[str, int]:
        """Live connections by route name."""

    @property
    def closed_received(self) -> int:
        """Bytes received from clients by connections that are closed and cleaned up."""

    @property
    def closed_sent(self) -> int:
        """Bytes sent to clients by connections that are closed and cleaned up."""

    @property
    def ended(self) -> CleanupProgress:
        """Closed connections not cleaned up yet."""

    def unsettled(self) -> Iterable[ConnectionRecord]:
        """Records whose bytes are not in the totals yet."""

    def measure(self, meters: MeterSource | None) -> None:
        """Feed the meters that ``meters`` selects from now on, also with live connections; ``None``: no meters."""
