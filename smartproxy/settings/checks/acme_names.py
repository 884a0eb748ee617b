"""Problems of routes with ``certificate: auto``: names that no certificate can be ordered for."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Final

from smartproxy.routing.domains import normalise_pattern
from smartproxy.settings.checks.problems import Problem, got
from smartproxy.settings.compile.acme import automatic_names, is_automatic
from smartproxy.settings.tables.acme import DIRECTORIES, Acme
from smartproxy.wire.host import is_address

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smartproxy.settings.reading.locations import KeyPath
    from smartproxy.settings.tables.root import Configuration
    from smartproxy.settings.tables.route import Route

#: Of a route with an automatic certificate where nothing says how it is ordered.
NEEDS_ACME: Final = 'is "auto", which needs acme at the top level, like "acme: {email: admin@example.com}"'

#: The most that public authorities put in one certificate.
_MOST_NAMES: Final = 100

#: Private, shared and local networks (RFC 1918, RFC 6598, RFC 1122, RFC 4193). ``ipaddress`` recognises loopback and link-local ones.
_PRIVATE: Final = tuple(
    ip_network(network)
    for network in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "0.0.0.0/8", "fc00::/7")
)

#: Top-level domains that are never delegated, so that no public authority can certify a name in them: RFC 6761 (without ``example``,
#: which stands for another name in documentation), RFC 6762, RFC 9476, and those that ICANN has reserved.
_NEVER_PUBLIC: Final = frozenset(
    {"localhost", "local", "test", "invalid", "alt", "internal", "home", "corp", "mail", "lan", "localdomain"}
)
_HOME_NETWORK: Final = ".home.arpa"  # RFC 8375

#: How Let's Encrypt calls the only profile in which it certifies addresses.
_FOR_ADDRESSES: Final = "shortlived"


def problems(settings: Configuration) -> Iterator[Problem]:
    """Everything that makes ``certificate: auto`` invalid, also of disabled routes."""
    for index, route in enumerate(settings.routes):
        if not is_automatic(route):
            continue
        path: KeyPath = ("routes", index)
        if settings.acme is None:
            yield Problem((*path, "action", "tls", "certificate"), NEEDS_ACME)
        else:
            yield from _domains(route, settings.acme, (*path, "match", "domains"))


def _domains(route: Route, acme: Acme, path: KeyPath) -> Iterator[Problem]:
    names = automatic_names(route, acme)
    if not route.match.domains and acme.on_demand is None:
        message = 'is required for certificate "auto", which is ordered for these names; or set acme.onDemand'
        yield Problem(path, message)
    if len(names.ordered) > _MOST_NAMES:
        yield Problem(
            path,
            f"has {len(names.ordered)} names, and a certificate has at most {_MOST_NAMES}: make several routes",
        )
    for index, written in enumerate(route.match.domains):
        name = normalise_pattern(written)
        why = _why_not_ordered(name, acme)
        if why:
            yield Problem((*path, index), f"{why} {got(written)}")


def _why_not_ordered(name: str, acme: Acme) -> str:
    """Why no certificate can be ordered for ``name``; empty where one can, or its names are ordered on demand."""
    if is_address(name):
        return _why_not_address(name, acme)
    if name.startswith("*") and acme.on_demand is None:
        why = _why_not_wildcard(name, acme)
        if why:
            return why
    is_public = acme.directory in DIRECTORIES
    return _why_not_public(name.removeprefix("*."), acme.directory) if is_public and name != "*" else ""


def _why_not_wildcard(name: str, acme: Acme) -> str:
    if name == "*":
        return "is every name, which can be ordered on demand only: set acme.onDemand, or list the names"
    if acme.challenge not in {"auto", "dns-01"}:
        return f'is a wildcard, which needs challenge "dns-01", and acme.challenge is "{acme.challenge}"'
    if acme.dns is None and acme.challenge == "auto":
        return 'is a wildcard, which needs challenge "dns-01": set acme.dns, or acme.onDemand'
    return ""


def _why_not_address(name: str, acme: Acme) -> str:
    address = ip_address(name)
    if (
        address.is_loopback
        or address.is_link_local
        or address.is_multicast
        or address.is_unspecified
        or any(address in network for network in _PRIVATE)
    ):
        return "is a private address, which no authority certifies"
    if acme.challenge == "dns-01":
        return 'is an IP address, which challenge "dns-01" cannot prove (RFC 8738, section 7)'
    if acme.directory in DIRECTORIES and not address.is_global:
        return "is a reserved address, which no public authority certifies"
    return ""


def _why_not_public(name: str, directory: str) -> str:
    """Why no public authority certifies ``name``."""
    labels = name.split(".")
    if len(labels) == 1 or labels[-1] in _NEVER_PUBLIC or f".{name}".endswith(_HOME_NETWORK):
        return f'is no public name, and directory "{directory}" certifies no others'
    if "_" in name:
        return f'has a "_", and directory "{directory}" certifies host names only'
    return ""


def warnings(settings: Configuration) -> Iterator[Problem]:
    """Addresses for which Let's Encrypt will refuse a certificate."""
    acme = settings.acme
    if acme is None or not acme.directory.startswith("letsencrypt") or acme.profile == _FOR_ADDRESSES:
        return
    for index, route in enumerate(settings.routes):
        if not route.enabled or not is_automatic(route):
            continue
        for number, written in enumerate(route.match.domains):
            if is_address(written):
                message = f'is an IP address, which Let\'s Encrypt certifies in profile "{_FOR_ADDRESSES}" only: set acme.profile'
                yield Problem(("routes", index, "match", "domains", number), f"{message} {got(written)}")
