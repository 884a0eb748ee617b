"""Problems and warnings of ``acme``: the table, and the files and callables that it names.

The domains of the routes are checked in :mod:`acme_names`.
"""

from __future__ import annotations

import os
import shutil
import stat
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from smartproxy.errors import InvalidCertificate
from smartproxy.settings.checks.problems import Problem, got
from smartproxy.settings.compile.acme import (
    ASK_ARGUMENTS,
    DNS_ARGUMENTS,
    command_path,
    is_automatic,
    is_used,
    listened_ports,
    listens_itself,
    store_path,
)
from smartproxy.settings.tables import units
from smartproxy.settings.tables.acme import DIRECTORIES, is_url
from smartproxy.settings.tables.root import AdminSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from smartproxy.settings.compile.references import References
    from smartproxy.settings.reading.locations import KeyPath
    from smartproxy.settings.tables.acme import Acme, AcmeDns
    from smartproxy.settings.tables.root import Configuration

#: Where the authority connects to for tls-alpn-01 (RFC 8737, section 3).
_TLS_ALPN_PORT: Final = 443
#: Certificates of public authorities last 90 days or less: one that is renewed so early is renewed every month.
_LONGEST_RENEWAL: Final = 60 * 86400


def problems(settings: Configuration, references: References) -> Iterator[Problem]:
    """Everything that makes ``acme`` invalid."""
    acme = settings.acme
    if acme is None:
        return
    if acme.directory == "zerossl" and acme.eab is None:
        yield Problem(
            ("acme", "eab"), 'is required for directory "zerossl": {keyId, hmacKey} from its website'
        )
    if acme.challenge == "dns-01" and acme.dns is None:
        yield Problem(("acme", "dns"), 'is required for challenge "dns-01"')
    if acme.dns is not None:
        yield from _dns(acme.dns, references)
    if acme.ca is not None:
        yield from _authorities(partial(references.tls.authorities, acme.ca))
    if acme.on_demand is not None and not _is_asked_by_url(acme.on_demand.ask):
        yield from _callable(
            partial(references.handlers.resolve_callable, acme.on_demand.ask, *ASK_ARGUMENTS),
            acme.on_demand.ask,
            ("acme", "onDemand", "ask"),
        )
    yield from _store(acme, references)
    yield from _port_of_admin(settings, acme)


def _store(acme: Acme, references: References) -> Iterator[Problem]:
    try:
        is_directory = stat.S_ISDIR(Path(store_path(acme, references)).stat().st_mode)
    except FileNotFoundError:
        return  # it is made when the proxy starts
    except OSError as why:
        yield Problem(("acme", "store"), f"cannot be read: {why.strerror} {got(acme.store)}")
        return
    if not is_directory:
        yield Problem(("acme", "store"), f"is not a directory {got(acme.store)}")


def _is_asked_by_url(ask: object) -> bool:
    return isinstance(ask, str) and is_url(ask, "http", "https")


def _dns(written: AcmeDns, references: References) -> Iterator[Problem]:
    path = ("acme", "dns")
    if (written.command is None) == (written.handler is None):
        yield Problem(path, "must have one of command and handler")
    elif written.command is not None:
        yield from _command(written.command, references)
    elif written.handler is not None:
        resolve = partial(references.handlers.resolve_callable, written.handler, *DNS_ARGUMENTS)
        yield from _callable(resolve, written.handler, (*path, "handler"))


def _command(written: str, references: References) -> Iterator[Problem]:
    file, path = command_path(written, references), ("acme", "dns", "command")
    try:
        is_file = stat.S_ISREG(Path(file).stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        yield Problem(path, f"{file}: does not exist{_command_hint(written)} {got(written)}")
    except OSError as why:
        yield Problem(path, f"{file}: cannot be read: {why.strerror} {got(written)}")
    else:
        if not is_file or not os.access(file, os.X_OK):
            yield Problem(path, f"{file}: is not an executable file {got(written)}")


def _command_hint(written: str) -> str:
    if found := shutil.which(written):
        return f'; write "{found}"'
    return "; it is the path of a program, without arguments" if " " in written else ""


def _callable(resolve: Callable[[], object], written: object, path: KeyPath) -> Iterator[Problem]:
    try:
        resolve()
    except ValueError as problem:
        yield Problem(path, f"{problem} {got(written)}")


def _authorities(read: Callable[[], object]) -> Iterator[Problem]:
    try:
        read()
    except InvalidCertificate as problem:
        yield Problem(("acme", "ca"), str(problem))


def _port_of_admin(settings: Configuration, acme: Acme) -> Iterator[Problem]:
    """The admin listener on the port on which the proxy has to listen for ``http-01``."""
    admin = AdminSettings() if settings.admin is True else settings.admin
    if admin is False or admin.unix is not None or not listens_itself(settings, acme):
        return
    if admin.port == acme.http_port:
        yield Problem(("acme", "httpPort"), f"is the port of admin {got(acme.http_port)}")


def warnings(settings: Configuration) -> Iterator[Problem]:
    """What is valid in ``acme`` and looks like a mistake."""
    acme = settings.acme
    if acme is None:
        return
    if not is_used(settings):
        yield Problem(
            ("acme",), 'is used by no route: write "certificate: auto" in action.tls of those it is for'
        )
        return
    if acme.dns is not None and acme.challenge in {"http-01", "tls-alpn-01"}:
        yield Problem(("acme", "dns"), f'is not used: challenge is "{acme.challenge}"')
    if acme.directory in DIRECTORIES:
        yield from _public(settings, acme)


def _public(settings: Configuration, acme: Acme) -> Iterator[Problem]:
    if acme.renew_before is not None and units.seconds(acme.renew_before) > _LONGEST_RENEWAL:
        yield Problem(
            ("acme", "renewBefore"),
            "is longer than 60 days, and certificates last 90 days or less: they are renewed all the time, until the "
            f"authority refuses more {got(acme.renew_before)}",
        )
    if acme.challenge == "tls-alpn-01" and not _has_tls_port(settings):
        yield Problem(
            ("acme", "challenge"),
            f"is tls-alpn-01, for which the authority connects to port {_TLS_ALPN_PORT}, and no route with "
            '"certificate: auto" listens on it',
        )


def _has_tls_port(settings: Configuration) -> bool:
    return any(
        _TLS_ALPN_PORT in ports
        for route in settings.routes
        if route.enabled and is_automatic(route)
        for ports in listened_ports(route.match)
    )
