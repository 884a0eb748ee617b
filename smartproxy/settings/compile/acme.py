"""Compiles automatic certificates: how they are ordered, and which a route has."""

from __future__ import annotations

from base64 import urlsafe_b64decode
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from smartproxy.model.plan import (
    AcmePlan,
    CertificatePlan,
    ChallengeType,
    ExternalAccount,
    OnDemandPlan,
)
from smartproxy.routing.domains import normalise_pattern
from smartproxy.settings.tables import units
from smartproxy.settings.tables.acme import DIRECTORIES, is_url
from smartproxy.settings.tables.tls import AUTO

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smartproxy.model.plan import DnsChange
    from smartproxy.settings.compile.references import References
    from smartproxy.settings.tables.acme import Acme, AcmeDns, OnDemand
    from smartproxy.settings.tables.root import Configuration
    from smartproxy.settings.tables.route import Match, Route

#: Names the certificates that are ordered, in place of their file.
SOURCE = "acme"
#: What a callable that changes the DNS is called with, and one that approves a name.
DNS_ARGUMENTS = ("present or cleanup", "NAME", "VALUE")
ASK_ARGUMENTS = ("NAME",)


class AutomaticNames(NamedTuple):
    """The domains of a route with an automatic certificate, normalised, in the order of the file.

    :ivar ordered: those that one certificate is ordered for.
    :ivar on_demand: patterns of the names that are ordered when a client asks for them.
    """

    ordered: tuple[str, ...]
    on_demand: tuple[str, ...] = ()


def is_automatic(route: Route) -> bool:
    """Whether the certificate of ``route`` is ordered."""
    return route.action.tls.mode != "passthrough" and route.action.tls.certificate == AUTO


def automatic_names(route: Route, acme: Acme | None) -> AutomaticNames:
    """Which names of ``route``, whose certificate is automatic, are ordered at once and which on demand."""
    names = tuple(dict.fromkeys(normalise_pattern(domain) for domain in route.match.domains))
    if acme is None or acme.on_demand is None:
        return AutomaticNames(names)
    patterns = tuple(name for name in names if name.startswith("*"))
    exact = tuple(name for name in names if not name.startswith("*"))
    return AutomaticNames(exact, patterns if names else ("*",))


def automatic_certificate(names: AutomaticNames, acme: Acme | None) -> tuple[CertificatePlan, ...]:
    """The entry for the certificate of a route with these names; none where all are ordered on demand."""
    if not names.ordered:
        return ()
    self_signed = acme is not None and acme.until == "selfSigned"
    return (CertificatePlan(SOURCE, automatic=True, self_signed=self_signed, names=names.ordered),)


def acme_plan(settings: Configuration, references: References) -> AcmePlan | None:
    """How certificates are ordered; ``None`` where no enabled route has an automatic one, or a callable that may."""
    acme = settings.acme
    if acme is None or not is_used(settings):
        return None
    eab = acme.eab
    return AcmePlan(
        directory=directory_url(acme),
        store=store_path(acme, references),
        email=acme.email,
        ca=None if acme.ca is None else references.tls.authorities(acme.ca),
        challenges=challenges(settings, acme),
        key_type=acme.key_type,
        renew_before=None if acme.renew_before is None else units.seconds(acme.renew_before),
        external_account=None if eab is None else ExternalAccount(eab.key_id, decoded(eab.hmac_key)),
        http_port=acme.http_port,
        listens=("",) if listens_itself(settings, acme) else (),
        dns=None if acme.dns is None else _dns(acme.dns, references),
        profile=acme.profile,
        until=acme.until,
        on_demand=None if acme.on_demand is None else _on_demand(acme.on_demand, references),
    )


def is_used(settings: Configuration) -> bool:
    """Whether some enabled route has an automatic certificate, or a callable that chooses one."""
    return any(
        is_automatic(route)
        or (route.action.tls.mode != "passthrough" and callable(route.action.tls.certificate))
        for route in settings.routes
        if route.enabled
    )


def directory_url(acme: Acme) -> str:
    """The URL of the directory."""
    known = DIRECTORIES.get(acme.directory)
    return acme.directory if known is None else known.url


def store_path(acme: Acme, references: References) -> str:
    """The absolute path of the store."""
    return str(Path(references.path_of(acme.store)).absolute())


def command_path(written: str, references: References) -> str:
    """The absolute path of the program that changes the DNS."""
    return str(Path(references.path_of(written)).absolute())


def decoded(base64url: str) -> bytes:
    """The bytes of a key, which may be written without padding."""
    return urlsafe_b64decode(base64url + "=" * (-len(base64url) % 4))


def challenges(settings: Configuration, acme: Acme) -> tuple[ChallengeType, ...]:
    """The challenges that may be used, the preferred one first.

    ``http-01`` is one of them where a route listens on its port; then it is preferred, because it is answered whatever the
    other ports are.
    """
    if acme.challenge != "auto":
        return (ChallengeType(acme.challenge),)
    by_http = (ChallengeType.HTTP_01,) if _listens_on(settings, acme.http_port) else ()
    by_dns = (ChallengeType.DNS_01,) if acme.dns is not None else ()
    return (*by_http, ChallengeType.TLS_ALPN_01, *by_dns)


def listens_itself(settings: Configuration, acme: Acme) -> bool:
    """Whether the proxy listens for ``http-01`` because no route does."""
    return acme.challenge == "http-01" and not _listens_on(settings, acme.http_port)


def listened_ports(match: Match) -> Iterator[range]:
    """The ports of a route."""
    written = match.ports if isinstance(match.ports, list | tuple) else [match.ports]
    yield from (units.ports(one) for one in written)


def _listens_on(settings: Configuration, port: int) -> bool:
    return any(
        port in ports for route in settings.routes if route.enabled for ports in listened_ports(route.match)
    )


def _dns(written: AcmeDns, references: References) -> str | DnsChange | None:
    if written.handler is not None:
        return references.handlers.resolve_callable(written.handler, *DNS_ARGUMENTS)
    return None if written.command is None else command_path(written.command, references)


def _on_demand(written: OnDemand, references: References) -> OnDemandPlan:
    ask = written.ask
    if not (isinstance(ask, str) and is_url(ask, "http", "https")):
        ask = references.handlers.resolve_callable(ask, *ASK_ARGUMENTS)
    return OnDemandPlan(ask, written.max_per_hour)
