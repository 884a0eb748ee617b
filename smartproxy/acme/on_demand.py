"""Certificates that are ordered when a client first asks for a name (``acme.onDemand``).

::

    on_demand = OnDemandOrders(acme, approval, clock.seconds, in_thread)
    on_demand("a.example", approved=False)      # the certificate, or a Deferred of it; HandshakeRefused where there is none

A client that asks for a name waits until it is known whether there is a certificate: in memory, in the store, or from an
order that the operator's program approves. Its handshake has a time limit; the order goes on without it. All clients that ask
for the same name wait for the same order.

Anybody can ask for any name, so everything is bounded: names that are looked up at once, orders in an hour, and
certificates in memory. A name whose order has failed is refused until its next try is due. Its failures are remembered between
clients, so that its back-off grows however seldom they come.
"""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Final

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from smartproxy.acme.log_interval import LogInterval
from smartproxy.acme.storage import AcmeStorage
from smartproxy.errors import AcmeError, HandshakeRefused, InvalidCertificate
from smartproxy.tls.certificate import Certificate, self_signed_certificate
from smartproxy.wire.tls_alert import Alert

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from smartproxy.acme.managed import ManagedCertificate
    from smartproxy.acme.service import AcmeService
    from smartproxy.flow.threads import Call
    from smartproxy.model.plan import AcmePlan, CertificatePlan

#: Names that are looked up or ordered at once; clients of others are refused meanwhile.
MOST_PENDING: Final = 100
#: Certificates in memory. One takes about 10 KiB with its context.
MOST_KNOWN: Final = 10_000
_HOUR: Final = 3600.0
#: Orders in an hour where a certificate callable approves names, which sets no limit: as the default of ``maxPerHour``.
MOST_PER_HOUR: Final = 20

log = Logger()


class OnDemandOrders:
    """Orders certificates for names that clients ask for.

    :param acme: takes care of the certificates.
    :param approve: whether the operator's program approves a name.
    :param clock: monotonic seconds.
    :param in_thread: calls what waits for a disk.
    :param processes: how many have the same certificates: each may make its share of the orders in an hour, but one at least.
    """

    def __init__(
        self,
        acme: AcmeService,
        approve: Callable[[AcmePlan, str], Awaitable[bool]],
        clock: Callable[[], float],
        in_thread: Call,
        processes: int = 1,
    ) -> None:
        self._acme = acme
        self._processes = processes
        self._approve = approve
        self._clock = clock
        self._in_thread = in_thread
        self._waiting: dict[str, list[Deferred[CertificatePlan]]] = {}
        self._temporary: dict[str, CertificatePlan] = {}
        self._ordered_at: deque[float] = deque()
        self._log_interval = LogInterval(clock)
        acme.on_settled.append(self._settled)
        acme.on_forgotten.append(self._forgotten)
        acme.may_renew = self._may_renew

    def __call__(self, name: str, approved: bool) -> CertificatePlan | Deferred[CertificatePlan]:
        """The certificate for ``name``, now or later. Cancelling the Deferred does not cancel the order.

        :param approved: whether a program has decided already that it may be ordered.
        :raises HandshakeRefused: where there is none, and none can be ordered now.
        """
        managed = self._acme.find((name,))
        if managed is not None:
            managed.note_client(approved=approved)
            if managed.certificate is not None:
                return managed.certificate.plan
            if managed.ordering is None and managed.failures and not self._acme.is_due(managed):
                if (temporary := self._temporary_for(name)) is not None:
                    return temporary
                raise _refusal(name, f"the last order failed: {managed.error}")
        waiting = self._waiting.get(name)
        is_first = waiting is None
        if waiting is None:
            if len(self._waiting) >= MOST_PENDING:
                raise _refusal(name, f"{MOST_PENDING} other names are being ordered")
            waiting = self._waiting[name] = []
        client: Deferred[CertificatePlan] = Deferred(waiting.remove)
        waiting.append(client)
        if is_first:
            found: Deferred[None] = Deferred.fromCoroutine(self._look_up(name, approved=approved))
            found.addErrback(partial(self._refuse, name))
        return client

    async def _look_up(self, name: str, *, approved: bool) -> None:
        """Find the certificate in the store, or have it ordered.

        :raises HandshakeRefused: where it is not approved, or too many were ordered.
        """
        directory = self._acme.directory
        if directory is None:
            raise _refusal(name, "certificates are not ordered any more")
        if self._acme.find((name,)) is None:
            stored = await self._in_thread(partial(self._stored, directory.plan, name))
            if stored is None:
                await self._require_approval(directory.plan, name, approved=approved)
                self._require_budget(directory.plan, name)
            if self._acme.directory is not directory:
                raise _refusal(name, "the configuration has changed meanwhile")
            self._add(name, stored, approved=approved)
        managed = self._acme.find((name,))
        if managed is None or managed.certificate is not None:
            return
        if (temporary := self._temporary_for(name)) is not None:
            self._answer(name, temporary)
        self._acme.begin(managed)

    def _temporary_for(self, name: str) -> CertificatePlan | None:
        """What clients get before there is a certificate (``acme.until``): one for all of them, as each has a context."""
        directory = self._acme.directory
        if directory is None or directory.plan.until != "selfSigned":
            return None
        if name not in self._temporary:
            self._temporary[name] = self_signed_certificate((name,))
        return self._temporary[name]

    def _add(self, name: str, stored: Certificate | None, *, approved: bool) -> None:
        """Take care of the certificate for ``name``, unless the configuration has one now."""
        managed = self._acme.find((name,)) or self._acme.add_on_demand(name)
        managed.note_client(approved=approved)
        if stored is not None and managed.certificate is None:
            self._acme.adopt(managed, stored)
        if managed.certificate is not None:
            self._settled(managed)

    def _stored(self, plan: AcmePlan, name: str) -> Certificate | None:
        """In a thread. Anybody may ask for any name, so that what has none must be cheap."""
        try:
            found = AcmeStorage(plan.store, plan.directory).load((name,), exact=True)
        except InvalidCertificate:
            return None
        certificate = None if found is None else Certificate(found)
        return certificate if certificate is not None and name in certificate.names else None

    async def _require_approval(self, plan: AcmePlan, name: str, *, approved: bool) -> None:
        if approved:
            return
        if plan.on_demand is None:
            raise _refusal(name, "acme.onDemand is not configured")
        if not await self._approve(plan, name):
            raise _refusal(name, "the name was not approved (acme.onDemand.ask)")

    async def _may_renew(self, plan: AcmePlan, name: str) -> bool:
        """Whether the operator's program still approves ``name``; it is not asked where a certificate callable has.

        :raises AcmeError: if it is to be tried again later.
        """
        managed = self._acme.find((name,))
        is_approved = managed is not None and managed.approved_by_callable
        if not is_approved and not await self._approve(plan, name):
            return False
        if managed is not None and managed.certificate is None:
            if self._spent(plan):
                left = self._ordered_at[0] + _HOUR - self._clock()
                raise AcmeError(self._limit_text(plan), retry_after=left)
            self._ordered_at.append(self._clock())
        return True

    def _require_budget(self, plan: AcmePlan, name: str) -> None:
        if self._spent(plan):
            raise _refusal(name, self._limit_text(plan))
        if sum(1 for _ in self._acme.on_demand()) >= MOST_KNOWN:
            raise _refusal(name, f"there are {MOST_KNOWN} certificates on demand")
        self._ordered_at.append(self._clock())

    def _spent(self, plan: AcmePlan) -> bool:
        """Whether as many were ordered within an hour as may be. Renewals do not count: a limit would let them expire."""
        now = self._clock()
        while self._ordered_at and self._ordered_at[0] <= now - _HOUR:
            self._ordered_at.popleft()
        return len(self._ordered_at) >= self._limit_of(plan)

    def _limit_of(self, plan: AcmePlan) -> int:
        limit = plan.on_demand.max_per_hour if plan.on_demand is not None else MOST_PER_HOUR
        return max(limit // self._processes, 1)

    def _limit_text(self, plan: AcmePlan) -> str:
        share = f", of which each of {self._processes} workers has its share" if self._processes > 1 else ""
        return f"{self._limit_of(plan)} certificates were ordered within an hour (acme.onDemand.maxPerHour{share})"

    # -- answers to clients that wait ------------------------------------------------------------------

    def _settled(self, managed: ManagedCertificate) -> None:
        """An order has ended, or a certificate was found."""
        if len(managed.names) != 1:
            return  # clients wait for certificates of one name only
        if managed.certificate is not None:
            self._temporary.pop(managed.names[0], None)
            self._answer(managed.names[0], managed.certificate.plan)
        elif managed.failures:
            refusal = _refusal(managed.names[0], f"the order failed: {managed.error}")
            self._answer(managed.names[0], refusal)

    def _forgotten(self, several: Sequence[ManagedCertificate]) -> None:
        """Nothing is ordered for them any more. A name that is still waited for would never be looked up again."""
        for (name,) in (managed.names for managed in several if len(managed.names) == 1):
            self._temporary.pop(name, None)
            self._answer(name, _refusal(name, "certificates for it are not ordered any more"))

    def _refuse(self, name: str, failure: object) -> None:
        why = getattr(failure, "value", failure)
        if isinstance(why, AcmeError):
            why = _refusal(name, why.text)
        elif not isinstance(why, HandshakeRefused):
            if self._log_interval.may_log():
                log.error("certificate for {name} cannot be looked up: {why}", name=name, why=why)
            why = _refusal(name, "it could not be looked up")
        self._answer(name, why)

    def _answer(self, name: str, answer: CertificatePlan | HandshakeRefused) -> None:
        for client in self._waiting.pop(name, ()):
            if isinstance(answer, HandshakeRefused):
                client.errback(answer)
            else:
                client.callback(answer)


def _refusal(name: str, why: str) -> HandshakeRefused:
    return HandshakeRefused(f"no certificate for {name}: {why}", Alert.UNRECOGNIZED_NAME)
