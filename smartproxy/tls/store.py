"""The certificates in force: which one a ClientHello gets, renewal while the proxy runs, the list for the admin API.

::

    store = CertificateStore()                  # lives as long as the proxy
    configured = store.prepare(plan)            # parses what is new; may run in a thread
    store.apply(configured)                     # at start, and when a reload has succeeded
    configured.find(route.tls, hello)           # the certificate for a ClientHello
    store.renew({entry: renewed})               # its files have changed
    store.replace_shared(entries)               # the contents of the certificate directory have changed

:class:`ConfiguredCertificates` belong to one configuration, because a connection that was accepted before a reload
goes on with the configuration that it was accepted under. The store refers to those of the configuration in force;
whoever watches files or fetches OCSP responses works on the store and does not notice a reload.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from smartproxy.model.certificate_status import ShownCertificate
from smartproxy.model.plan import ProxyPlan
from smartproxy.tls.certificate import Certificate
from smartproxy.tls.name_index import NameIndex, first_usable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from smartproxy.model.certificate_status import ShownStaple
    from smartproxy.model.plan import CertificatePlan, TerminationPlan
    from smartproxy.wire.client_hello import ClientHello

#: Certificates as the configuration lists them.
Entries: TypeAlias = "tuple[CertificatePlan, ...]"


class ConfiguredCertificates:
    """The certificates of one configuration, and the choice among them.

    An entry is what the configuration had when it was read. It stays the key of its certificate when that is renewed.

    :param plan: the configuration.
    :param known: parsed certificates; those that the configuration has too are used as they are.
    :ivar by_entry: the certificate shown now, for each entry.
    """

    def __init__(self, plan: ProxyPlan, known: Iterable[Certificate] = ()) -> None:
        self._shared_entries = plan.tls.certificates
        self._own_entries = {route.tls.certificates for route in plan.routes if route.tls is not None} - {()}
        self._default_name = plan.tls.default
        parsed = {certificate.plan: certificate for certificate in known}
        used = {entry for listed in (*self._own_entries, self._shared_entries) for entry in listed}
        self.by_entry = {entry: parsed.get(entry) or Certificate(entry) for entry in used}
        self._index()

    def find(self, plan: TerminationPlan, hello: ClientHello) -> Certificate | None:
        """The certificate for a client that sent ``hello`` to a route with ``plan``, if there is one.

        A route's own certificates are searched before the default; the shared ones only where a route has none.
        """
        own = self._own.get(plan.certificates)
        listed = own or self._shared
        if hello.server_name is not None:
            found = listed.find(hello.server_name, hello)
            if found is not None:
                return found
        elif own is not None:
            return first_usable(own.first, hello) or next(iter(own.first), None)
        return first_usable(self._default, hello) or next(iter(self._default), None)

    def is_default(self, certificate: Certificate) -> bool:
        """Whether it is shown to clients for whose name there is no other (``tls.default``)."""
        return certificate in self._default

    def renew(self, renewed: Mapping[CertificatePlan, CertificatePlan]) -> None:
        """Show other certificates from now on: for each entry given, what there is now."""
        for entry, plan in renewed.items():
            self.by_entry[entry] = Certificate(plan)
        self._index()

    def replace_shared(self, entries: Entries) -> None:
        """Show these from now on to clients of routes without certificates of their own."""
        known = {certificate.plan: certificate for certificate in self.by_entry.values()}
        own = {entry for listed in self._own_entries for entry in listed}
        replaced = {entry: self.by_entry[entry] for entry in own}
        replaced |= {entry: known.get(entry) or Certificate(entry) for entry in entries if entry not in own}
        self.by_entry = replaced
        self._shared_entries = entries
        self._index()

    def _index(self) -> None:
        self._shared = self._name_index(self._shared_entries)
        self._own = {listed: self._name_index(listed) for listed in self._own_entries}
        self._default = self._find_default(self._default_name)

    def _name_index(self, entries: Entries) -> NameIndex:
        return NameIndex(self.by_entry[entry] for entry in entries)

    def _find_default(self, name: str | None) -> tuple[Certificate, ...]:
        if not name:
            return ()
        places = (self._shared, *self._own.values())
        return next((tuple(found) for place in places if (found := place.carrying(name))), ())


class CertificateStore:
    """The certificates in force. It lives as long as the proxy, and is empty until :meth:`apply`.

    :ivar on_change: called without arguments after every change of the certificates in force.
    """

    def __init__(self) -> None:
        self.on_change: list[Callable[[], None]] = []
        self._in_force = ConfiguredCertificates(ProxyPlan(routes=()))

    @property
    def entries(self) -> Collection[CertificatePlan]:
        """The configuration's entries for certificates."""
        return self._in_force.by_entry.keys()

    @property
    def certificates(self) -> Collection[Certificate]:
        """The certificates that are shown to clients now."""
        return self._in_force.by_entry.values()

    def prepare(self, plan: ProxyPlan) -> ConfiguredCertificates:
        """The certificates of ``plan``, not in force yet. May be called in a thread.

        Parsed and self-signed certificates that ``plan`` has in common with the configuration in force are kept.
        """
        # The reactor's thread may renew certificates meanwhile; list() copies them in one step of the interpreter.
        return ConfiguredCertificates(plan, list(self.certificates))

    def apply(self, configured: ConfiguredCertificates) -> None:
        """Put the certificates of a configuration in force."""
        self._in_force = configured
        self._announce_change()

    def renew(self, renewed: Mapping[CertificatePlan, CertificatePlan]) -> None:
        """Show other certificates from now on: for each entry given, what there is now.

        Connections that have begun their handshake go on with the former ones.
        """
        self._in_force.renew(renewed)
        self._announce_change()

    def replace_shared(self, entries: Entries) -> None:
        """Show these from now on to clients of routes without certificates of their own."""
        self._in_force.replace_shared(entries)
        self._announce_change()

    def statuses(self, staple_status: Callable[[Certificate], ShownStaple]) -> list[ShownCertificate]:
        """Every certificate in force for the admin API, the first to expire first.

        :param staple_status: gives the state of a certificate's OCSP response.
        """
        shown = (
            ShownCertificate(
                one.names,
                one.plan.source,
                one.key_type.name,
                one.not_after.timestamp(),
                one.fingerprint,
                self._in_force.is_default(one),
                staple_status(one),
            )
            for one in self.certificates
        )
        return sorted(shown, key=lambda one: (one.expires_at, one.names, one.source))

    def _announce_change(self) -> None:
        for callback in self.on_change:
            callback()
