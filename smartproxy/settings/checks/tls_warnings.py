"""Warnings about TLS: settings that look like mistakes, and certificates that clients reject, or soon will."""

from __future__ import annotations

import datetime as dt
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

from cryptography import x509

from smartproxy.errors import InvalidCertificate
from smartproxy.settings.checks.problems import Problem, got
from smartproxy.settings.checks.tls import certificates_of
from smartproxy.settings.checks.tls_files import carried_names, has_left_out
from smartproxy.settings.compile.answers import may_answer
from smartproxy.settings.compile.http import speaks_http
from smartproxy.settings.compile.tls import certificate_name
from smartproxy.settings.tables.base import file_key
from smartproxy.settings.tables.tls import UpstreamTls
from smartproxy.tls.chain import chain_problem, system_authorities

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from smartproxy.model.plan import CertificatePlan
    from smartproxy.settings.compile.certificates import TlsFiles
    from smartproxy.settings.reading.locations import KeyPath
    from smartproxy.settings.tables.root import Configuration
    from smartproxy.settings.tables.route import Route

#: A certificate that expires within this time is a warning. ACME clients renew 30 days before the end.
_EXPIRES_SOON: Final = dt.timedelta(days=14)
#: Keys of ``tls`` for clients whose TLS is terminated.
_OF_TERMINATION: Final = ("certificates", "profile", "min_version")
#: The name of HTTP/2 over TLS in ALPN (RFC 9113, section 3.1).
_HTTP_2: Final = "h2"


def warnings(settings: Configuration, files: TlsFiles) -> Iterator[Problem]:
    """Everything in the TLS settings and files that does not prevent a start. Problems are not repeated."""
    for index, route in enumerate(settings.routes):
        path: KeyPath = ("routes", index, "action")
        yield from _unverified(route.action.tls.upstream, (*path, "tls", "upstream"))
        yield from _http2(route, path)
        for number, target in route.action.written_targets():
            yield from _unverified(target.tls, (*path, "targets", number, "tls"))
        if route.enabled:
            for place, one in certificates_of(route.action.tls, (*path, "tls")):
                yield from _of_certificate(partial(files.certificate, one), place)
    for name, group in settings.target_groups.items():
        for number, target in group.written_targets():
            yield from _unverified(target.tls, ("targetGroups", name, "targets", number, "tls"))
    yield from _not_terminated(settings)
    if settings.tls.certificates is not None:
        with suppress(InvalidCertificate):
            yield from _of_directory(settings, settings.tls.certificates, files)


def _not_terminated(settings: Configuration) -> Iterator[Problem]:
    """Keys of ``tls`` where every route passes TLS through."""
    if any(route.enabled and route.action.tls.mode != "passthrough" for route in settings.routes):
        return
    for name in _OF_TERMINATION:
        if name in settings.tls.model_fields_set:
            message = 'is used by no route: write "tls: {mode: terminate}" in the action of those it is for'
            yield Problem(("tls", file_key(name)), message)
            return


def _of_directory(settings: Configuration, name: str, files: TlsFiles) -> Iterator[Problem]:
    path = ("tls", "certificates")
    found = files.directory(name)
    yield from (Problem(path, f"{one.problem}; it is left out") for one in found.left_out)
    for plan in found.certificates:
        yield from _of_plan(plan, path)
    if not found.certificates:
        yield Problem(path, f"contains no certificate {got(name)}")
    yield from _of_default(settings, files)


def _of_default(settings: Configuration, files: TlsFiles) -> Iterator[Problem]:
    default = settings.tls.default
    if not default or not has_left_out(settings, files):
        return
    with suppress(ValueError):
        if certificate_name(default) not in carried_names(settings, files):
            yield Problem(("tls", "default"), f"is in no certificate that can be used {got(default)}")


def _of_certificate(read: Callable[[], CertificatePlan], path: KeyPath) -> Iterator[Problem]:
    with suppress(InvalidCertificate):
        yield from _of_plan(read(), path)


def _of_plan(plan: CertificatePlan, path: KeyPath) -> Iterator[Problem]:
    if plan.self_signed:
        return
    yield from (Problem(path, remark) for remark in plan.remarks)
    chain = x509.load_pem_x509_certificates(plan.chain)
    problem = chain_problem(chain, system_authorities().__contains__)
    if problem:
        yield Problem(path, f"{plan.source}: {problem}")
    until = chain[0].not_valid_after_utc
    if until - dt.datetime.now(dt.UTC) < _EXPIRES_SOON:
        yield Problem(path, f"{plan.source}: expires on {until:%Y-%m-%d %H:%M} UTC")


def _unverified(written: object, path: KeyPath) -> Iterator[Problem]:
    if isinstance(written, UpstreamTls) and not written.verify:
        yield Problem((*path, "verify"), "is false: any server that answers is accepted as the target")


def _http2(route: Route, path: KeyPath) -> Iterator[Problem]:
    """HTTP/2 that is offered where HTTP/1.1 is spoken: a peer that chooses it is not understood."""
    action, match = route.action, route.match
    asks = match.path or match.methods or match.headers or match.query
    if _HTTP_2 in action.tls.alpn and (asks or speaks_http(action) or may_answer(action)):
        message = 'has "h2", but this route reads HTTP/1.1 only: clients that choose HTTP/2 are not served; write alpn: [http/1.1]'
        yield Problem((*path, "tls", "alpn"), message)
    if not speaks_http(action):
        return
    places = [((*path, "targets", number, "tls"), target.tls) for number, target in action.written_targets()]
    for place, written in ((*path, "tls", "upstream"), action.tls.upstream), *places:
        if isinstance(written, UpstreamTls) and _HTTP_2 in written.alpn:
            message = 'has "h2", but requests are sent in HTTP/1.1: targets that choose HTTP/2 fail; write alpn: [http/1.1]'
            yield Problem((*place, "alpn"), message)
