"""OCSP stapling: proof from its authority that a certificate is not revoked, fetched here and shown with it.

::

    stapling = Stapling(clock, counters, OcspFetch(reactor), random.random, time.time)
    ServerContexts(plan, former, stapling)      # its contexts ask for what is to be stapled
    stapling.follow(contexts, plan.tls)          # and again after each reload
    stapling.start()

Every second the certificates that are shown are looked through: one that has come is asked about, one that has gone
is forgotten. A response stands in memory, by the fingerprint of its certificate; so a certificate that has been
renewed never gets the response of the one before. It is asked for again at half of what it has left, and after a
failure at intervals that double. All of that is beside the handshakes: they take what is there.

What is stapled, and what is not, stands in :mod:`smartproxy.tls.ocsp.stapled`; what is believed, in :mod:`smartproxy.tls.ocsp.messages`.

The log has a line when something changes, and none while it stays as it is: one for a responder, not for each of
its certificates.
"""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Final

from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from smartproxy.errors import InvalidOcspResponse
from smartproxy.tls.ocsp.messages import Status, read
from smartproxy.tls.ocsp.stapled import Stapled

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IReactorTime
    from twisted.python.failure import Failure

    from smartproxy.metrics.counters import Counters
    from smartproxy.model.certificate_status import ShownStaple
    from smartproxy.model.plan import TlsPlan
    from smartproxy.tls.certificate import Certificate
    from smartproxy.tls.contexts import ServerContexts
    from smartproxy.tls.ocsp.messages import OcspRequest, OcspResponse

#: Seconds between two looks.
EVERY: Final = 1.0
#: New certificates that one look takes note of, 0.2 ms each: thousands come in slices.
NEW: Final = 50
#: Questions to one responder at the same time.
AT_ONCE: Final = 4
#: Seconds after which a response is asked for again: the least and the most, whatever it has left.
SOONEST: Final = 60.0
LATEST: Final = 86400.0
#: So much earlier at most, as a share: certificates that came together are not asked about together for ever.
JITTER: Final = 0.1
#: Seconds after a first failure, and the most after many. Of each, the second half is left to chance.
FIRST_RETRY: Final = 30.0
LAST_RETRY: Final = 3600.0

log = Logger()


class Stapling:
    """Looks after the OCSP responses of the certificates in force.

    :param clock: wakes it up, and measures the time between two questions.
    :param fetch: asks a responder, as :class:`~smartproxy.tls.ocsp.fetch.OcspFetch`.
    :param chance: from 0 to 1. :param wall: seconds since the epoch: responses are dated.
    """

    def __init__(
        self,
        clock: IReactorTime,
        counters: Counters,
        fetch: Callable[[str, bytes], Deferred[bytes]],
        chance: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        self._clock = clock
        self._counters = counters
        self._fetch = fetch
        self._chance = chance
        self._wall = wall
        self._contexts: ServerContexts | None = None
        self._of: dict[str, Stapled] = {}
        self._asked: Counter[str] = Counter()
        self._looking = LoopingCall(self.look)
        self._looking.clock = clock

    def follow(self, contexts: ServerContexts, plan: TlsPlan) -> None:
        """From now on, look after these."""
        self._contexts = contexts if plan.ocsp_stapling else None
        if self._looking.running:
            self.look()

    def start(self) -> None:
        """Begin to ask."""
        if not self._looking.running:
            self._looking.start(EVERY)

    def stop(self) -> None:
        """Ask no more, and give up what is being asked. What is there may still be stapled."""
        if self._looking.running:
            self._looking.stop()
        for one in self._of.values():
            one.give_up()

    # -- for those that are shown ----------------------------------------------------------------------

    def source(self, certificate: Certificate) -> Callable[[], bytes] | None:
        """Gives what is to be stapled to ``certificate`` now, or nothing; ``None``: there will never be anything."""
        if self._stapled(certificate).request is None:
            return None
        return partial(self._staple, certificate.fingerprint)

    def _staple(self, fingerprint: str) -> bytes:
        found = self._of.get(fingerprint)
        # The date is asked here and not only at a look: a machine that has slept must not show what has ended.
        return b"" if found is None else found.staple(self._wall())

    def shown(self, certificate: Certificate) -> ShownStaple:
        """What a person is told about the response for ``certificate``."""
        return self._stapled(certificate).shown(self._wall())

    def _stapled(self, certificate: Certificate) -> Stapled:
        found = self._of.get(certificate.fingerprint)
        if found is None:
            found = self._of[certificate.fingerprint] = Stapled(certificate)
        return found

    # -- asking ----------------------------------------------------------------------------------------

    def look(self) -> None:
        """Take note of what has come, gone and ended, and ask what is due."""
        self._take_stock()
        now, wall = self._clock.seconds(), self._wall()
        for one in self._of.values():
            if one.request is None:
                continue
            if one.has_ended(wall):
                self._drop(one, now)
            if one.due <= now and one.asking is None and self._asked[one.url] < AT_ONCE:
                self._ask(one, one.request)

    def _take_stock(self) -> None:
        shown = self._contexts.certificates.values() if self._contexts is not None else ()
        new: list[Certificate] = []
        kept = {}
        for certificate in shown:
            known = self._of.get(certificate.fingerprint)
            if known is not None:
                kept[certificate.fingerprint] = known
            elif len(new) < NEW:
                new.append(certificate)
        for fingerprint, one in self._of.items():
            if fingerprint not in kept:
                one.give_up()
        self._of = kept
        for certificate in new:
            self._stapled(certificate)

    def _drop(self, one: Stapled, now: float) -> None:
        one.drop()
        if not one.failures:
            one.due = now  # the date was set, or the machine has slept
        log.warn("nothing is stapled to {name} any more: {why}", name=one.name, why=one.trouble)

    def _ask(self, one: Stapled, request: OcspRequest) -> None:
        self._asked[request.url] += 1
        one.asking = asked = self._fetch(request.url, request.der)
        asked.addBoth(self._over, request.url)
        asked.addCallbacks(self._answered, self._unanswered, (one, request), errbackArgs=(one,))
        asked.addErrback(lambda failure: log.failure("OCSP stapling", failure))

    def _over(self, result: bytes | Failure, url: str) -> bytes | Failure:
        self._asked[url] -= 1
        return result

    # -- answers ---------------------------------------------------------------------------------------

    def _unanswered(self, failure: Failure, one: Stapled) -> None:
        if one.asking is None:
            return  # given up by ourselves
        one.asking = None
        why = failure.getErrorMessage()
        if not self._is_silent(one.url):
            log.warn("OCSP responder {url} gives no answer: {why}", url=one.url, why=why)
        one.silent = True
        self._failed(one, "unanswered", f"{one.url}: {why}")

    def _answered(self, der: bytes, one: Stapled, request: OcspRequest) -> None:
        if one.asking is None:
            return
        one.asking = None
        was, one.silent = one.silent, False
        if was and not self._is_silent(one.url):
            log.info("OCSP responder {url} answers again", url=one.url)
        try:
            found = read(der, request, self._wall())
        except InvalidOcspResponse as problem:
            self._refuse(one, "invalid", f"the response {problem}")
            return
        if found.status is Status.UNKNOWN:
            self._refuse(one, "unknown", "the responder does not know this certificate")
        else:
            self._take(one, found)

    def _is_silent(self, url: str) -> bool:
        return any(one.silent and one.url == url for one in self._of.values())

    def _refuse(self, one: Stapled, result: str, why: str) -> None:
        if not one.refused:
            log.warn("no OCSP response for {name} that can be used: {why}", name=one.name, why=why)
        one.refused = True
        self._failed(one, result, why)

    def _failed(self, one: Stapled, result: str, why: str) -> None:
        self._counters.ocsp_responses[result] += 1
        longest = min(FIRST_RETRY * 2 ** min(one.failures, 10), LAST_RETRY)
        one.failures += 1
        one.trouble = why
        one.due = self._clock.seconds() + longest * (1 + self._chance()) / 2

    def _take(self, one: Stapled, found: OcspResponse) -> None:
        self._counters.ocsp_responses[found.status] += 1
        amiss = one.refused or one.lapsed
        before = one.take(found)
        response = one.response or found
        if (response.status is Status.REVOKED) is not (
            before is not None and before.status is Status.REVOKED
        ):
            _tell(one.name, response)
        elif amiss:
            log.info("OCSP response for {name}: in order again", name=one.name)
        half = (response.until - self._wall()) / 2
        one.due = self._clock.seconds() + min(max(half, SOONEST), LATEST) * (1 - JITTER * self._chance())


def _tell(name: str, response: OcspResponse) -> None:
    if response.status is Status.REVOKED:
        log.critical("CERTIFICATE {name} IS REVOKED, replace it: {why}", name=name, why=response.detail)
    else:
        log.info("certificate {name} is not revoked any more", name=name)
