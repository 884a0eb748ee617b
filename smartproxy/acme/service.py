"""Automatic certificates: orders what is missing, renews in time, and shows the result to clients.

::

    acme = AcmeService(store, counters, clock, chance, wall, in_thread, make_directory)
    store.issued = acme.issued      # what was issued before is there as soon as a configuration is prepared
    acme.apply(plan)                # after the certificates of a configuration have come into force
    acme.start()                    # when the proxy listens: challenges can be answered

A sweep each second begins the orders that are due, a few at once. A certificate in force stays until there is another
one, whatever fails. Each certificate has a back-off of its own.

The store of TLS (:mod:`smartproxy.tls.store`) may be changed by others while a selection is made in a thread. After each
change the service compares what is shown with what it has, so that no certificate gets lost.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from smartproxy.acme import ari
from smartproxy.acme.answers import ChallengeAnswers
from smartproxy.acme.approval import without_approval
from smartproxy.acme.clock_steps import WallClockSteps
from smartproxy.acme.due import due_for_order, due_to_be_forgotten, is_unwanted
from smartproxy.acme.managed import ManagedCertificate, key_of
from smartproxy.acme.outcomes import Outcomes
from smartproxy.acme.shown import IssuedShown, automatic_entries
from smartproxy.acme.storage import AcmeStorage
from smartproxy.acme.store_lock import FailedOrder
from smartproxy.acme.stored import stored_certificate
from smartproxy.errors import (
    AcmeError,
    AcmeStoreUnusable,
    InvalidCertificate,
    NotApproved,
    NotAutomatic,
    UnknownCertificate,
)
from smartproxy.model.timestamps import keep_earliest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from twisted.internet.interfaces import IReactorTime

    from smartproxy.acme.directory_in_use import DirectoryInUse
    from smartproxy.flow.threads import Call
    from smartproxy.metrics.counters import Counters
    from smartproxy.model.certificate_status import ShownAcme
    from smartproxy.model.plan import AcmePlan, CertificatePlan, ProxyPlan
    from smartproxy.tls.certificate import Certificate
    from smartproxy.tls.store import CertificateStore

#: Seconds between two sweeps.
SWEEP_INTERVAL: Final = 1.0
#: Orders in progress at once. An order waits for the authority for most of its time.
MAX_ORDERS: Final = 8
#: Seconds until it is looked again whether another process has ordered a certificate.
OTHER_INTERVAL: Final = 2.0
#: Seconds until the operator's program is asked again about a name that it does not approve any more.
REFUSED_INTERVAL: Final = 3600.0

log = Logger()


class AcmeService:
    """Takes care of the automatic certificates of a proxy, for as long as that lives.

    :param store: shows certificates to clients.
    :param clock: schedules sweeps.
    :param chance: returns a random number from 0 to 1.
    :param wall: seconds since the epoch.
    :param in_thread: calls what waits for a disk, or takes long.
    :param make_directory: makes what orders at the directory of a configuration, with the answers to challenges.
    :ivar directory: what orders; ``None`` without ACME.
    :ivar on_settled: see :class:`~smartproxy.acme.outcomes.Outcomes`, and so is ``on_event``.
    :ivar on_forgotten: called with certificates that are not taken care of any more.
    :ivar may_renew: whether a certificate that was ordered on demand may be ordered again: to renew it, or after a failure.
    :ivar answers: pending challenges.
    """

    def __init__(
        self,
        store: CertificateStore,
        counters: Counters,
        clock: IReactorTime,
        chance: Callable[[], float],
        wall: Callable[[], float],
        in_thread: Call,
        make_directory: Callable[[AcmePlan, AcmeStorage, ChallengeAnswers], DirectoryInUse],
    ) -> None:
        self._store = store
        self._in_thread = in_thread
        self._shown = IssuedShown(store, in_thread)
        self._outcomes = Outcomes(self._shown, counters, chance, wall)
        counters.acme_next_renewal = self._next_renewals
        self._chance = chance
        self._wall = wall
        self._wall_steps = WallClockSteps(wall, clock.seconds)
        self._make_directory = make_directory
        self.answers = ChallengeAnswers(in_thread)
        self.on_event = self._outcomes.on_event
        self.on_settled = self._outcomes.on_settled
        self.on_forgotten: list[Callable[[Sequence[ManagedCertificate]], None]] = []
        self.may_renew: Callable[[AcmePlan, str], Awaitable[bool]] = _may_renew
        self.directory: DirectoryInUse | None = None
        self._managed: dict[tuple[str, ...], ManagedCertificate] = {}
        self._under_way: set[Deferred[None]] = set()
        self._sweeping = LoopingCall(self.sweep)
        self._sweeping.clock = clock
        store.on_change.append(self._show_again)

    # -- configuration and lifetime --------------------------------------------------------------------

    def issued(self, plan: AcmePlan, entry: CertificatePlan) -> Certificate | None:
        """The certificate that was issued for an automatic entry, in this process or before. May be called in a thread."""
        managed = self._managed.get(key_of(entry.names))
        if managed is not None and managed.certificate is not None:
            return managed.certificate
        return stored_certificate(plan, entry)

    def apply(self, plan: ProxyPlan) -> None:
        """Take care of the automatic certificates of ``plan``, which is in force. Others are forgotten; their files stay."""
        wanted: dict[tuple[str, ...], list[CertificatePlan]] = {}
        for entry in dict.fromkeys(automatic_entries(plan)):
            wanted.setdefault(key_of(entry.names), []).append(entry)
        removed = [managed for key, managed in self._managed.items() if key not in wanted]
        unapproved = list(without_approval(removed, plan))
        self.forget([managed for managed in removed if not managed.is_on_demand] + unapproved)
        if plan.acme is None:
            self._cancel_all()
            self.directory, self.answers.storage = None, None
            return
        storage = self.answers.storage
        self._use_directory(plan.acme)
        for key, entries in wanted.items():
            managed = self._managed.setdefault(key, ManagedCertificate(entries[0].names, self._wall()))
            managed.entries = tuple(entries)
            self._adopt_shown(managed, plan.acme)
        self._show_again()
        if self.answers.storage is not storage and self._sweeping.running:
            self._check_store()

    def _use_directory(self, plan: AcmePlan) -> None:
        former = None if self.directory is None else self.directory.plan
        if former == plan:
            return
        interrupted = [managed for managed in self._managed.values() if managed.ordering is not None]
        self._cancel_all()
        storage = AcmeStorage(plan.store, plan.directory)
        self.answers.storage = storage
        self.directory = self._make_directory(plan, storage, self.answers)
        is_other = former is not None and former.directory != plan.directory
        for managed in self._managed.values():
            is_from_here = managed.directory == plan.directory
            # An order of the former directory, and its failures, say nothing of a certificate that this one has issued.
            goes_on = not is_other and (managed.failures > 0 or managed in interrupted)
            if managed.certificate is not None and is_from_here and not goes_on:
                managed.adopt(managed.certificate, plan, self._chance())
            else:
                managed.order_now(self._wall())  # what another directory has issued is shown until then

    def _adopt_shown(self, managed: ManagedCertificate, plan: AcmePlan) -> None:
        """Take over what was found in the store when the configuration was prepared."""
        shown = self._store.shown_for(managed.entries[0])
        if managed.certificate is None and shown is not None and not shown.plan.self_signed:
            managed.adopt(shown, plan, self._chance())

    def start(self) -> None:
        """Begin to order."""
        if not self._sweeping.running:
            self._check_store()
            self._sweeping.start(SWEEP_INTERVAL)

    def _check_store(self) -> None:
        """Log a store that cannot be written, as after a change of the user. A renewal would fail weeks later.

        Where an order is due, it has that error itself.
        """
        storage = self.answers.storage
        if storage is None or any(managed.certificate is None for managed in self._managed.values()):
            return
        self._in_thread(storage.prepare).addErrback(
            lambda failed: log.error("certificates cannot be renewed: {problem}", problem=failed.value)
        )

    def stop(self) -> None:
        """Cancel all orders, and make no more. What there is is still shown."""
        if self._sweeping.running:
            self._sweeping.stop()
        self._cancel_all()

    def ended(self) -> Deferred[None]:
        """Fires when every order that was cancelled has removed its challenges: a command may change the DNS."""
        return DeferredList(list(self._under_way)).addCallback(lambda _: None)

    def forget(self, several: Sequence[ManagedCertificate]) -> None:
        """Take care of them no more. Their files stay in the store."""
        for managed in several:
            self._managed.pop(key_of(managed.names), None)
            self._cancel(managed)
        if several:
            for callback in self.on_forgotten:
                callback(several)

    def _cancel_all(self) -> None:
        if self.directory is not None:
            self.directory.advice.stop()
        for managed in self._managed.values():
            self._cancel(managed)

    def _cancel(self, managed: ManagedCertificate) -> None:
        ordering, managed.ordering = managed.ordering, None
        if ordering is not None:
            ordering.cancel()

    # -- for the admin API and for clients -------------------------------------------------------------

    def status(self, entry: CertificatePlan) -> ShownAcme | None:
        """What is done for an entry of the configuration; ``None`` where it is not automatic."""
        managed = self._managed.get(key_of(entry.names)) if entry.automatic else None
        return None if managed is None else managed.status()

    def on_demand(self) -> Iterator[ManagedCertificate]:
        """The certificates that were ordered because clients asked for their names."""
        return (managed for managed in self._managed.values() if managed.is_on_demand)

    def find(self, names: Sequence[str]) -> ManagedCertificate | None:
        """The certificate for exactly ``names``, if it is taken care of."""
        return self._managed.get(key_of(names))

    def add_on_demand(self, name: str) -> ManagedCertificate:
        """Take care of a certificate for a name that a client has asked for."""
        managed = self._managed[key_of((name,))] = ManagedCertificate((name,))
        return managed

    def adopt(self, managed: ManagedCertificate, certificate: Certificate) -> None:
        """Use a certificate of the store."""
        if self.directory is not None:
            managed.adopt(certificate, self.directory.plan, self._chance())

    def renew(self, name: str) -> tuple[str, ...]:
        """Order every certificate that has ``name`` now. Returns the names of all of them.

        :raises UnknownCertificate: if no certificate has the name.
        :raises NotAutomatic: if it is not automatic.
        """
        wanted = name.lower().removesuffix(".")
        several = [managed for managed in self._managed.values() if wanted in managed.names]
        for managed in several:
            managed.order_now(self._wall())
            managed.asked = True
        if several:
            for managed in several[:MAX_ORDERS] if self._sweeping.running else ():
                self.begin(managed)  # the others are begun by sweeps
            return tuple(dict.fromkeys(name for managed in several for name in managed.names))
        for certificate in self._store.certificates:
            if wanted in certificate.names:
                where = certificate.plan.source
                raise NotAutomatic(
                    f"the certificate for {wanted!a} is not automatic: it is read from {where!a}"
                )
        raise UnknownCertificate(f"there is no certificate for {wanted!a}")

    # -- orders ----------------------------------------------------------------------------------------

    def sweep(self) -> None:
        """Begin the orders that are due, and ask when to renew."""
        if self.directory is None:
            return
        self._wall_steps.follow(self._managed.values())
        now = self._wall()
        self.forget(due_to_be_forgotten(self._managed.values(), now))
        under_way = sum(managed.ordering is not None for managed in self._managed.values())
        for managed in due_for_order(self._managed.values(), now)[: max(MAX_ORDERS - under_way, 0)]:
            self.begin(managed)
        for managed in list(self._managed.values()):
            is_idle = managed.ordering is None and managed.renewal_info_due <= now < managed.due
            if is_idle and managed.certificate is not None:
                self.directory.advice.ask(managed, managed.certificate)

    def is_due(self, managed: ManagedCertificate) -> bool:
        """Whether an order may be made now: the wait after a failed one is over, or a renewal is due."""
        return managed.due <= self._wall()

    def begin(self, managed: ManagedCertificate) -> None:
        """Begin an order now."""
        if self.directory is None or managed.ordering is not None:
            return
        managed.ordering = ordering = Deferred.fromCoroutine(self._obtain(managed, self.directory))
        ended = ordering.addBoth(self._ended, managed, ordering, self.directory.plan)
        ended.addErrback(lambda failure: log.failure("the end of an order failed", failure))
        self._under_way.add(ended)
        ended.addBoth(lambda _: self._under_way.discard(ended))

    async def _obtain(
        self, managed: ManagedCertificate, directory: DirectoryInUse
    ) -> Certificate | FailedOrder | None:
        if not await self._is_still_wanted(managed, directory.plan):
            raise NotApproved(f"{managed.name}: a renewal is not approved (acme.onDemand.ask)")
        replaced = managed.certificate
        return await directory.obtain(
            managed.names,
            partial(self._is_good, managed, directory.plan),
            None if replaced is None else ari.certificate_id(replaced.leaf),
            managed.attempts,
        )

    def _ended(
        self,
        result: Certificate | FailedOrder | Failure | None,
        managed: ManagedCertificate,
        ordering: Deferred[Any],
        plan: AcmePlan,
    ) -> Deferred[None] | None:
        """An order has ended: one that was cancelled without effect, because another one may have begun meanwhile."""
        if managed.ordering is not ordering:
            return None
        managed.ordering = None
        if not isinstance(result, Failure):
            return self._obtained(managed, result, plan)
        failed = result.value
        if isinstance(failed, NotApproved):
            self._do_not_renew(managed)
        elif isinstance(failed, AcmeError):
            managed.failed_proofs += failed.is_of_proof
            self._outcomes.failed(managed, failed.text, failed.retry_after)
        elif isinstance(failed, AcmeStoreUnusable | InvalidCertificate):
            self._outcomes.failed(managed, str(failed))
        elif isinstance(failed, CancelledError):  # not by us: what it has waited for was cancelled
            self._outcomes.failed(managed, "it was cancelled")
        else:
            log.failure("order of {names} failed", result, names=", ".join(managed.names))
            self._outcomes.failed(managed, f"an unexpected error: {type(failed).__name__}")
        return None

    async def _is_still_wanted(self, managed: ManagedCertificate, plan: AcmePlan) -> bool:
        is_again = (managed.certificate is not None or managed.failures > 0) and not managed.waits_for_other
        return not (managed.is_on_demand and is_again) or await self.may_renew(plan, managed.name)

    def _do_not_renew(self, managed: ManagedCertificate) -> None:
        """Use a certificate that may not be renewed until it expires.

        It is not forgotten before: the next client would find it in the store, and have the program asked again.
        """
        now = self._wall()
        if managed.certificate is None or managed.certificate.not_after.timestamp() <= now:
            self.forget([managed])
            return
        managed.asked, managed.due = False, now + REFUSED_INTERVAL
        log.info(
            "certificate of {name} is not renewed: the name is not approved any more",
            name=managed.name,
        )

    def _is_good(self, managed: ManagedCertificate, plan: AcmePlan, stored: Certificate) -> bool:
        """Whether a certificate of the store makes an order needless: another process has just obtained it."""
        if not managed.is_complete(stored):
            return False
        if managed.certificate is not None and managed.certificate.fingerprint == stored.fingerprint:
            return False  # it is this one that is to be renewed
        managed.shared = stored if managed.renewal_time(stored, plan, 0.0) > self._wall() else None
        return managed.shared is not None

    def _obtained(
        self, managed: ManagedCertificate, certificate: Certificate | FailedOrder | None, plan: AcmePlan
    ) -> Deferred[None] | None:
        if isinstance(certificate, FailedOrder):
            self._outcomes.failed_elsewhere(managed, certificate)
            return None
        if certificate is None:
            managed.waits_for_other = True
            managed.due = self._wall() + OTHER_INTERVAL
            return None
        return Deferred.fromCoroutine(self._outcomes.obtained(managed, certificate, plan))

    def _show_again(self) -> None:
        self._shown.show_missing(self._managed.values())

    def _next_renewals(self) -> dict[str, float]:
        renewals: dict[str, float] = {}
        now = self._wall()
        for managed in self._managed.values() if self._sweeping.running else ():
            if not is_unwanted(managed, now):
                keep_earliest(renewals, managed.name, managed.due or now)
        return renewals


async def _may_renew(_plan: AcmePlan, _name: str) -> bool:
    """In place of :attr:`AcmeService.may_renew` until it is set."""
    return True
