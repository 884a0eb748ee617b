"""Problems of the keys of one target."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from smartproxy.model.plan.target import CLIENT_NAME
from smartproxy.settings.checks import proxy_protocol, unix_targets
from smartproxy.settings.checks.problems import Problem, got
from smartproxy.wire.host import is_address, normalise_address

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smartproxy.settings.compile.references import References
    from smartproxy.settings.reading.locations import KeyPath
    from smartproxy.settings.tables.route import Target

#: Keys that a target with ``srv`` has from its records.
_OF_RECORDS: Final = {
    "host": "the records have hosts",
    "port": "the records have ports",
    "addresses": "every address of its hosts is a target",
    "weight": "the records have weights",
    "unix": "the records have hosts",
}


def target_problems(target: Target, path: KeyPath, references: References) -> Iterator[Problem]:
    """Problems of one target."""
    yield from proxy_protocol.problems(target.send_proxy_protocol, path)
    yield from unix_targets.problems(target, path, references)
    yield from _discovery(target, path)
    if target.bind is None:
        return
    family = _family(target.bind)
    for host in target.hosts():
        if is_address(host) and _family(host) != family:
            yield Problem(
                (*path, "bind"),
                f"is an {family} address, from which {host} cannot be reached {got(target.bind)}",
            )


def _family(address: str) -> str:
    return "IPv6" if ":" in normalise_address(address) else "IPv4"


def _discovery(target: Target, path: KeyPath) -> Iterator[Problem]:
    """Keys that have no meaning beside ``srv`` or ``addresses``."""
    if target.srv is not None:
        yield from _beside_srv(target, path)
    if not target.is_discovered:
        return
    if target.name is not None:
        beside = "srv" if target.srv is not None else "addresses: all"
        message = f"has no meaning beside {beside}: each answer is a target called address:port"
        yield Problem((*path, "name"), f"{message} {got(target.name)}")
    for name in ("host", "port"):
        if callable(getattr(target, name)):
            yield Problem((*path, "addresses"), f'is "all", but {name} is a callable')
    if CLIENT_NAME in target.hosts():
        yield Problem((*path, "addresses"), 'is "all", but host is the name that a client asks for')


def _beside_srv(target: Target, path: KeyPath) -> Iterator[Problem]:
    for name, why in _OF_RECORDS.items():
        if name in target.model_fields_set:
            yield Problem((*path, name), f"has no meaning beside srv: {why}")
