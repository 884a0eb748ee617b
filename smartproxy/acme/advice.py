"""When an authority wants a certificate to be renewed: ACME Renewal Information (ARI, RFC 9773).

It may be earlier than its dates say, because the authority will revoke it, or wants to spread its load. A directory without
it is not asked; where it cannot be asked, the dates of the certificate decide.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from smartproxy.acme import ari
from smartproxy.acme.managed import NOW
from smartproxy.errors import AcmeError, AcmeStoreUnusable
from smartproxy.model.timestamps import Moment

if TYPE_CHECKING:
    from collections.abc import Callable

    from smartproxy.acme.managed import ManagedCertificate
    from smartproxy.acme.registration import Registration
    from smartproxy.tls.certificate import Certificate

#: Questions at once. Each has a connection of its own, and at the start there is one for each certificate.
MAX_QUESTIONS: Final = 8

log = Logger()


class RenewalAdvice:
    """Asks one directory.

    :param wall: seconds since the epoch.
    :param chance: returns a random number from 0 to 1.
    """

    def __init__(
        self, registration: Registration, wall: Callable[[], float], chance: Callable[[], float]
    ) -> None:
        self._registration = registration
        self._wall = wall
        self._chance = chance
        self._asking: set[Deferred[Any]] = set()

    def ask(self, managed: ManagedCertificate, certificate: Certificate) -> None:
        """Ask when ``certificate`` should be renewed, and have that done.

        Where a few questions are not answered yet, it is asked about later: the caller repeats that while it is due.
        """
        if len(self._asking) >= MAX_QUESTIONS:
            return
        managed.renewal_info_due = self._wall() + ari.DEFAULT_INTERVAL
        asked = Deferred.fromCoroutine(self._ask(managed, certificate))
        self._asking.add(asked)
        asked.addBoth(self._answered, managed, asked)

    def stop(self) -> None:
        """Wait for no more answers."""
        for asked in list(self._asking):
            asked.cancel()

    def _answered(self, result: Failure | None, managed: ManagedCertificate, asked: Deferred[Any]) -> None:
        self._asking.discard(asked)
        if isinstance(result, Failure):
            if result.check(CancelledError):
                managed.renewal_info_due = NOW
            else:
                log.failure("renewal information failed", result)

    async def _ask(self, managed: ManagedCertificate, certificate: Certificate) -> None:
        identifier = ari.certificate_id(certificate.leaf)
        if identifier is None:
            return
        try:
            client = await self._registration.client()
            found = await client.renewal_info(identifier)
        except (AcmeError, AcmeStoreUnusable) as failed:
            log.debug("no renewal information for {name}: {why}", name=managed.name, why=failed)
            return
        if found is None or managed.certificate is not certificate:
            return
        managed.renewal_info_due = self._wall() + found.retry_after
        if managed.is_being_ordered:
            return  # or tried again at a time that its directory may have named
        former, managed.renewal_info = managed.renewal_info, found
        if former is None or former.window != found.window:
            at = ari.moment(found.window, self._chance)
            if at >= certificate.not_after.timestamp():
                return  # no authority means that
            managed.plan_renewal(at)
            log.info(
                "certificate {name} will be renewed at {at}, as its authority suggests",
                name=managed.name,
                at=Moment(managed.due, 0.0).iso(0.0),
            )
