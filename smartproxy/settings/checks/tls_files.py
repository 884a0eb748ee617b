"""Problems of the TLS files that a configuration names, and warnings about certificates that expire soon."""

from __future__ import annotations

import datetime as dt
from functools import partial
from typing import TYPE_CHECKING, Final

from cryptography import x509

from smartproxy.errors import InvalidCertificate
from smartproxy.routing.domains import normalise_pattern
from smartproxy.settings.checks.problems import Problem, got
from smartproxy.settings.checks.tls import certificate_keys, certificates_of
from smartproxy.settings.tables.base import file_key
from smartproxy.settings.tables.tls import CertificateSettings, UpstreamTls
from smartproxy.tls.certificate import names_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from smartproxy.model.plan import CertificatePlan
    from smartproxy.settings.compile.certificates import TlsFiles
    from smartproxy.settings.reading.locations import KeyPath
    from smartproxy.settings.tables.root import Configuration
    from smartproxy.settings.tables.route import Route
    from smartproxy.settings.tables.tls import ClientAuth

#: A certificate that expires within this time is a warning. ACME clients renew 30 days before the end.
_EXPIRES_SOON: Final = dt.timedelta(days=14)


def problems(settings: Configuration, files: TlsFiles) -> Iterator[Problem]:
    """Everything that is wrong with the files. Those of disabled routes are not read."""
    yield from _certificate_directory(settings, files)
    for index, route in enumerate(settings.routes):
        if route.enabled:
            yield from _route_files(route, files, ("routes", index, "action"))


def warnings(settings: Configuration, files: TlsFiles) -> Iterator[Problem]:
    """Valid TLS settings that look like mistakes, and certificates that expire soon."""
    for index, route in enumerate(settings.routes):
        path: KeyPath = ("routes", index, "action")
        yield from _unverified(route.action.tls.upstream, (*path, "tls", "upstream"))
        for number, target in enumerate(route.action.targets):
            yield from _unverified(target.tls, (*path, "targets", number, "tls"))
        if route.enabled:
            for place, one in certificates_of(route.action.tls, (*path, "tls")):
                yield from _expires_soon(partial(files.certificate, one), place)
    name = settings.tls.certificates
    if name is not None:
        yield from _directory_warnings(name, files)


def _directory_warnings(name: str, files: TlsFiles) -> Iterator[Problem]:
    path = ("tls", "certificates")
    try:
        certificates = files.directory(name).certificates
    except InvalidCertificate:
        return  # reported by problems()
    for plan in certificates:
        yield from _expiry_warning(plan, path)
    if not certificates:
        yield Problem(path, f"contains no certificate {got(name)}")


def _certificate_directory(settings: Configuration, files: TlsFiles) -> Iterator[Problem]:
    tls = settings.tls
    if tls.certificates is not None:
        try:
            found = files.directory(tls.certificates)
        except InvalidCertificate as problem:
            yield Problem(("tls", "certificates"), str(problem))
            return
        yield from (Problem(("tls", "certificates"), problem) for problem in found.problems)
    if tls.default:
        yield from _default(settings, tls.default, files)


def _default(settings: Configuration, written: str, files: TlsFiles) -> Iterator[Problem]:
    path = ("tls", "default")
    try:
        name = normalise_pattern(written)
    except ValueError as problem:
        yield Problem(path, f"must be a name like example.com: {problem}")
        return
    carried = {one for plan in _usable(settings, files) for one in _names(plan)}
    if name not in carried:
        yield Problem(path, f"is in no certificate {got(written)}")


def _usable(settings: Configuration, files: TlsFiles) -> Iterator[CertificatePlan]:
    """Every usable certificate of the configuration."""
    if settings.tls.certificates is not None:
        yield from files.directory(settings.tls.certificates).certificates
    for route in settings.routes:
        for _, one in certificates_of(route.action.tls, ()) if route.enabled else ():
            try:
                yield files.certificate(one, tuple(route.match.domains))
            except InvalidCertificate:
                continue  # reported at its own key


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
    for number, target in enumerate(route.action.targets):
        yield from _upstream_files(target.tls, files, (*path, "targets", number, "tls"))


def _client_auth_files(written: ClientAuth | None, files: TlsFiles, path: KeyPath) -> Iterator[Problem]:
    if written is None or written.mode == "none" or written.ca is None:
        return
    ca, crl = written.ca, written.crl
    bad = list(_unusable(lambda: files.authorities(ca), (*path, "ca")))
    yield from bad
    if crl is not None and not bad:
        yield from _unusable(lambda: files.revocations(crl, files.authorities(ca)), (*path, "crl"))


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


def _unverified(written: object, path: KeyPath) -> Iterator[Problem]:
    if isinstance(written, UpstreamTls) and not written.verify:
        yield Problem((*path, "verify"), "is false: any server that answers is accepted as the target")


def _expires_soon(read: Callable[[], CertificatePlan], path: KeyPath) -> Iterator[Problem]:
    """A warning if the certificate expires soon. One that cannot be read is reported by :func:`problems`."""
    try:
        plan = read()
    except InvalidCertificate:
        return
    yield from _expiry_warning(plan, path)


def _expiry_warning(plan: CertificatePlan, path: KeyPath) -> Iterator[Problem]:
    if plan.self_signed:
        return
    until = x509.load_pem_x509_certificate(plan.chain).not_valid_after_utc
    if until - dt.datetime.now(dt.UTC) < _EXPIRES_SOON:
        yield Problem(path, f"{plan.source}: expires on {until:%Y-%m-%d %H:%M} UTC")
