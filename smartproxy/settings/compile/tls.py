"""Compiles TLS settings: of a route towards clients, of a target, and of the whole proxy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smartproxy.model.plan import (
    ClientAuthPlan,
    OriginationPlan,
    TerminationPlan,
    TlsPlan,
)
from smartproxy.model.plan.target import CLIENT_NAME
from smartproxy.routing.domains import normalise_pattern
from smartproxy.settings.compile.acme import automatic_certificate, automatic_names
from smartproxy.settings.tables.base import inherited
from smartproxy.settings.tables.tls import AUTO, Ciphers, UpstreamTls
from smartproxy.tls.profiles import PROFILES, Profile
from smartproxy.wire.host import is_address, normalise_address

if TYPE_CHECKING:
    from smartproxy.model.plan import CertificatePlan
    from smartproxy.settings.compile.certificates import TlsFiles
    from smartproxy.settings.tables.root import Configuration
    from smartproxy.settings.tables.route import Route, Target
    from smartproxy.settings.tables.tls import ClientAuth, RouteTls


def certificate_name(written: str) -> str:
    """A name or an address, in the form in which certificates are found by it.

    :raises ValueError: where it is neither.
    """
    return normalise_address(written) if is_address(written) else normalise_pattern(written)


def tls_plan(settings: Configuration, files: TlsFiles) -> TlsPlan:
    """TLS of the whole proxy; after its routes, whose files are watched."""
    tls = settings.tls
    directory = None if tls.certificates is None else files.directory(tls.certificates)
    return TlsPlan(
        certificates=() if directory is None else directory.certificates,
        directory=directory,
        default=certificate_name(tls.default) if tls.default else None,
        max_handshakes=tls.max_handshakes,
        ocsp_stapling=tls.ocsp_stapling,
        files=dict(files.watched),
    )


def termination(
    settings: Configuration, route: Route, files: TlsFiles, handshake_timeout: float
) -> TerminationPlan | None:
    """How the TLS of a route's clients is terminated; ``None`` for passthrough."""
    tls = route.action.tls
    if tls.mode == "passthrough":
        return None
    written = tls.certificate
    profile = profile_of(tls, settings)
    return TerminationPlan(
        certificates=_certificates(settings, route, files),
        certificate_for=written if callable(written) else None,
        on_demand=automatic_names(route, settings.acme).on_demand if written == AUTO else (),
        ciphers=profile.ciphers,
        ciphersuites=profile.ciphersuites,
        own_order=profile.own_order,
        min_version=profile.min_version,
        alpn=tuple(tls.alpn),
        client_auth=_client_auth(tls.client_auth, files),
        handshake_timeout=handshake_timeout,
    )


def _certificates(settings: Configuration, route: Route, files: TlsFiles) -> tuple[CertificatePlan, ...]:
    written = route.action.tls.certificate
    if written is None or callable(written):
        return ()
    if written == AUTO:
        return automatic_certificate(automatic_names(route, settings.acme), settings.acme)
    domains = tuple(dict.fromkeys(normalise_pattern(domain) for domain in route.match.domains))
    listed = written if isinstance(written, list) else [written]
    return tuple(files.certificate(one, domains) for one in listed)


def profile_of(tls: RouteTls, settings: Configuration) -> Profile:
    """What a route negotiates: its own profile, or the proxy's; and the higher of ``minVersion`` and the profile's."""
    written = inherited("profile", tls, settings.tls)
    least = inherited("min_version", tls, settings.tls)
    if isinstance(written, Ciphers):
        return Profile(written.ciphers, written.ciphersuites, least, own_order=True)
    profile = PROFILES[written]
    return profile._replace(min_version=max(profile.min_version, least))


def towards(target: Target, route: RouteTls | None) -> bool | UpstreamTls:
    """What is written of the TLS towards a target: its own, or else what its route re-encrypts with.

    :param route: of the route that has the target for itself.
    """
    if "tls" in target.model_fields_set or route is None or route.mode != "terminate-and-reencrypt":
        return target.tls
    return route.upstream or True


def origination(written: bool | UpstreamTls, files: TlsFiles) -> OriginationPlan | None:
    """TLS towards a target; ``None`` without TLS."""
    if written is False:
        return None
    upstream = written if isinstance(written, UpstreamTls) else UpstreamTls()
    return OriginationPlan(
        ca=None if upstream.ca == "system" else files.authorities(upstream.ca),
        server_name=_server_name(upstream),
        client_name=upstream.server_name == CLIENT_NAME,
        verify=upstream.verify,
        certificate=files.own_certificate(upstream),
        alpn=tuple(upstream.alpn),
        min_version=upstream.min_version,
        session_reuse=upstream.session_reuse,
    )


def _server_name(upstream: UpstreamTls) -> str | None:
    """The name to ask for, as A-labels; ``None`` where it is not known before a connection."""
    written = upstream.server_name
    if written is None or written == CLIENT_NAME:
        return None
    return certificate_name(written)


def _client_auth(written: ClientAuth | None, files: TlsFiles) -> ClientAuthPlan | None:
    if written is None or written.mode == "none":
        return None
    ca = b"" if written.ca is None else files.authorities(written.ca)
    return ClientAuthPlan(
        required=written.mode == "require",
        ca=ca,
        crl=b"" if written.crl is None else files.revocations(written.crl, ca),
        match=tuple(written.match),
    )
