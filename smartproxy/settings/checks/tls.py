"""What is wrong with the TLS of a configuration: keys that do not go together, and files that cannot be used."""

from __future__ import annotations

import datetime as dt
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from cryptography import x509
from OpenSSL import SSL

from smartproxy.errors import InvalidCertificate
from smartproxy.routing.domains import normalise_pattern
from smartproxy.settings.problems import Problem, got
from smartproxy.settings.tables.base import file_key
from smartproxy.settings.tables.tls import CertificateSettings, Ciphers, UpstreamTls
from smartproxy.tls.certificate import names_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from smartproxy.model.plan import CertificatePlan
    from smartproxy.settings.certificates import TlsFiles
    from smartproxy.settings.reading.locations import KeyPath
    from smartproxy.settings.tables.route import Route, Target
    from smartproxy.settings.tables.tls import ClientAuth, RouteTls, Tls
    from smartproxy.settings.top import Settings

#: A certificate that has less to live than this is told of; who renews by machine does so at 30 days.
_SOON: Final = dt.timedelta(days=14)


def problems(settings: Settings, files: TlsFiles) -> Iterator[Problem]:
    """Everything for which it is refused. A route that is not enabled has its keys checked, and not its files."""
    yield from _store(settings, files)
    yield from _profile(settings.tls, ("tls",))
    for index, route in enumerate(settings.routes):
        path: KeyPath = ("routes", index, "action")
        yield from _route_tls(settings, route.action.tls, (*path, "tls"))
        for number, target in enumerate(route.action.targets):
            yield from _target_keys(target, (*path, "targets", number))
        if route.enabled:
            yield from _route_files(route, files, path)


def doubts(settings: Settings, files: TlsFiles) -> Iterator[Problem]:
    """What is allowed, and hardly what was meant."""
    for index, route in enumerate(settings.routes):
        path: KeyPath = ("routes", index, "action")
        yield from _unverified(route.action.tls.upstream, (*path, "tls", "upstream"))
        for number, target in enumerate(route.action.targets):
            yield from _unverified(target.tls, (*path, "targets", number, "tls"))
        if route.enabled:
            for place, one in _certificates(route.action.tls, (*path, "tls")):
                yield from _soon(partial(files.certificate, one), place)
    name = settings.tls.certificates
    if name is not None:
        yield from _store_doubts(name, files)


def _store_doubts(name: str, files: TlsFiles) -> Iterator[Problem]:
    path = ("tls", "certificates")
    try:
        certificates = files.directory(name).certificates
    except InvalidCertificate:
        return  # a problem, and told as one
    for plan in certificates:
        yield from _ending(plan, path)
    if not certificates:
        yield Problem(path, f"holds no certificate {got(name)}")


def _store(settings: Settings, files: TlsFiles) -> Iterator[Problem]:
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


def _default(settings: Settings, written: str, files: TlsFiles) -> Iterator[Problem]:
    path = ("tls", "default")
    try:
        name = normalise_pattern(written)
    except ValueError as problem:
        yield Problem(path, f"must be a name like example.com: {problem}")
        return
    carried = {one for plan in _all(settings, files) for one in _names(plan)}
    if name not in carried:
        yield Problem(path, f"is carried by no certificate {got(written)}")


def _all(settings: Settings, files: TlsFiles) -> Iterator[CertificatePlan]:
    """Every certificate that can be used."""
    if settings.tls.certificates is not None:
        yield from files.directory(settings.tls.certificates).certificates
    for route in settings.routes:
        for _, one in _certificates(route.action.tls, ()) if route.enabled else ():
            try:
                yield files.certificate(one, tuple(route.match.domains))
            except InvalidCertificate:
                continue  # told at its own place


def _names(plan: CertificatePlan) -> tuple[str, ...]:
    return plan.names if plan.self_signed else names_of(x509.load_pem_x509_certificate(plan.chain))


# -- keys ---------------------------------------------------------------------------------------------


def _route_tls(settings: Settings, tls: RouteTls, path: KeyPath) -> Iterator[Problem]:
    if tls.mode == "passthrough":
        for name in sorted(tls.model_fields_set - {"mode"}):
            yield Problem((*path, file_key(name)), 'has no meaning for mode "passthrough"')
        return
    if tls.certificate is None and settings.tls.certificates is None:
        yield Problem((*path, "certificate"), "is required where there is no tls.certificates")
    if tls.upstream is not None and tls.mode == "terminate":
        yield Problem((*path, "upstream"), 'has no meaning for mode "terminate"')
    for place, one in _certificates(tls, path):
        if isinstance(one, CertificateSettings):
            yield from _certificate_keys(one, place)
    yield from _profile(tls, path)
    yield from _client_auth_keys(tls.client_auth, (*path, "clientAuth"))
    yield from _upstream_keys(tls.upstream, (*path, "upstream"))


def _certificates(tls: RouteTls, path: KeyPath) -> Iterator[tuple[KeyPath, Any]]:
    """Every certificate that a route names, with its place."""
    written = tls.certificate
    if isinstance(written, list):
        yield from (((*path, "certificate", index), one) for index, one in enumerate(written))
    elif written is not None and not callable(written):
        yield (*path, "certificate"), written


def _certificate_keys(written: CertificateSettings, path: KeyPath) -> Iterator[Problem]:
    ways = [name for name in ("cert_file", "cert", "pkcs12_file") if getattr(written, name) is not None]
    if len(ways) != 1:
        yield Problem(path, "must have one of certFile, cert and pkcs12File")
        return
    for name, beside in (("key_file", "cert_file"), ("key", "cert")):
        if getattr(written, name) is not None and ways != [beside]:
            yield Problem((*path, file_key(name)), f"has no meaning without {file_key(beside)}")
    if ways == ["cert"] and written.key is None:
        yield Problem((*path, "key"), "is required with cert")
    if written.passphrase_file is not None and written.passphrase_env is not None:
        yield Problem((*path, "passphraseEnv"), "has no meaning beside passphraseFile")


def _profile(tls: RouteTls | Tls, path: KeyPath) -> Iterator[Problem]:
    if tls.profile == "modern" and "min_version" in tls.model_fields_set and tls.min_version != "1.3":
        yield Problem((*path, "minVersion"), f'is 1.3 for profile "modern" {got(tls.min_version)}')
    if isinstance(tls.profile, Ciphers):
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        for name, take in (
            ("ciphers", context.set_cipher_list),
            ("ciphersuites", context.set_tls13_ciphersuites),
        ):
            written = getattr(tls.profile, name)
            if not _taken(take, written):
                yield Problem((*path, "profile", name), f"has none that OpenSSL knows {got(written)}")


def _taken(take: Callable[[bytes], None], written: str) -> bool:
    try:
        take(written.encode("ascii"))
    except (SSL.Error, UnicodeEncodeError):
        return False
    return True


def _client_auth_keys(written: ClientAuth | None, path: KeyPath) -> Iterator[Problem]:
    if written is None:
        return
    if written.mode == "none":
        for name in sorted(written.model_fields_set - {"mode"}):
            yield Problem((*path, file_key(name)), 'has no meaning for mode "none"')
    elif written.ca is None:
        if written.mode == "require":
            yield Problem((*path, "ca"), 'is required for mode "require"')
        for name in ("crl", "match"):
            if getattr(written, name):
                yield Problem((*path, name), "has no meaning without ca")


def _target_keys(target: Target, path: KeyPath) -> Iterator[Problem]:
    if isinstance(target.tls, UpstreamTls):
        yield from _upstream_keys(target.tls, (*path, "tls"))


def _upstream_keys(written: UpstreamTls | None, path: KeyPath) -> Iterator[Problem]:
    if written is not None and written.key_file is not None and written.cert_file is None:
        yield Problem((*path, "keyFile"), "has no meaning without certFile")
    if written is not None and not written.verify and "ca" in written.model_fields_set:
        yield Problem((*path, "ca"), "has no meaning where verify is false")


# -- files --------------------------------------------------------------------------------------------


def _route_files(route: Route, files: TlsFiles, path: KeyPath) -> Iterator[Problem]:
    tls = route.action.tls
    if tls.mode != "passthrough":
        for place, one in _certificates(tls, (*path, "tls")):
            if not (isinstance(one, CertificateSettings) and list(_certificate_keys(one, place))):
                yield from _unread(partial(files.certificate, one), place)
        yield from _client_auth_files(tls.client_auth, files, (*path, "tls", "clientAuth"))
        yield from _upstream_files(tls.upstream, files, (*path, "tls", "upstream"))
    for number, target in enumerate(route.action.targets):
        yield from _upstream_files(target.tls, files, (*path, "targets", number, "tls"))


def _client_auth_files(written: ClientAuth | None, files: TlsFiles, path: KeyPath) -> Iterator[Problem]:
    if written is None or written.mode == "none" or written.ca is None:
        return
    ca, crl = written.ca, written.crl
    bad = list(_unread(lambda: files.authorities(ca), (*path, "ca")))
    yield from bad
    if crl is not None and not bad:
        yield from _unread(lambda: files.revocations(crl, files.authorities(ca)), (*path, "crl"))


def _upstream_files(written: object, files: TlsFiles, path: KeyPath) -> Iterator[Problem]:
    if not isinstance(written, UpstreamTls):
        return
    if written.ca != "system" and written.verify:
        yield from _unread(lambda: files.authorities(written.ca), (*path, "ca"))
    if written.cert_file is not None:
        yield from _unread(lambda: files.own_certificate(written), path)


def _unread(read: Callable[[], object], path: KeyPath) -> Iterator[Problem]:
    """Why it cannot be used, if it cannot, at the key that it is about."""
    try:
        read()
    except InvalidCertificate as problem:
        yield Problem((*path, file_key(problem.part)) if problem.part else path, str(problem))


def _unverified(written: object, path: KeyPath) -> Iterator[Problem]:
    if isinstance(written, UpstreamTls) and not written.verify:
        yield Problem((*path, "verify"), "is false: whoever answers is taken for the target")


def _soon(read: Callable[[], CertificatePlan], path: KeyPath) -> Iterator[Problem]:
    """Whether it will expire before long, where it can be read at all."""
    try:
        plan = read()
    except InvalidCertificate:
        return
    yield from _ending(plan, path)


def _ending(plan: CertificatePlan, path: KeyPath) -> Iterator[Problem]:
    if plan.self_signed:
        return
    until = x509.load_pem_x509_certificate(plan.chain).not_valid_after_utc
    if until - dt.datetime.now(dt.UTC) < _SOON:
        yield Problem(path, f"{plan.source}: expires on {until:%Y-%m-%d %H:%M} UTC")
