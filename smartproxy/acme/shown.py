"""Showing issued certificates to clients: in the selection of TLS (:mod:`smartproxy.tls.store`).

Selections are made in threads, by this and by the watcher of certificate files, so that one may be shown that was begun
before the other. What is begun here is begun again if something else was shown meanwhile. The watcher does not do that, so
after each change, what is missing is shown again.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from smartproxy.acme.managed import ManagedCertificate
    from smartproxy.flow.threads import Call
    from smartproxy.model.plan import CertificatePlan, ProxyPlan
    from smartproxy.tls.certificate import Certificate
    from smartproxy.tls.store import CertificateStore


class IssuedShown:
    """Shows certificates of entries of the configuration.

    :param store: shows certificates.
    :param in_thread: calls what takes long.
    """

    def __init__(self, store: CertificateStore, in_thread: Call) -> None:
        self._store = store
        self._in_thread = in_thread

    async def show(self, managed: ManagedCertificate, certificate: Certificate) -> None:
        """Show ``certificate`` for its entries, as far as the configuration in force has them."""
        while changed := self._entries_of(managed, certificate.plan):
            before = self._store.selection
            selection = await self._in_thread(partial(self._store.changed, changed))
            # What has changed meanwhile, by a reload or in a file, is not in this selection.
            if self._store.selection is before:
                self._store.show(selection)
                return

    def _entries_of(
        self, managed: ManagedCertificate, plan: CertificatePlan
    ) -> dict[CertificatePlan, CertificatePlan]:
        entries = self._store.own_entries
        return {entry: plan for entry in managed.entries if entry in entries}

    def show_missing(self, all_: Iterable[ManagedCertificate]) -> None:
        """Show those of ``all_`` that the present selection does not have."""
        entries = self._store.own_entries
        missing: dict[CertificatePlan, CertificatePlan] = {}
        for managed in all_:
            if managed.certificate is None:
                continue
            plan = managed.certificate.plan
            for entry in managed.entries:
                shown = self._store.shown_for(entry)
                if entry in entries and (shown is None or shown.plan != plan):
                    missing[entry] = plan
        if missing:
            self._store.show(self._store.changed(missing))


def automatic_entries(plan: ProxyPlan) -> Iterator[CertificatePlan]:
    """The automatic entries of all routes; of several routes the same ones."""
    for route in plan.routes:
        if route.tls is not None:
            yield from (entry for entry in route.tls.certificates if entry.automatic)
