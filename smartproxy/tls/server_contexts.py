"""The OpenSSL context for a client, chosen by its ClientHello.

::

    cache = ServerContextCache(staples.source)              # lives as long as the proxy
    contexts = ServerContexts(plan, configured, cache)      # for one configuration
    context = contexts.for_hello(route, hello)              # or a Deferred of it, where an embedder chooses

A context is made when it is first needed, from a route's TLS options and a certificate. It is the same as long as
neither changes, across reloads too: the keys of session tickets belong to the context, so with another one every
client would need a full handshake.

A resumed handshake verifies no certificate, and with TLS 1.3 each resumption extends the session. So a context that verifies
the certificates of clients is replaced after a time, which makes them show those again: they may have expired, and so may the
revocation list (RFC 8446, 4.6.1).
"""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from twisted.internet.defer import CancelledError, Deferred

from smartproxy.errors import HandshakeRefused, Refused
from smartproxy.flow.callables import answer_of, description_of
from smartproxy.flow.coroutines import unfailed
from smartproxy.model.plan import CertificatePlan
from smartproxy.tls.certificate import Certificate
from smartproxy.tls.challenge import ACME_TLS
from smartproxy.tls.context_factory import server_context
from smartproxy.wire.tls_alert import Alert

if TYPE_CHECKING:
    from collections.abc import Callable, Container

    from OpenSSL import SSL
    from twisted.python.failure import Failure

    from smartproxy.model.plan import ProxyPlan, RoutePlan, TerminationPlan
    from smartproxy.tls.store import ConfiguredCertificates
    from smartproxy.wire.client_hello import ClientHello

#: Contexts kept for certificates that an embedder's callable has chosen; the least recently used is evicted.
_MAX_CHOSEN: Final = 1024
#: Seconds for which a context is used that verifies clients: each client makes a full handshake once in this time. To make
#: one takes 50 ms where a revocation list has 50,000 entries.
VERIFIED_FOR: Final = 3600.0

#: Gives what to call for a certificate's OCSP response; None where there will never be one.
StapleSource: TypeAlias = "Callable[[Certificate], Callable[[], bytes] | None]"


#: Gives the certificate for a name, after it was ordered where there was none: at once, or later. It fails with
#: :class:`HandshakeRefused` where it is not approved, or cannot be had. With true, the name is approved already.
OrderOnDemand: TypeAlias = "Callable[[str, bool], CertificatePlan | Deferred[CertificatePlan]]"

#: What an embedder's callable returns for a name whose certificate is to be ordered by ACME.
AUTO: Final = "auto"


class _ContextKey(NamedTuple):
    """What a context is made of. Routes that differ in nothing else share contexts and session tickets.

    :ivar terms: a route's TLS options without its certificates.
    :ivar is_stapled: whether it has an OCSP callback: a context is frozen and cannot get one later.
    """

    terms: TerminationPlan
    certificate: CertificatePlan
    is_stapled: bool


class CachedContext(NamedTuple):
    """A context in the cache.

    :ivar until: when it is replaced, in monotonic seconds; ``None`` for never.
    """

    context: SSL.Context
    until: float | None


class ServerContextCache:
    """Contexts by what they are made of. It lives as long as the proxy.

    A connection accepted before a reload may still ask for a context that :meth:`retain` has dropped: it is made
    again, and dropped by the next change.

    :param staple_source: where OCSP responses come from; without it none is stapled.
    :param seconds: monotonic.
    :ivar on_demand: orders certificates for names; ``None`` where that is not configured.
    """

    def __init__(
        self, staple_source: StapleSource | None = None, seconds: Callable[[], float] = time.monotonic
    ) -> None:
        self.on_demand: OrderOnDemand | None = None
        self._staple_source = staple_source
        self._seconds = seconds
        self._contexts: dict[_ContextKey, CachedContext] = {}
        self._chosen: OrderedDict[_ContextKey, CachedContext] = OrderedDict()

    def is_current(self, cached: CachedContext) -> bool:
        """Whether a context may be used for another connection."""
        return cached.until is None or self._seconds() < cached.until

    def get(self, plan: TerminationPlan, certificate: Certificate, *, stapled: bool) -> CachedContext:
        """The context for a route's options and a configured certificate."""
        key = _ContextKey(plan.terms, certificate.plan, stapled)
        cached = self._contexts.get(key)
        if cached is None or not self.is_current(cached):
            staple = self._staple_source(certificate) if stapled and self._staple_source is not None else None
            cached = self._contexts[key] = self._made(plan, certificate, staple)
        return cached

    def get_chosen(self, plan: TerminationPlan, certificate: CertificatePlan) -> SSL.Context:
        """The context for a route's options and a certificate that an embedder's callable has chosen."""
        key = _ContextKey(plan.terms, certificate, is_stapled=False)
        cached = self._chosen.get(key)
        if cached is None or not self.is_current(cached):
            cached = self._chosen[key] = self._made(plan, Certificate(certificate))
            if len(self._chosen) > _MAX_CHOSEN:
                self._chosen.popitem(last=False)
        self._chosen.move_to_end(key)
        return cached.context

    def _made(
        self, plan: TerminationPlan, certificate: Certificate, staple: Callable[[], bytes] | None = None
    ) -> CachedContext:
        context = server_context(plan, certificate, staple)
        is_verifying = plan.client_auth is not None and bool(plan.client_auth.ca)
        return CachedContext(context, self._seconds() + VERIFIED_FOR if is_verifying else None)

    def retain(
        self, terms: Container[TerminationPlan], certificates: Container[CertificatePlan], *, stapled: bool
    ) -> None:
        """Drop every context that is not for these options and certificates. Its connections keep it alive."""
        self._contexts = {
            key: cached
            for key, cached in self._contexts.items()
            if key.terms in terms and key.certificate in certificates and key.is_stapled is stapled
        }
        for key in [key for key in self._chosen if key.terms not in terms]:
            del self._chosen[key]


class ServerContexts:
    """Contexts for the clients of one configuration.

    :param plan: the configuration.
    :param certificates: its certificates.
    :param cache: holds contexts of every configuration.
    :ivar certificates: as given.
    """

    def __init__(
        self, plan: ProxyPlan, certificates: ConfiguredCertificates, cache: ServerContextCache
    ) -> None:
        self.certificates = certificates
        self._cache = cache
        self._terminations = [route.tls for route in plan.routes if route.tls is not None]
        self._terms = {plan.terms for plan in self._terminations}
        self._stapled = plan.tls.ocsp_stapling
        self._recent: dict[tuple[int, int], tuple[TerminationPlan, Certificate, CachedContext]] = {}

    def for_hello(
        self, route: RoutePlan, hello: ClientHello, local: Callable[[], str] = str
    ) -> SSL.Context | Deferred[SSL.Context]:
        """The context for a client of ``route`` that sent ``hello``.

        A Deferred only where the route has an embedder's ``certificate_for``, or a certificate has to be ordered first; it
        fails as that failed. Cancelling it ends it at once, whatever the callable does.

        :param local: gives the address that the client connected to, or nothing.
        :raises HandshakeRefused: if there is no certificate for the name in ``hello``.
        """
        plan = route.tls
        if plan is None:
            raise ValueError("this route does not terminate TLS")
        name = hello.server_name
        if hello.alpn == ACME_TLS and not set(ACME_TLS) <= set(plan.alpn):
            # An authority that validates a name: its challenge would have been answered before a route was chosen.
            raise HandshakeRefused(
                f"acme-tls/1 for {name}: no challenge is pending", Alert.NO_APPLICATION_PROTOCOL
            )
        if plan.certificate_for is not None:
            return Deferred.fromCoroutine(self._for_chosen(route.name, plan, name)).addErrback(
                _without_frames
            )
        if plan.on_demand and name is not None and not _is_ordered(plan, name):
            certificate = self.certificates.find_for_route(plan, hello, local)
            if certificate is None:
                return self._on_demand(plan, name)
        else:
            certificate = self.certificates.find(plan, hello, local)
        if certificate is None:
            raise HandshakeRefused(self._missing(plan, name), Alert.UNRECOGNIZED_NAME)
        return self._context(plan, certificate)

    def _on_demand(self, plan: TerminationPlan, name: str) -> SSL.Context | Deferred[SSL.Context]:
        """The context for a name whose certificate is ordered when a client asks for it."""
        if self._cache.on_demand is None:
            raise HandshakeRefused(f"no certificate for {name}", Alert.UNRECOGNIZED_NAME)
        certificate = self._cache.on_demand(name, False)
        if not isinstance(certificate, Deferred):
            return self._cache.get_chosen(plan, certificate)
        return certificate.addCallback(lambda issued: self._cache.get_chosen(plan, issued))

    def _missing(self, plan: TerminationPlan, name: str | None) -> str:
        """Why there is no certificate for a client that asks for ``name``."""
        if name is None:
            return "no certificate for a client that asks for no name"
        if _is_ordered(plan, name) or _is_ordered(plan, "*." + name.partition(".")[2]):
            return f"no certificate for {name} yet: it is being ordered (ACME)"
        return f"no certificate for {name}"

    def _context(self, plan: TerminationPlan, certificate: Certificate) -> SSL.Context:
        # By identity first: hashing and comparing options and PEM takes longer than all the rest of the choice.
        # The entry holds both objects, so that their ids cannot be reused while it exists.
        found = self._recent.get((id(plan), id(certificate)))
        if found is not None and self._cache.is_current(found[2]):
            return found[2].context
        cached = self._cache.get(plan, certificate, stapled=self._stapled)
        self._recent[id(plan), id(certificate)] = plan, certificate, cached
        return cached.context

    def make_all(self) -> None:
        """Make the context of every certificate that a client of any route may be shown, instead of when one asks for it.

        Certificates that a callable chooses, or that are ordered on demand, are not known yet.
        """
        # Thousands of routes may share thousands of certificates, and the options that make a context.
        alike = {(plan.terms, plan.certificates, bool(plan.on_demand)): plan for plan in self._terminations}
        for plan in alike.values():
            for certificate in self.certificates.selection.candidates(plan):
                self._cache.get(plan, certificate, stapled=self._stapled)

    def drop_unused(self) -> None:
        """Drop what is not for this configuration and its present certificates: after either has changed."""
        self._recent.clear()
        self._cache.retain(self._terms, self.certificates.selection.plans, stapled=self._stapled)

    async def _for_chosen(self, route: str, plan: TerminationPlan, name: str | None) -> SSL.Context:
        assert plan.certificate_for is not None  # noqa: S101 - only called for such a route
        described = description_of("certificate", plan.certificate_for, route)
        chosen = answer_of(described, plan.certificate_for(name))
        if isinstance(chosen, Deferred):
            chosen = await unfailed(chosen)
        if chosen == AUTO:
            chosen = await self._ordered(name)
        if chosen is None:
            raise HandshakeRefused("no certificate was chosen", Alert.UNRECOGNIZED_NAME)
        if not isinstance(chosen, CertificatePlan):
            raise TypeError(f'{described} returned {chosen!a:.80}: it must be a certificate, "auto" or None')
        return self._cache.get_chosen(plan, chosen)

    async def _ordered(self, name: str | None) -> CertificatePlan | None:
        """The certificate for a name that an embedder's callable wants to have ordered.

        :raises ValueError: if ACME is not configured.
        """
        if self._cache.on_demand is None:
            raise ValueError(
                'a certificate callable returned "auto", and there is no acme in the configuration'
            )
        if name is None:
            return None
        certificate = self._cache.on_demand(name, True)
        if isinstance(certificate, Deferred):
            certificate = await unfailed(certificate)
        return certificate


def _without_frames(why: Failure) -> Failure:
    """Drop the frames of a cancel or a refusal: they refer to the failure, and to all of the connection. No log shows them."""
    if why.check(CancelledError, Refused):
        why.cleanFailure()
    return why


def _is_ordered(plan: TerminationPlan, name: str) -> bool:
    """Whether ``name`` is one of those of an automatic certificate, which is ordered whether clients ask for it or not."""
    return any(entry.automatic and name in entry.names for entry in plan.certificates)
