"""Problems of the TLS files that a configuration names. Warnings about them are in :mod:`tls_warnings`."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from cryptography import x509

from smartproxy.errors import InvalidCertificate
from smartproxy.settings.checks.problems import Problem, got
from smartproxy.settings.checks.tls import certificate_keys, certificates_of
from smartproxy.settings.compile.acme import automatic_names, is_automatic
from smartproxy.settings.compile.tls import certificate_name
from smartproxy.settings.tables.balancing import HealthCheck
from smartproxy.settings.tables.base import file_key
from smartproxy.settings.tables.tls import CertificateSettings, UpstreamTls
from smartproxy.tls.certificate import names_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from smartproxy.model.plan import CertificatePlan
    from smartproxy.settings.compile.certificates import TlsFiles
    from smartproxy.settings.reading.locations import KeyPath
    from smartproxy.settings.tables.balancing import BalancingDefaults
    from smartproxy.settings.tables.root import Configuration
    from smartproxy.settings.tables.route import Route, Target
    from smartproxy.settings.tables.tls import ClientAuth


def problems(settings: Configuration, files: TlsFiles) -> Iterator[Problem]:
    """Everything that is wrong with the files. Those of disabled routes are not read."""
    yield from _certificate_directory(settings, files)
    yield from _check_files(settings.defaults, files, ("defaults",))
    for index, route in enumerate(settings.routes):
        if route.enabled:
            yield from _route_files(route, files, ("routes", index, "action"))
    for name, group in settings.target_groups.items():
        yield from _check_files(group, files, ("targetGroups", name))
        for number, target in group.written_targets():
            yield from target_files(target, files, ("targetGroups", name, "targets", number))


def _certificate_directory(settings: Configuration, files: TlsFiles) -> Iterator[Problem]:
    tls = settings.tls
    if tls.certificates is not None:
        try:
            files.directory(tls.certificates)
        except InvalidCertificate as problem:
            yield Problem(("tls", "certificates"), str(problem))
            return
    if tls.default:
        yield from _default(settings, tls.default, files)


def _default(settings: Configuration, written: str, files: TlsFiles) -> Iterator[Problem]:
    path = ("tls", "default")
    try:
        name = certificate_name(written)
    except ValueError as problem:
        yield Problem(path, f"must be a name like example.com or an IP address: {problem}")
        return
    # A file that was left out may have it, and must not prevent a start: that is a warning.
    if name not in carried_names(settings, files) and not has_left_out(settings, files):
        yield Problem(path, f"is in no certificate {got(written)}")


def carried_names(settings: Configuration, files: TlsFiles) -> set[str]:
    """Every name that the usable certificates of the configuration have, or that one is ordered for."""
    name = settings.tls.certificates
    carried = set() if name is None else set(files.directory(name).names)
    for route in settings.routes:
        if route.enabled and is_automatic(route):
            carried.update(automatic_names(route, settings.acme).ordered)
        for _, one in certificates_of(route.action.tls, ()) if route.enabled else ():
            with suppress(InvalidCertificate):  # reported at its own key
                carried.update(_names(files.certificate(one, tuple(route.match.domains))))
    return carried


def has_automatic_default(settings: Configuration) -> bool:
    """Whether ``tls.default`` is a name that a certificate is ordered for."""
    with suppress(ValueError):  # reported at its key
        name = certificate_name(settings.tls.default or "")
        return any(
            name in automatic_names(route, settings.acme).ordered
            for route in settings.routes
            if route.enabled and is_automatic(route)
        )
    return False


def has_left_out(settings: Configuration, files: TlsFiles) -> bool:
    name = settings.tls.certificates
    return name is not None and bool(files.directory(name).left_out)


def _names(plan: CertificatePlan) -> tuple[str, ...]:
    return plan.names if plan.self_signed else names_of(x509.load_pem_x509_certificate(plan.chain))


def _route_files(route: Route, files: TlsFiles, path: KeyPath) -> Iterator[Problem]:
    tls = route.action.tls
    if tls.mode != "passthrough":
        for place, one in certificates_of(tls, (*path, "tls")):
            if not (isinstance(one, CertificateSettings) and list(certificate_keys(one, place))):
                yield from _unusable(partial(files.certificate, one), place)
        yield from _client_auth_files(tls.client_auth, files, (*path, "tls", "clientAuth"))
        yield from _upstream_files(tls.upstream, files, (*path, "tls", "upstream"))
    yield from _check_files(route.action, files, path)
    for number, target in route.action.written_targets():
        yield from target_files(target, files, (*path, "targets", number))


def _client_auth_files(written: ClientAuth | None, files: TlsFiles, path: KeyPath) -> Iterator[Problem]:
    if written is None or written.mode == "none" or written.ca is None:
        return
    ca, crl = written.ca, written.crl
    bad = list(_unusable(lambda: files.authorities(ca), (*path, "ca")))
    yield from bad
    if crl is not None and not bad:
        yield from _unusable(lambda: files.revocations(crl, files.authorities(ca)), (*path, "crl"))


def target_files(target: Target, files: TlsFiles, path: KeyPath) -> Iterator[Problem]:
    """Problems of the files that TLS towards a target names, and that of its check."""
    yield from _upstream_files(target.tls, files, (*path, "tls"))
    yield from _check_files(target, files, path)


def _check_files(holder: BalancingDefaults | Target, files: TlsFiles, path: KeyPath) -> Iterator[Problem]:
    check = holder.health_check
    if isinstance(check, HealthCheck):
        yield from _upstream_files(check.tls, files, (*path, "healthCheck", "tls"))


def _upstream_files(written: object, files: TlsFiles, path: KeyPath) -> Iterator[Problem]:
    if not isinstance(written, UpstreamTls):
        return
    if written.ca != "system" and written.verify:
        yield from _unusable(lambda: files.authorities(written.ca), (*path, "ca"))
    if written.cert_file is not None:
        yield from _unusable(lambda: files.own_certificate(written), path)


def _unusable(read: Callable[[], object], path: KeyPath) -> Iterator[Problem]:
    """The problem that ``read`` raises, if any, at the key that it is about."""
    try:
        read()
    except InvalidCertificate as problem:
        yield Problem((*path, file_key(problem.part)) if problem.part else path, str(problem))
