"""The OpenSSL context for a connection: a client's, chosen by its hello, or one to a target.

::

    servers = ServerContexts(plan)                          # ServerContexts(plan, servers) after a reload
    context = servers.for_hello(route, hello)               # or a Deferred of it, where an embedder chooses
    ...
    clients = ClientContexts()
    connection = clients.connection(target.tls, host)       # memory BIOs, ready to shake hands
    clients.verify(connection, target.tls, host)            # after the handshake
    clients.keep(connection, target.tls, host)              # after it has been shut down, for the next one

Contexts are made when they are first needed, and are the same as long as nothing that they are made of changes.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import idna
from OpenSSL import SSL
from service_identity import CertificateError, VerificationError
from service_identity.pyopenssl import verify_hostname, verify_ip_address
from twisted.internet.defer import Deferred

from smartproxy.errors import HandshakeFailed, HandshakeRefused
from smartproxy.model.certificate_status import ShownCertificate, ShownStaple
from smartproxy.tls import context_factory as making
from smartproxy.tls.certificate import Certificate
from smartproxy.tls.name_index import ByName, fitting
from smartproxy.wire.host import is_address
from smartproxy.wire.tls_alert import Alert

if TYPE_CHECKING:
    from smartproxy.model.plan import (
        CertificatePlan,
        OriginationPlan,
        ProxyPlan,
        RoutePlan,
        TerminationPlan,
    )
    from smartproxy.tls.ocsp.stapling import Stapling
    from smartproxy.wire.client_hello import ClientHello

#: Contexts of certificates that an embedder gave, and sessions with targets: the least recently used goes.
_KEPT: Final = 1024
_NOT_STAPLED: Final = ShownStaple("none", detail="tls.ocspStapling is false")

_Listed: TypeAlias = "tuple[CertificatePlan, ...]"
_Key: TypeAlias = "tuple[TerminationPlan, CertificatePlan]"


class ServerContexts:
    """Contexts for the clients of one configuration.

    :param plan: the configuration.
    :param former: those of the one before. What has not changed is taken over, with its sessions.
    :param stapling: knows OCSP responses; where the configuration wants none it is not asked.
    :ivar certificates: what is shown, by what the configuration had when it was read.
    """

    def __init__(
        self, plan: ProxyPlan, former: ServerContexts | None = None, stapling: Stapling | None = None
    ) -> None:
        self._stapling = stapling if plan.tls.ocsp_stapling else None
        self._store_of = plan.tls.certificates
        self._own_of = {route.tls.certificates for route in plan.routes if route.tls is not None} - {()}
        self._default_name = plan.tls.default
        known = {} if former is None else {one.plan: one for one in former.certificates.values()}
        used = {one for listed in (*self._own_of, self._store_of) for one in listed}
        self.certificates: dict[CertificatePlan, Certificate] = {
            one: known.get(one) or Certificate(one) for one in used
        }
        self._contexts: dict[_Key, SSL.Context] = {}
        # A context is frozen: one that staples nothing never will.
        if former is not None and former._stapling is self._stapling:  # noqa: SLF001 - our own class
            self._contexts.update(former._contexts)  # noqa: SLF001 - our own class
        self._chosen: OrderedDict[_Key, SSL.Context] = OrderedDict()
        self._arrange()

    def for_hello(self, route: RoutePlan, hello: ClientHello) -> SSL.Context | Deferred[SSL.Context]:
        """The context for a client of ``route`` that said ``hello``.

        A Deferred only where the route has an embedder's ``certificate_for``, and failed as that failed.

        :raises HandshakeRefused: where there is no certificate for the name that it asks for.
        """
        plan = route.tls
        if plan is None:
            raise ValueError("the TLS of this route does not end here")
        if plan.certificate_for is not None:
            return Deferred.fromCoroutine(self._chosen_outside(plan, hello.server_name))
        certificate = self.certificate_for(plan, hello)
        if certificate is None:
            asked = "a client that asks for no name" if hello.server_name is None else hello.server_name
            raise HandshakeRefused(f"no certificate for {asked}", Alert.UNRECOGNIZED_NAME)
        return self._context(plan, certificate)

    def certificate_for(self, plan: TerminationPlan, hello: ClientHello) -> Certificate | None:
        """The certificate that such a client is shown, if there is one for it."""
        own = self._own.get(plan.certificates)
        listed = own or self._store
        if hello.server_name is not None:
            found = listed.find(hello.server_name, hello)
            if found is not None:
                return found
        elif own is not None:
            return fitting(own.first, hello) or next(iter(own.first), None)
        return fitting(self._default, hello) or next(iter(self._default), None)

    def shown(self) -> list[ShownCertificate]:
        """All of them, those first that expire first."""
        told = (
            ShownCertificate(
                one.names,
                one.plan.source,
                one.kind.name,
                one.not_after.timestamp(),
                one.fingerprint,
                one in self._default,
                _NOT_STAPLED if self._stapling is None else self._stapling.shown(one),
            )
            for one in self.certificates.values()
        )
        return sorted(told, key=lambda one: (one.expires_at, one.names, one.source))

    def renew(self, changed: dict[CertificatePlan, CertificatePlan]) -> None:
        """Show other certificates from now on: by what the configuration had, what there is now.

        Connections that have begun go on with the old ones.
        """
        for configured, plan in changed.items():
            self.certificates[configured] = Certificate(plan)
        self._arrange()

    def restock(self, store: _Listed) -> None:
        """Show these from now on where a route has none of its own: what stands in the directory now."""
        known = {one.plan: one for one in self.certificates.values()}
        kept = {plan for listed in self._own_of for plan in listed}
        self.certificates = {plan: self.certificates[plan] for plan in kept}
        self.certificates |= {
            plan: known.get(plan) or Certificate(plan) for plan in store if plan not in kept
        }
        self._store_of = store
        self._arrange()

    def _arrange(self) -> None:
        """Index what there is, and forget the contexts of what there is no more."""
        self._store = self._by_name(self._store_of)
        self._own = {listed: self._by_name(listed) for listed in self._own_of}
        self._default = self._defaults(self._default_name)
        self._at_hand: dict[tuple[int, int], tuple[TerminationPlan, Certificate, SSL.Context]] = {}
        shown = {one.plan for one in self.certificates.values()}
        self._contexts = {key: context for key, context in self._contexts.items() if key[1] in shown}

    def _by_name(self, listed: _Listed) -> ByName:
        return ByName(self.certificates[plan] for plan in listed)

    def _defaults(self, name: str | None) -> tuple[Certificate, ...]:
        places = (self._store, *self._own.values()) if name else ()
        return next((tuple(found) for place in places if (found := place.carrying(name or ""))), ())

    def _context(self, plan: TerminationPlan, certificate: Certificate) -> SSL.Context:
        # By identity first: to compare what they are made of takes longer than all the rest of the choice.
        found = self._at_hand.get((id(plan), id(certificate)))
        if found is not None and found[0] is plan and found[1] is certificate:
            return found[2]
        key = _key(plan, certificate.plan)
        context = self._contexts.get(key)
        if context is None:
            staple = None if self._stapling is None else self._stapling.source(certificate)
            context = self._contexts[key] = making.server_context(plan, certificate, staple)
        self._at_hand[id(plan), id(certificate)] = plan, certificate, context
        return context

    async def _chosen_outside(self, plan: TerminationPlan, name: str | None) -> SSL.Context:
        choose: Any = plan.certificate_for
        given = choose(name)
        if isawaitable(given):
            given = await given
        if given is None:
            raise HandshakeRefused("no certificate was chosen", Alert.UNRECOGNIZED_NAME)
        key = _key(plan, given)
        context = self._chosen.get(key) or making.server_context(plan, Certificate(given))
        _remember(self._chosen, key, context)
        return context


class ClientContexts:
    """Contexts and sessions for connections to targets. One lives as long as the proxy."""

    def __init__(self) -> None:
        self._contexts: dict[OriginationPlan, SSL.Context] = {}
        self._sessions: OrderedDict[tuple[SSL.Context, str], SSL.Session] = OrderedDict()

    def connection(self, tls: OriginationPlan, host: str) -> SSL.Connection:
        """A connection to ``host``, over memory BIOs, that takes up a former session where there is one.

        :raises OpenSSL.SSL.Error: where there is no system store, or it cannot be read.
        """
        context, name = self._context(tls), tls.server_name or host
        connection = SSL.Connection(context, None)
        connection.set_connect_state()
        if not is_address(name):  # RFC 6066, 3 has no addresses
            connection.set_tlsext_host_name(_wire_name(name))
        session = self._sessions.get((context, name))
        if session is not None:
            connection.set_session(session)
        return connection

    def verify(self, connection: SSL.Connection, tls: OriginationPlan, host: str) -> None:
        """Whether the target is who it should be; that somebody vouches for it, the handshake has shown.

        :raises HandshakeFailed: where it is not.
        """
        if not tls.verify:
            return
        name = tls.server_name or host
        try:
            if is_address(name):
                verify_ip_address(connection, name)
            else:
                verify_hostname(connection, _wire_name(name).decode())
        except (VerificationError, CertificateError):
            raise HandshakeFailed(f"certificate of the target: is not for {name}") from None

    def keep(self, connection: SSL.Connection, tls: OriginationPlan, host: str) -> None:
        """Keep the session of a connection that was verified and is at its end, for the next one to ``host``."""
        # OpenSSL gives up the session of a connection that was freed without an end.
        connection.set_shutdown(connection.get_shutdown() | SSL.SENT_SHUTDOWN)
        session = connection.get_session()
        if session is not None:
            _remember(self._sessions, (connection.get_context(), tls.server_name or host), session)

    def _context(self, tls: OriginationPlan) -> SSL.Context:
        key = replace(tls, server_name=None)
        context = self._contexts.get(key)
        if context is None:
            own = None if tls.certificate is None else Certificate(tls.certificate)
            context = self._contexts[key] = making.client_context(tls, own)
        return context


def _key(plan: TerminationPlan, certificate: CertificatePlan) -> _Key:
    """Options without their certificates: routes that differ in nothing else share contexts and tickets."""
    return plan.terms, certificate


def _remember(kept: OrderedDict[Any, Any], key: Any, value: Any) -> None:
    kept[key] = value
    kept.move_to_end(key)
    if len(kept) > _KEPT:
        kept.popitem(last=False)


def _wire_name(name: str) -> bytes:
    """A name as it stands in SNI: A-labels, without a final dot (RFC 6066, 3)."""
    plain = name.removesuffix(".")
    return plain.encode("ascii") if plain.isascii() else idna.encode(plain, uts46=True)
