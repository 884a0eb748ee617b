"""A certificate that ACME takes care of: what there is, when the next order is due, and why the last one failed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from smartproxy.acme.schedule import renewal_time, retry_delay
from smartproxy.acme.store_lock import OrderAttempts
from smartproxy.model.certificate_status import ShownAcme

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from twisted.internet.defer import Deferred

    from smartproxy.acme.ari import RenewalInfo
    from smartproxy.acme.store_lock import FailedOrder
    from smartproxy.model.certificate_status import AcmeState
    from smartproxy.model.plan import AcmePlan, CertificatePlan
    from smartproxy.tls.certificate import Certificate

#: Due at once.
NOW: Final = 0.0
#: The part of its lifetime for which a new certificate is not renewed, whatever asks for it but the operator.
_LEAST: Final = 0.1


def lifetime_of(certificate: Certificate) -> float:
    """The seconds for which a certificate is valid in all."""
    return (certificate.not_after - certificate.leaf.not_valid_before_utc).total_seconds()


def key_of(names: Iterable[str]) -> tuple[str, ...]:
    """What a certificate is found by: its names, in any order."""
    return tuple(sorted(set(names)))


class ManagedCertificate:
    """One certificate. Times are in seconds since the epoch.

    :ivar names: as ordered.
    :ivar entries: its entries in the configuration, which differ in the order of the names; none for one that is ordered on
        demand.
    :ivar certificate: what clients get; ``None`` before the first one, or while that is a self-signed one.
    :ivar directory: URL of the one that has issued it.
    :ivar due: when the next order is made.
    :ivar earliest: no order is due before: a clock that is wrong, or an authority that wants a renewal again and again, does not
        make one order after the other.
    :ivar ordering: the order in progress; ``None`` without one.
    :ivar asked: whether a client has asked for it since the last order: one that is ordered on demand is renewed only then.
    :ivar approved_by_callable: whether an embedder's certificate callable has approved the name, and not ``acme.onDemand``. Only
        clients since the last order count.
    :ivar failures: orders that failed since the last one that did not.
    :ivar failed_proofs: orders that failed because control over a name was not proven: the next one is made with the next
        challenge. What has succeeded once is kept, so it is never reset.
    :ivar renewal_info: when its authority wants it to be renewed (RFC 9773); ``None`` where that is not known.
    :ivar renewal_info_due: when to ask again.
    :ivar since: failures of other processes before delay no order: it was asked for then.
    :ivar shared: what another process has just ordered and this one is about to use; ``None`` without one.
    """

    __slots__ = (
        "approved_by_callable",
        "asked",
        "certificate",
        "directory",
        "due",
        "earliest",
        "entries",
        "error",
        "error_at",
        "failed_proofs",
        "failures",
        "names",
        "ordering",
        "renewal_info",
        "renewal_info_due",
        "shared",
        "since",
        "waits_for_other",
    )

    def __init__(self, names: Sequence[str], since: float = 0.0) -> None:
        self.names = tuple(names)
        self.since = since
        self.entries: tuple[CertificatePlan, ...] = ()
        self.certificate: Certificate | None = None
        self.directory = ""
        self.due = NOW
        self.earliest = NOW
        self.ordering: Deferred[Certificate | FailedOrder | None] | None = None
        self.asked = True
        self.approved_by_callable = False
        self.failures = 0
        self.failed_proofs = 0
        self.error = ""
        self.error_at: float | None = None
        self.waits_for_other = False
        self.renewal_info: RenewalInfo | None = None
        self.renewal_info_due = NOW
        self.shared: Certificate | None = None

    @property
    def name(self) -> str:
        """Its label in metrics and log lines: as that of the certificate, in which an authority may have sorted the names."""
        return self.names[0] if self.certificate is None else self.certificate.name

    @property
    def is_on_demand(self) -> bool:
        """Whether it was ordered because a client asked for the name."""
        return not self.entries

    @property
    def is_being_ordered(self) -> bool:
        """Whether there is an order, here or in another process, or one has failed and is tried again."""
        return self.ordering is not None or self.waits_for_other or self.failures > 0

    def is_complete(self, certificate: Certificate) -> bool:
        """Whether ``certificate`` has all names: a former one of fewer names is used until there is another."""
        return set(self.names) <= set(certificate.names)

    def adopt(self, certificate: Certificate, plan: AcmePlan, chance: float, ordered_at: float = 0.0) -> None:
        """Use ``certificate`` from now on, and renew it in time.

        :param plan: of the directory that has issued it.
        :param ordered_at: when it was obtained; 0 for one of the store.
        """
        self.certificate, self.directory = certificate, plan.directory
        self.failures, self.error, self.error_at = 0, "", None
        self.waits_for_other = False
        self.renewal_info, self.renewal_info_due = None, NOW
        self.earliest = ordered_at + lifetime_of(certificate) * _LEAST if ordered_at else NOW
        if self.is_complete(certificate):
            self.plan_renewal(self.renewal_time(certificate, plan, chance))
        else:
            self.due = NOW

    def note_client(self, *, approved: bool) -> None:
        """A client asks for it.

        :param approved: whether a certificate callable has approved the name.
        """
        self.approved_by_callable = approved or (self.asked and self.approved_by_callable)
        self.asked = True

    def plan_renewal(self, at: float) -> None:
        """Renew it at ``at``, or as early as is allowed."""
        self.due = max(at, self.earliest)

    def renewal_time(self, certificate: Certificate, plan: AcmePlan, chance: float) -> float:
        """When to renew ``certificate``, as far as its own dates decide."""
        until = certificate.not_after.timestamp()
        return renewal_time(until - lifetime_of(certificate), until, plan.renew_before, chance)

    def fail(self, why: str, now: float, chance: float, retry_after: float | None = None) -> None:
        """Note that an order has failed, and when to try again."""
        self.failures += 1
        self.error, self.error_at = why, now
        self.waits_for_other = False
        self.due = now + retry_delay(self.failures, chance, retry_after)

    def fail_as(self, failed: FailedOrder, chance: float) -> None:
        """Another process has failed: wait as that does, and begin with the same challenge."""
        self.failures = failed.failures - 1
        self.failed_proofs = max(self.failed_proofs, failed.failed_proofs)
        self.fail(failed.why, failed.at, chance, failed.retry_after)

    def order_now(self, now: float) -> None:
        """Make an order now, whatever has failed before."""
        self.due, self.since = NOW, now

    @property
    def attempts(self) -> OrderAttempts:
        """The orders of this process."""
        return OrderAttempts(self.failures, self.failed_proofs, self.since)

    def clock_was_set_back(self, seconds: float) -> None:
        """Wait no longer than before the wall clock was set back by so many seconds."""
        if self.failures or self.waits_for_other or self.due == self.earliest:
            self.due = max(self.due - seconds, NOW)
        self.earliest = max(self.earliest - seconds, NOW)
        self.renewal_info_due = max(self.renewal_info_due - seconds, NOW)
        self.since = max(self.since - seconds, NOW)

    def status(self) -> ShownAcme:
        """For the admin API."""
        return ShownAcme(
            self._state(),
            None if self.ordering is not None else self.due,
            self.error,
            self.error_at,
            self.failures,
            self.is_on_demand,
        )

    def _state(self) -> AcmeState:
        if self.ordering is not None or self.waits_for_other:
            return "ordering"
        if self.failures:
            return "failed"
        return "waiting" if self.certificate is None else "issued"
