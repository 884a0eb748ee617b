"""Problems of TLS keys that contradict each other. The files that they name are checked in :mod:`tls_files`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from OpenSSL import SSL

from smartproxy.settings.checks.problems import Problem, got
from smartproxy.settings.tables.balancing import HealthCheck
from smartproxy.settings.tables.base import file_key, inherited
from smartproxy.settings.tables.tls import AUTO, CertificateSettings, Ciphers, UpstreamTls

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from smartproxy.settings.reading.locations import KeyPath
    from smartproxy.settings.tables.balancing import BalancingDefaults
    from smartproxy.settings.tables.root import Configuration
    from smartproxy.settings.tables.route import Target
    from smartproxy.settings.tables.tls import ClientAuth, RouteTls, Tls


def problems(settings: Configuration) -> Iterator[Problem]:
    """Everything that makes the TLS keys invalid, also of disabled routes."""
    yield from _least_version(settings.tls, ("tls",))
    yield from _ciphers(settings.tls, ("tls",))
    yield from _check_keys(settings.defaults, ("defaults",))
    for index, route in enumerate(settings.routes):
        path: KeyPath = ("routes", index, "action")
        yield from _route_tls(settings, route.action.tls, (*path, "tls"))
        yield from _check_keys(route.action, path)
        for number, target in route.action.written_targets():
            yield from target_keys(target, (*path, "targets", number))
    for name, group in settings.target_groups.items():
        yield from _check_keys(group, ("targetGroups", name))
        for number, target in group.written_targets():
            yield from target_keys(target, ("targetGroups", name, "targets", number))


def _route_tls(settings: Configuration, tls: RouteTls, path: KeyPath) -> Iterator[Problem]:
    if tls.mode == "passthrough":
        for name in sorted(tls.model_fields_set - {"mode"}):
            yield Problem((*path, file_key(name)), 'has no meaning for mode "passthrough"')
        return
    if tls.certificate is None and settings.tls.certificates is None:
        yield Problem((*path, "certificate"), "is required where there is no tls.certificates")
    if tls.upstream is not None and tls.mode == "terminate":
        yield Problem((*path, "upstream"), 'has no meaning for mode "terminate"')
    for place, one in certificates_of(tls, path):
        if isinstance(one, CertificateSettings):
            yield from certificate_keys(one, place)
    yield from _least_version(tls, path, settings.tls)
    yield from _ciphers(tls, path)
    yield from _client_auth_keys(tls.client_auth, (*path, "clientAuth"))
    yield from _upstream_keys(tls.upstream, (*path, "upstream"))


def certificates_of(tls: RouteTls, path: KeyPath) -> Iterator[tuple[KeyPath, CertificateSettings | str]]:
    """Every certificate that a route names, with its key path; not an automatic one, which has no files."""
    written = tls.certificate
    if isinstance(written, list):
        yield from (((*path, "certificate", index), one) for index, one in enumerate(written))
    elif written is not None and written != AUTO and not callable(written):
        yield (*path, "certificate"), written


def certificate_keys(written: CertificateSettings, path: KeyPath) -> Iterator[Problem]:
    """Problems of the keys of one certificate."""
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


def _least_version(tls: RouteTls | Tls, path: KeyPath, *outer: Tls) -> Iterator[Problem]:
    """A version below that of the profile, which has precedence.

    :param outer: what the profile is inherited from.
    """
    is_modern = inherited("profile", tls, *outer) == "modern"
    if is_modern and "min_version" in tls.model_fields_set and tls.min_version != "1.3":
        of_proxy = "" if "profile" in tls.model_fields_set else " of tls at the top level"
        message = f'is 1.3 for profile "modern"{of_proxy}'
        yield Problem((*path, "minVersion"), f"{message} {got(tls.min_version)}")


def _ciphers(tls: RouteTls | Tls, path: KeyPath) -> Iterator[Problem]:
    if isinstance(tls.profile, Ciphers):
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        for name, setter in (
            ("ciphers", context.set_cipher_list),
            ("ciphersuites", context.set_tls13_ciphersuites),
        ):
            written = getattr(tls.profile, name)
            if not _accepts(setter, written):
                yield Problem((*path, "profile", name), f"has no cipher that OpenSSL knows {got(written)}")


def _accepts(setter: Callable[[bytes], None], written: str) -> bool:
    try:
        setter(written.encode("ascii"))
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


def target_keys(target: Target, path: KeyPath) -> Iterator[Problem]:
    """Problems of the TLS keys of a target, and of its check."""
    if isinstance(target.tls, UpstreamTls):
        yield from _upstream_keys(target.tls, (*path, "tls"))
    yield from _check_keys(target, path)


def _check_keys(holder: BalancingDefaults | Target, path: KeyPath) -> Iterator[Problem]:
    """Problems of the TLS keys of a check."""
    check = holder.health_check
    if isinstance(check, HealthCheck) and isinstance(check.tls, UpstreamTls):
        yield from _upstream_keys(check.tls, (*path, "healthCheck", "tls"))


def _upstream_keys(written: UpstreamTls | None, path: KeyPath) -> Iterator[Problem]:
    if written is not None and written.key_file is not None and written.cert_file is None:
        yield Problem((*path, "keyFile"), "has no meaning without certFile")
    if written is not None and not written.verify and "ca" in written.model_fields_set:
        yield Problem((*path, "ca"), "has no meaning where verify is false")
