"""The certificates in force: which one a ClientHello gets, renewal while the proxy runs, the list for the admin API.

::

    store = CertificateStore()                  # lives as long as the proxy
    configured = store.prepare(plan)            # parses what is new; may run in a thread
    store.apply(configured)                     # at start, and when a reload has succeeded
    configured.find(route.tls, hello)           # the certificate for a ClientHello
    selection = store.changed({entry: renewed}, shared)     # files have changed; may run in a thread
    store.show(selection)

:class:`ConfiguredCertificates` belong to one configuration, because a connection that was accepted before a reload
goes on with the configuration that it was accepted under. The store refers to those of the configuration in force;
whoever watches files or fetches OCSP responses works on the store and does not notice a reload.

What takes time with thousands of certificates, parsing and indexing, is done in :class:`Selection`, which is complete
once it is made. To put one in force is to exchange a reference.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from smartproxy.flow.pace import Pace
from smartproxy.model.certificate_status import ShownCertificate
from smartproxy.model.plan import ProxyPlan
from smartproxy.model.timestamps import keep_earliest
from smartproxy.tls.certificate import Certificate
from smartproxy.tls.directory import former_of_left_out
from smartproxy.tls.name_index import NameIndex, best_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

    from smartproxy.model.certificate_status import ShownAcme, ShownStaple
    from smartproxy.model.plan import AcmePlan, CertificatePlan, TerminationPlan
    from smartproxy.wire.client_hello import ClientHello

#: Certificates as the configuration lists them.
Entries: TypeAlias = "tuple[CertificatePlan, ...]"
#: Gives the certificate that was issued for an automatic entry; ``None`` where there is none.
IssuedSource: TypeAlias = "Callable[[CertificatePlan], Certificate | None]"


class Selection:
    """The certificates of a configuration as they are at one time, indexed. It is never changed.

    :param shared: the entries that routes without certificates of their own use.
    :param own: the entries of each route that has some.
    :param default: the name whose certificate is shown where none fits.
    :param by_entry: the certificate for every entry; an automatic one may have none yet.
    :ivar by_entry: likewise.
    :ivar shared: as given.
    :ivar plans: the plans of all certificates.
    :ivar expiry: the first expiry for each name, in seconds since the epoch: several certificates may have the same.
    """

    def __init__(
        self,
        shared: Entries,
        own: Collection[Entries],
        default: str | None,
        by_entry: Mapping[CertificatePlan, Certificate],
    ) -> None:
        pace = Pace()
        self.by_entry = by_entry
        self.shared = shared
        self._shared_index = self._index(shared, pace)
        self._own_indexes = {listed: self._index(listed, pace) for listed in own}
        self._no_index = self._index((), pace)
        self._default = self._find_default(default)
        self.expiry: dict[str, float] = {}
        plans = set()
        for certificate in pace.over(by_entry.values()):
            plans.add(certificate.plan)
            keep_earliest(self.expiry, certificate.name, certificate.not_after.timestamp())
        self.plans = frozenset(plans)

    def find(self, plan: TerminationPlan, hello: ClientHello, local: Callable[[], str]) -> Certificate | None:
        """The certificate for a client that sent ``hello`` to a route with ``plan``, if there is one.

        A route's own certificates are searched before the default; the shared ones only where a route has none, and none is
        ordered for it on demand.

        :param local: gives the address that the client connected to, or nothing.
        """
        found = self.find_for_route(plan, hello, local)
        return found or best_of(self._default, hello)

    def find_for_route(
        self, plan: TerminationPlan, hello: ClientHello, local: Callable[[], str]
    ) -> Certificate | None:
        """As :meth:`find`, without the default.

        A client that connects to an address, and not to a name, sends no name (RFC 6066, 3): it gets the certificate
        for that address, if there is one.
        """
        own = self._own_indexes.get(plan.certificates)
        listed = own or (self._no_index if plan.on_demand else self._shared_index)
        if hello.server_name is not None:
            return listed.find(hello.server_name, hello)
        carrying = listed.carrying(local()) or (own.first if own is not None else ())
        return best_of(carrying, hello)

    def candidates(self, plan: TerminationPlan) -> Iterator[Certificate]:
        """Every certificate that :meth:`find` may give a client of a route with ``plan``."""
        listed = plan.certificates or (() if plan.on_demand else self.shared)
        yield from (self.by_entry[entry] for entry in listed if entry in self.by_entry)
        yield from self._default

    def is_default(self, certificate: Certificate) -> bool:
        """Whether it is shown to clients for whose name there is no other (``tls.default``)."""
        return certificate in self._default

    def _index(self, entries: Entries, pace: Pace) -> NameIndex:
        return NameIndex((self.by_entry[entry] for entry in entries if entry in self.by_entry), pace)

    def _find_default(self, name: str | None) -> tuple[Certificate, ...]:
        if not name:
            return ()
        indexes = (self._shared_index, *self._own_indexes.values())
        return next((tuple(found) for index in indexes if (found := index.carrying(name))), ())


class ConfiguredCertificates:
    """The certificates of one configuration, and the choice among them.

    An entry is what the configuration had when it was read. It stays the key of its certificate when that is renewed.

    :param plan: the configuration.
    :param known: parsed certificates; those that the configuration has too are used as they are.
    :param kept: entries that are shared beside those of the configuration.
    :ivar selection: the certificates that are shown now.
    """

    def __init__(
        self,
        plan: ProxyPlan,
        known: Iterable[Certificate] = (),
        kept: Entries = (),
        issued: IssuedSource | None = None,
    ) -> None:
        self._own = {route.tls.certificates for route in plan.routes if route.tls is not None} - {()}
        self._default_name = plan.tls.default
        automatic = [entry for entry in self.own_entries if entry.automatic] if issued is not None else []
        found = {entry: one for entry in automatic if (one := issued(entry)) is not None} if issued else {}
        self.selection = self._select((*plan.tls.certificates, *kept), found, known)

    @property
    def own_entries(self) -> set[CertificatePlan]:
        """The entries of routes."""
        return {entry for listed in self._own for entry in listed}

    @property
    def certificates(self) -> Collection[Certificate]:
        """The certificates that are shown now."""
        return self.selection.by_entry.values()

    def find(
        self, plan: TerminationPlan, hello: ClientHello, local: Callable[[], str] = str
    ) -> Certificate | None:
        """As :meth:`Selection.find`, among the certificates that are shown now; by default without a local address."""
        return self.selection.find(plan, hello, local)

    def find_for_route(
        self, plan: TerminationPlan, hello: ClientHello, local: Callable[[], str] = str
    ) -> Certificate | None:
        """As :meth:`Selection.find_for_route`, likewise."""
        return self.selection.find_for_route(plan, hello, local)

    def changed(
        self, renewed: Mapping[CertificatePlan, CertificatePlan], shared: Entries | None = None
    ) -> Selection:
        """The present selection with changes; not shown yet.

        :param renewed: for entries of routes, what there is now.
        :param shared: the shared entries, if they have changed.
        """
        present = self.selection
        replaced = {entry: one for entry in self.own_entries if (one := present.by_entry.get(entry))}
        replaced |= {entry: Certificate(plan) for entry, plan in renewed.items()}
        return self._select(present.shared if shared is None else shared, replaced, present.by_entry.values())

    def _select(
        self,
        shared: Entries,
        of_routes: Mapping[CertificatePlan, Certificate],
        known: Iterable[Certificate],
    ) -> Selection:
        """Select ``shared`` and the entries of routes, with the certificates that are given for some of those."""
        pace = Pace()
        parsed = {certificate.plan: certificate for certificate in pace.over(known)}
        by_entry = dict(of_routes)
        for listed in (*self._own, shared):
            for entry in pace.over(listed):
                if entry not in by_entry and not _is_to_be_issued(entry):
                    by_entry[entry] = parsed.get(entry) or Certificate(entry)
        return Selection(shared, self._own, self._default_name, by_entry)


class CertificateStore:
    """The certificates in force. It lives as long as the proxy, and is empty until :meth:`apply`.

    :ivar on_change: called without arguments after every change of the certificates in force.
    :ivar issued: gives the certificates of automatic entries of a configuration that is being prepared.
    """

    def __init__(self) -> None:
        self.on_change: list[Callable[[], None]] = []
        self.issued: Callable[[AcmePlan, CertificatePlan], Certificate | None] | None = None
        self._in_force = ConfiguredCertificates(ProxyPlan(routes=()))

    @property
    def selection(self) -> Selection:
        """What is shown to clients now: another one after each change."""
        return self._in_force.selection

    @property
    def own_entries(self) -> set[CertificatePlan]:
        """The configuration's entries for certificates of routes."""
        return self._in_force.own_entries

    @property
    def shared(self) -> Entries:
        """The entries for certificates of the directory that are in use."""
        return self._in_force.selection.shared

    @property
    def certificates(self) -> Collection[Certificate]:
        """The certificates that are shown to clients now."""
        return self._in_force.certificates

    def shown_for(self, entry: CertificatePlan) -> Certificate | None:
        """The certificate that is shown for an entry of the configuration, if there is one."""
        return self._in_force.selection.by_entry.get(entry)

    @property
    def expiry(self) -> dict[str, float]:
        """The first expiry of a certificate for each name, in seconds since the epoch."""
        return self._in_force.selection.expiry

    def prepare(self, plan: ProxyPlan) -> ConfiguredCertificates:
        """The certificates of ``plan``, not in force yet. May be called in a thread.

        Parsed and self-signed certificates that ``plan`` has in common with the configuration in force are kept. So is
        a valid one whose file in the directory cannot be used now, for instance because it is just being written.
        """
        present = self._in_force.selection
        issued = None if self.issued is None or plan.acme is None else partial(self.issued, plan.acme)
        return ConfiguredCertificates(plan, present.by_entry.values(), _kept(plan, present), issued)

    def apply(self, configured: ConfiguredCertificates) -> None:
        """Put the certificates of a configuration in force, if they are not already."""
        if configured is not self._in_force:
            self._in_force = configured
            self._announce_change()

    def changed(
        self, renewed: Mapping[CertificatePlan, CertificatePlan], shared: Entries | None = None
    ) -> Selection:
        """The certificates in force with changes, not shown yet. May be called in a thread.

        :param renewed: for entries of routes, what there is now.
        :param shared: the entries of the directory, if they have changed.
        """
        return self._in_force.changed(renewed, shared)

    def show(self, selection: Selection) -> None:
        """Show these certificates of the configuration in force from now on.

        Connections that have begun their handshake go on with the former ones.
        """
        self._in_force.selection = selection
        self._announce_change()

    def statuses(
        self,
        staple_status: Callable[[Certificate], ShownStaple],
        acme_status: Callable[[CertificatePlan], ShownAcme | None] = lambda _: None,
    ) -> list[ShownCertificate]:
        """Every certificate in force for the admin API, the first to expire first; before them those that are not there yet.

        :param staple_status: gives the state of a certificate's OCSP response.
        :param acme_status: gives what ACME does for an automatic entry.
        """
        selection = self._in_force.selection
        shown = [
            status_of(one, staple_status(one), acme_status(entry), default=selection.is_default(one))
            for entry, one in selection.by_entry.items()
        ]
        shown += [
            ShownCertificate(entry.names, entry.source, "", None, "", default=False, acme=acme_status(entry))
            for entry in self.own_entries - selection.by_entry.keys()
        ]
        return sorted(shown, key=lambda one: (one.expires_at or 0.0, one.names, one.source))

    def _announce_change(self) -> None:
        for callback in self.on_change:
            callback()


def _is_to_be_issued(entry: CertificatePlan) -> bool:
    """Whether an entry has no certificate, and gets none in place of it until it is issued."""
    return entry.automatic and not (entry.self_signed or entry.chain)


def status_of(
    certificate: Certificate, staple: ShownStaple, acme: ShownAcme | None = None, *, default: bool = False
) -> ShownCertificate:
    """A certificate for the admin API."""
    return ShownCertificate(
        certificate.names,
        "selfSigned" if certificate.plan.self_signed else certificate.plan.source,
        certificate.key_type.name,
        certificate.not_after.timestamp(),
        certificate.fingerprint,
        default,
        staple,
        acme,
    )


def _kept(plan: ProxyPlan, present: Selection) -> Entries:
    """The entries in force whose files in the directory of ``plan`` cannot be used now, as far as they are still valid."""
    if plan.tls.directory is None:
        return ()
    now = time.time()
    former = former_of_left_out(present.shared, plan.tls.directory)
    return tuple(entry for entry in former if present.by_entry[entry].not_after.timestamp() > now)
