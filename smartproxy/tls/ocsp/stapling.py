"""OCSP stapling: fetches proof from its authority that a certificate is not revoked, to be sent in handshakes.

::

    staples = Staples(time.time)
    ServerContextCache(staples.source)      # its contexts get the responses to staple from here
    stapling = Stapling(staples, store, clock, counters, OcspFetch(reactor), random.random)
    stapling.configure(plan.tls)            # after the certificates of a configuration have come into force
    stapling.start()

A sweep each second compares the certificates in force with those known: it sends requests for new ones and forgets
removed ones. Responses are kept in memory (:mod:`smartproxy.tls.ocsp.staples`). A response is fetched again after half of
its remaining validity, and after a failure at intervals that double. Handshakes never wait for a request: they staple
what there is.

:mod:`smartproxy.tls.ocsp.stapled` decides what is stapled, and :mod:`smartproxy.tls.ocsp.messages` which responses are
valid.

Changes of state are logged, and repeated failures are not. A responder that does not answer is logged once for all of
its certificates.

Of several processes with the same certificates one sends a request when it is due, and tells the others what has come of
it. They wait for that, and ask only if they are not told.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from smartproxy.errors import InvalidOcspResponse
from smartproxy.model.certificate_status import ShownStaple
from smartproxy.tls.ocsp.messages import Status, read

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IReactorTime
    from twisted.python.failure import Failure

    from smartproxy.metrics.counters import Counters
    from smartproxy.model.plan import TlsPlan
    from smartproxy.tls.certificate import Certificate
    from smartproxy.tls.ocsp.messages import OcspRequest, OcspResponse
    from smartproxy.tls.ocsp.stapled import Stapled
    from smartproxy.tls.ocsp.staples import Staples
    from smartproxy.tls.store import CertificateStore

#: Seconds between two sweeps.
SWEEP_INTERVAL: Final = 1.0
#: New certificates in one sweep. Each takes 0.2 ms, so thousands at once would block the event loop.
MAX_NEW: Final = 50
#: Concurrent requests to one responder.
MAX_CONCURRENT: Final = 4
#: Bounds of the time until a response is fetched again, in seconds.
MIN_REFRESH: Final = 60.0
MAX_REFRESH: Final = 86400.0
#: The share by which that time is shortened at random, so that requests for many certificates spread out.
JITTER: Final = 0.1
#: Seconds after the first failure, and at most after many. The second half of each interval is random.
FIRST_RETRY: Final = 30.0
MAX_RETRY: Final = 3600.0

#: Seconds that a process waits for another one's result before it asks itself: at least, and at most.
WAIT_FOR_OTHERS: Final = (30.0, 60.0)

_NOT_STAPLED: Final = ShownStaple("none", detail="tls.ocspStapling is false")

log = Logger()


class Stapling:
    """Fetches the OCSP responses of the certificates in force.

    :param staples: keeps them.
    :param store: has those certificates.
    :param clock: schedules sweeps, and measures the time between requests.
    :param fetch: sends a request to a responder, as :class:`~smartproxy.tls.ocsp.fetch.OcspFetch`.
    :param chance: returns a random number from 0 to 1.
    :param waits_for_others: whether another process asks first, if it lives.
    :ivar on_answered: called with the fingerprint of a certificate, and a valid response.
    :ivar on_failed: called with the fingerprint, and why there is none.
    """

    def __init__(
        self,
        staples: Staples,
        store: CertificateStore,
        clock: IReactorTime,
        counters: Counters,
        fetch: Callable[[str, bytes], Deferred[bytes]],
        chance: Callable[[], float],
        *,
        waits_for_others: bool = False,
    ) -> None:
        self.on_answered: Callable[[str, bytes], object] = _nobody
        self.on_failed: Callable[[str, str], object] = _nobody
        least, most = WAIT_FOR_OTHERS
        self._wait = least + (most - least) * chance() if waits_for_others else 0.0
        self._staples = staples
        self._store = store
        self._clock = clock
        self._counters = counters
        self._fetch = fetch
        self._chance = chance
        self._wall = staples.wall
        self._enabled = False
        self._requests: Counter[str] = Counter()
        self._sweeping = LoopingCall(self.sweep)
        self._sweeping.clock = clock

    def configure(self, plan: TlsPlan) -> None:
        """Fetch responses from now on, or stop, as ``plan`` says. The store has its certificates already."""
        self._enabled = plan.ocsp_stapling
        if self._sweeping.running:
            self.sweep()

    def start(self) -> None:
        """Begin to send requests."""
        if not self._sweeping.running:
            self._sweeping.start(SWEEP_INTERVAL)

    def stop(self) -> None:
        """Cancel all requests and send no more. Responses that there are may still be stapled."""
        if self._sweeping.running:
            self._sweeping.stop()
        for one in self._staples.states.values():
            one.cancel()

    def status(self, certificate: Certificate) -> ShownStaple:
        """The state of the response for ``certificate``, for the admin API."""
        return self._staples.status(certificate) if self._enabled else _NOT_STAPLED

    # -- requests --------------------------------------------------------------------------------------

    def sweep(self) -> None:
        """Note new and removed certificates, drop expired responses, and send the requests that are due."""
        self._update_states()
        now, wall = self._clock.seconds(), self._wall()
        for fingerprint, one in self._staples.states.items():
            if one.request is None:
                continue
            if one.has_expired(wall):
                self._drop(one, now)
            if one.due is None:
                self._schedule(one)
            if self._is_due(one, now) and self._requests[one.url] < MAX_CONCURRENT:
                self._send(fingerprint, one, one.request)

    def told(self, fingerprint: str, der: bytes) -> None:
        """Another process has got a valid response for the certificate with this fingerprint."""
        one = self._staples.take(fingerprint, der)
        if one is not None:
            one.cancel()
            self._schedule(one)

    def told_failed(self, fingerprint: str, why: str) -> None:
        """Another process has got no response that can be used."""
        one = self._staples.states.get(fingerprint)
        if one is not None and one.pending is None:
            self._try_again_later(one, why)

    def _is_due(self, one: Stapled, now: float) -> bool:
        return one.pending is None and one.due is not None and one.due + self._wait <= now

    def _update_states(self) -> None:
        # Compared on each sweep instead of on changes of the store, which spreads new certificates over sweeps.
        shown = self._store.certificates if self._enabled else ()
        new: list[Certificate] = []
        kept = {}
        for certificate in shown:
            known = self._staples.known(certificate)
            if known is not None:
                kept[certificate.fingerprint] = known
            elif len(new) < MAX_NEW:
                new.append(certificate)
        for fingerprint, one in self._staples.states.items():
            if fingerprint not in kept:
                one.cancel()
        self._staples.states = kept
        for certificate in new:
            self._staples.state(certificate)

    def _drop(self, one: Stapled, now: float) -> None:
        one.drop()
        if not one.failures:
            one.due = now  # no request was due: the clock was set, or the machine was suspended
        log.warn("OCSP response for {name} dropped: {why}", name=one.name, why=one.problem)

    def _send(self, fingerprint: str, one: Stapled, request: OcspRequest) -> None:
        self._requests[request.url] += 1
        one.pending = pending = self._fetch(request.url, request.der)
        pending.addBoth(self._finished, request.url)
        pending.addCallbacks(
            self._answered, self._unanswered, (fingerprint, one, request), errbackArgs=(fingerprint, one)
        )
        pending.addErrback(lambda failure: log.failure("OCSP stapling failed", failure))

    def _finished(self, result: bytes | Failure, url: str) -> bytes | Failure:
        self._requests[url] -= 1
        return result

    # -- responses -------------------------------------------------------------------------------------

    def _unanswered(self, failure: Failure, fingerprint: str, one: Stapled) -> None:
        if one.pending is None:
            return  # cancelled by us
        one.pending = None
        why = failure.getErrorMessage()
        if not self._is_unanswered(one.url):
            log.warn("OCSP responder {url} did not answer: {why}", url=one.url, why=why)
        one.unanswered = True
        self._failed(fingerprint, one, "unanswered", f"{one.url}: {why}")

    def _answered(self, der: bytes, fingerprint: str, one: Stapled, request: OcspRequest) -> None:
        if one.pending is None:
            return
        one.pending = None
        was, one.unanswered = one.unanswered, False
        if was and not self._is_unanswered(one.url):
            log.info("OCSP responder {url} answers again", url=one.url)
        try:
            found = read(der, request, self._wall())
        except InvalidOcspResponse as problem:
            self._reject(fingerprint, one, "invalid", f"the response {problem}")
            return
        if found.status is Status.UNKNOWN:
            self._reject(fingerprint, one, "unknown", "the responder does not know this certificate")
        else:
            self._accept(one, found)
            self.on_answered(fingerprint, der)

    def _is_unanswered(self, url: str) -> bool:
        return any(one.unanswered and one.url == url for one in self._staples.states.values())

    def _reject(self, fingerprint: str, one: Stapled, result: str, why: str) -> None:
        if not one.rejected:
            log.warn("OCSP response for {name} cannot be used: {why}", name=one.name, why=why)
        one.rejected = True
        self._failed(fingerprint, one, result, why)

    def _failed(self, fingerprint: str, one: Stapled, result: str, why: str) -> None:
        self._counters.ocsp_responses[result] += 1
        self._try_again_later(one, why)
        self.on_failed(fingerprint, why)

    def _try_again_later(self, one: Stapled, why: str) -> None:
        # 2 ** 10 exceeds MAX_RETRY already; the bound keeps the power small after years of failures.
        longest = min(FIRST_RETRY * 2 ** min(one.failures, 10), MAX_RETRY)
        one.failures += 1
        one.problem = why
        one.due = self._clock.seconds() + longest * (1 + self._chance()) / 2

    def _accept(self, one: Stapled, found: OcspResponse) -> None:
        self._counters.ocsp_responses[found.status] += 1
        has_failed = one.rejected or one.expired
        before = one.accept(found)
        response = one.response or found
        was_revoked = before is not None and before.status is Status.REVOKED
        if (response.status is Status.REVOKED) is not was_revoked:
            _log_revocation(one.name, response)
        elif has_failed:
            log.info("OCSP response for {name} is valid again", name=one.name)
        self._schedule(one)

    def _schedule(self, one: Stapled) -> None:
        """Decide when the next request is due: where there is a response, later."""
        wait = 0.0
        if one.response is not None:
            # Half of the validity is left for retries, should the responder fail when the refresh is due.
            wait = min(max((one.response.until - self._wall()) / 2, MIN_REFRESH), MAX_REFRESH)
        one.due = self._clock.seconds() + wait * (1 - JITTER * self._chance())


def _nobody(*_: object) -> None:
    """There is no other process."""


def _log_revocation(name: str, response: OcspResponse) -> None:
    if response.status is Status.REVOKED:
        log.critical("CERTIFICATE {name} IS REVOKED, replace it: {why}", name=name, why=response.detail)
    else:
        log.info("certificate {name} is no longer revoked", name=name)
