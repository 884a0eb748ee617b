"""What comes of orders: counted, logged, shown to clients, and told to who waits for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.logger import Logger

from smartproxy.acme.events import CertificateEvent
from smartproxy.model.timestamps import Moment

if TYPE_CHECKING:
    from collections.abc import Callable

    from smartproxy.acme.events import CertificateEventKind
    from smartproxy.acme.managed import ManagedCertificate
    from smartproxy.acme.shown import IssuedShown
    from smartproxy.acme.store_lock import FailedOrder
    from smartproxy.metrics.counters import Counters
    from smartproxy.model.plan import AcmePlan
    from smartproxy.tls.certificate import Certificate

log = Logger()


class Outcomes:
    """Ends of orders.

    :param chance: returns a random number from 0 to 1.
    :param wall: seconds since the epoch.
    :ivar on_settled: called with a certificate when an order for it has ended, whichever way.
    :ivar on_event: callables that are called with a :class:`CertificateEvent` when an order has ended. What one raises is
        logged.
    """

    def __init__(
        self,
        shown: IssuedShown,
        counters: Counters,
        chance: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        self._shown = shown
        self._counters = counters
        self._chance = chance
        self._wall = wall
        self.on_event: list[Callable[[CertificateEvent], object]] = []
        self.on_settled: list[Callable[[ManagedCertificate], None]] = []

    async def obtained(self, managed: ManagedCertificate, certificate: Certificate, plan: AcmePlan) -> None:
        """Use ``certificate``, and show it to clients."""
        kind: CertificateEventKind = "issued" if managed.certificate is None else "renewed"
        managed.adopt(certificate, plan, self._chance(), self._wall())
        managed.asked = False
        self._counters.acme_orders["ok"] += certificate is not managed.shared
        managed.shared = None
        until = Moment(certificate.not_after.timestamp(), 0.0).iso(0.0)
        log.info(
            "certificate {kind} by ACME: {names}, valid until {until}",
            kind=kind,
            names=", ".join(managed.names),
            until=until,
        )
        await self._shown.show(managed, certificate)
        self._settle(managed)
        self._announce(CertificateEvent(kind, managed.names))

    def failed(self, managed: ManagedCertificate, why: str, retry_after: float | None = None) -> None:
        """Note why an order has failed, and when it is tried again."""
        now = self._wall()
        managed.fail(why, now, self._chance(), retry_after)
        self._counters.acme_orders["failed"] += 1
        log.error(
            "certificate not ordered: {names}: {why}; next try in {seconds} s",
            names=", ".join(managed.names),
            why=why,
            seconds=round(managed.due - now),
        )
        managed.asked = False
        self._settle(managed)
        self._announce(CertificateEvent("failed", managed.names, why))

    def failed_elsewhere(self, managed: ManagedCertificate, failed: FailedOrder) -> None:
        """Wait as the process on the store whose order has failed. That has counted and logged it."""
        managed.fail_as(failed, self._chance())
        managed.asked = False
        self._settle(managed)

    def _settle(self, managed: ManagedCertificate) -> None:
        for callback in self.on_settled:
            callback(managed)

    def _announce(self, event: CertificateEvent) -> None:
        for callback in list(self.on_event):
            try:
                callback(event)
            except Exception:
                log.failure("a callable of acme.on_event failed")
