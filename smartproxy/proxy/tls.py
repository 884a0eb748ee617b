"""What a proxy keeps of TLS over reloads: certificates and orders for them, contexts and their sessions, the limit on handshakes.

::

    tls = TlsState(plan, reactor, clock, counters, TlsMaterial())
    contexts = tls.prepare(plan)        # of one configuration; may run in a thread
    tls.apply(contexts, plan)           # at start, and when a reload has succeeded

Contexts and sessions are keyed by the options and certificates that they are made for, and dropped when the
configuration in force has none of those.
"""

from __future__ import annotations

import random
from math import ceil
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IReactorFDSet

from smartproxy.acme.automatic import AutomaticCertificates
from smartproxy.flow.names import with_own_names
from smartproxy.flow.threads import thread_for
from smartproxy.model.certificate_status import ShownCertificate, ShownStaple
from smartproxy.model.timestamps import keep_earliest
from smartproxy.proxy.acme import acme_service, on_demand_of
from smartproxy.security.handshake_limit import HandshakeLimit
from smartproxy.tls.client_contexts import ClientContexts
from smartproxy.tls.ocsp.fetch import OcspFetch
from smartproxy.tls.ocsp.stapling import Stapling
from smartproxy.tls.renewal_report import RenewalReport
from smartproxy.tls.renewals import Renewals
from smartproxy.tls.store import status_of
from smartproxy.tls.watcher import CertificateWatch

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from twisted.internet.interfaces import IReactorTime

    from smartproxy.acme.managed import ManagedCertificate
    from smartproxy.files.states import FileStates
    from smartproxy.metrics.counters import Counters
    from smartproxy.model.plan import ProxyPlan
    from smartproxy.tls.material import TlsMaterial
    from smartproxy.tls.server_contexts import ServerContexts

#: Names of OCSP responders that are resolved at once. A few authorities have issued all certificates of a proxy.
_OCSP_NAMES = 8
#: Certificates that are ordered on demand come and go too often to fetch OCSP responses for them.
NOT_STAPLED = ShownStaple("none", detail="not stapled: ordered on demand")


class TlsState:
    """TLS of a proxy, for as long as it lives.

    :param reactor: for OCSP requests and notifications of changed files.
    :param clock: monotonic time for sweeps and retries.
    :param material: certificates and contexts, which another process may have made before.
    :param is_one_of_several: whether the limits on handshakes and on orders on demand are for all of ``plan.workers``
        processes together, and another process watches files.
    :param is_reporting: whether this process logs and counts changes of certificates, and asks OCSP responders first.
    :ivar handshakes: limits the handshakes under way.
    :ivar targets: contexts and sessions for connections to targets.
    :ivar acme: takes care of automatic certificates.
    :ivar automatic: what an embedding program sees of it.
    :ivar stapling: fetches OCSP responses.
    """

    def __init__(
        self,
        plan: ProxyPlan,
        reactor: Any,
        clock: IReactorTime,
        counters: Counters,
        material: TlsMaterial,
        *,
        is_one_of_several: bool = False,
        is_reporting: bool = True,
    ) -> None:
        self._is_one_of_several = is_one_of_several
        self.handshakes = HandshakeLimit(self._most_handshakes(plan), clock)
        self.targets = ClientContexts()
        self._material = material
        self._store = material.store
        self._store.on_change.append(self._drop_unused)
        descriptors = reactor if IReactorFDSet.providedBy(reactor) else None
        report = RenewalReport(counters, is_silent=not is_reporting)
        in_thread = thread_for("certificates", reactor)
        self._renewals = Renewals(self._store, report, in_thread)
        #: Where several processes serve, one of them watches for all.
        self._watch = (
            None
            if is_one_of_several
            else CertificateWatch(self._renewals, report, clock, in_thread, descriptors)
        )
        responders = with_own_names(reactor, "ocsp-name", _OCSP_NAMES)
        self.stapling = Stapling(
            material.staples,
            self._store,
            clock,
            counters,
            OcspFetch(responders),
            random.random,
            waits_for_others=not is_reporting,
        )
        self._in_force: ServerContexts | None = None
        self.acme = acme_service(self._store, reactor, clock, counters)
        self.automatic = AutomaticCertificates(self.acme)
        self._store.issued = self.acme.issued
        processes = plan.workers if is_one_of_several else 1
        material.cache.on_demand = on_demand_of(self.acme, reactor, clock, processes)
        counters.certificate_expiry = self._expiry

    def follow(self, compile_again: Callable[[], Awaitable[None]]) -> None:
        """Call ``compile_again`` when an authority, a revocation list or a certificate for targets has changed."""
        if self._watch is not None:
            self._watch.compile_again = compile_again

    async def renew(self, before: FileStates, states: FileStates) -> None:
        """Another process has noticed that certificate files have changed from one state to another."""
        await self._renewals.renew(before, states)

    def start(self) -> None:
        """Begin to watch files, to fetch OCSP responses, and to order certificates."""
        if self._watch is not None:
            self._watch.start()
        self.stapling.start()
        self.acme.start()

    def stop(self) -> None:
        """Stop all of it."""
        self.acme.stop()
        if self._watch is not None:
            self._watch.stop()
        self.stapling.stop()

    def prepare(self, plan: ProxyPlan) -> ServerContexts:
        """The contexts of ``plan``, not in force yet. Nothing of the configuration in force changes."""
        return self._material.prepare(plan)

    def apply(self, contexts: ServerContexts, plan: ProxyPlan) -> None:
        """Put ``plan`` and its prepared contexts in force, and drop what it has no use for."""
        self._in_force = contexts
        self._store.apply(contexts.certificates)
        self.targets.retain(plan.originations)
        self.handshakes.limit = self._most_handshakes(plan)
        self.handshakes.ipv6_prefix = plan.ipv6_limit_prefix
        if self._watch is not None:
            self._watch.configure(plan.tls)
        else:
            self._renewals.follow(plan.tls)
        self.stapling.configure(plan.tls)
        self.acme.apply(plan)

    def _most_handshakes(self, plan: ProxyPlan) -> int:
        """The share of this process. A handshake above it closes a stalled one; none is refused."""
        return (
            ceil(plan.tls.max_handshakes / plan.workers)
            if self._is_one_of_several
            else plan.tls.max_handshakes
        )

    def certificates(self) -> list[ShownCertificate]:
        """The certificates in force for the admin API, the first to expire first; then those ordered on demand."""
        shown = self._store.statuses(self.stapling.status, self.acme.status)
        return shown + [_status(managed) for managed in self.acme.on_demand()]

    def _expiry(self) -> dict[str, float]:
        expiry = dict(self._store.expiry)
        for managed in self.acme.on_demand():
            if managed.certificate is not None:
                keep_earliest(expiry, managed.name, managed.certificate.not_after.timestamp())
        return expiry

    def _drop_unused(self) -> None:
        if self._in_force is not None:
            self._in_force.drop_unused()


def _status(managed: ManagedCertificate) -> ShownCertificate:
    if managed.certificate is None:
        return ShownCertificate(managed.names, "acme", "", None, "", default=False, acme=managed.status())
    return status_of(managed.certificate, NOT_STAPLED, managed.status())
