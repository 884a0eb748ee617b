"""Showing issued certificates to clients: in the selection of TLS (:mod:`smartproxy.tls.store`).

Selections are made in threads, by this and by the watcher of certificate files, so that one may be shown that was begun
before the other. After each change, what is missing is shown again.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from smartproxy.acme.managed import ManagedCertificate
    from smartproxy.flow.threads import Call
    from smartproxy.model.plan import CertificatePlan
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
        """Show ``certificate`` for its entries, if it has some."""
        changed = dict.fromkeys(managed.entries, certificate.plan)
        if changed:
            self._store.show(await self._in_thread(partial(self._store.changed, changed)))

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
