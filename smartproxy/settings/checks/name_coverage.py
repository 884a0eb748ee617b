"""Warnings about domains of TLS-terminating routes that no certificate covers: all of their clients are refused.

The certificates are chosen by :class:`~smartproxy.tls.store.ConfiguredCertificates`, as for a connection.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from smartproxy.errors import InvalidCertificate
from smartproxy.model.plan import ProxyPlan, RoutePlan
from smartproxy.routing.domains import normalise_pattern, parents
from smartproxy.settings.checks.problems import Problem, got
from smartproxy.settings.checks.tls_files import has_automatic_default
from smartproxy.settings.compile.plans import match_plan
from smartproxy.settings.compile.tls import termination, tls_plan
from smartproxy.settings.tables.tls import AUTO
from smartproxy.tls.store import ConfiguredCertificates
from smartproxy.wire.client_hello import ClientHello
from smartproxy.wire.host import is_address

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smartproxy.model.plan import CertificatePlan, TerminationPlan
    from smartproxy.settings.compile.certificates import TlsFiles
    from smartproxy.settings.tables.root import Configuration
    from smartproxy.settings.tables.route import Route

#: Names of a certificate that a message lists.
_SHOWN = 3
#: A label in place of a leading ``*``.
_ANY_LABEL = "any-label"


def warnings(settings: Configuration, files: TlsFiles) -> Iterator[Problem]:
    """The domains of enabled routes without a certificate. Certificates that cannot be used are problems of their own."""
    if has_automatic_default(settings):
        return  # every client without another certificate gets that one
    with suppress(InvalidCertificate):
        plans = {
            index: RoutePlan(route.name, index, match_plan(route.match), tls=tls)
            for index, route in enumerate(settings.routes)
            if _is_compared(route) and (tls := termination(settings, route, files, 0.0)) is not None
        }
        if plans:
            compared = _Coverage(ProxyPlan(routes=tuple(plans.values()), tls=tls_plan(settings, files)))
            for index, plan in plans.items():
                yield from compared.uncovered(settings.routes[index], plan)


def _is_compared(route: Route) -> bool:
    """Not where an embedder's callable chooses the certificate, or it is ordered for the domains."""
    written = route.action.tls.certificate
    return route.enabled and bool(route.match.domains) and not callable(written) and written != AUTO


class _Coverage:
    """The certificates of a configuration, and the names that they have.

    :param plan: its routes that terminate TLS.
    """

    def __init__(self, plan: ProxyPlan) -> None:
        self._certificates = ConfiguredCertificates(plan)
        self._shared = plan.tls.certificates
        self._parents: dict[tuple[CertificatePlan, ...], set[str]] = {}

    def uncovered(self, route: Route, plan: RoutePlan) -> Iterator[Problem]:
        """The domains of ``route`` whose clients get no certificate."""
        assert plan.tls is not None  # noqa: S101 - only called for such a route
        for number, written in enumerate(route.match.domains):
            if written == "*" or self._is_covered(normalise_pattern(written), plan.tls):
                continue
            yield Problem(
                ("routes", plan.index, "match", "domains", number),
                f"is in no certificate of this route{self._names_shown(plan.tls)}: its clients are refused with "
                f"unrecognized_name {got(written)}",
            )

    def _is_covered(self, pattern: str, tls: TerminationPlan) -> bool:
        """Whether some client that asks for a name of this domain, or connects to this address, gets a certificate."""
        if is_address(pattern):
            return self._certificates.find(tls, ClientHello(), lambda: pattern) is not None
        if not pattern.startswith("*."):
            return self._gets_one(pattern, tls)
        domain = pattern[2:]
        return self._gets_one(f"{_ANY_LABEL}.{domain}", tls) or domain in self._known_parents(tls)

    def _gets_one(self, name: str, tls: TerminationPlan) -> bool:
        return self._certificates.find(tls, ClientHello(server_name=name)) is not None

    def _known_parents(self, tls: TerminationPlan) -> set[str]:
        """Every domain that some name of the certificates is below of."""
        listed = tls.certificates or self._shared
        if listed not in self._parents:
            self._parents[listed] = {parent for name in self._names(tls) for parent in parents(name)}
        return self._parents[listed]

    def _names(self, tls: TerminationPlan) -> Iterator[str]:
        by_entry = self._certificates.selection.by_entry
        for entry in tls.certificates or self._shared:
            yield from by_entry[entry].names

    def _names_shown(self, tls: TerminationPlan) -> str:
        names = list(dict.fromkeys(self._names(tls)))
        more = ", ..." if len(names) > _SHOWN else ""
        return f", which have {', '.join(names[:_SHOWN])}{more}" if names else ""
