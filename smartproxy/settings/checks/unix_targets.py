"""Problems of targets that are unix sockets."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from smartproxy.settings.checks.problems import Problem, got
from smartproxy.settings.compile.tls import towards
from smartproxy.settings.tables.balancing import HealthCheck
from smartproxy.settings.tables.tls import UpstreamTls

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smartproxy.settings.compile.references import References
    from smartproxy.settings.reading.locations import KeyPath
    from smartproxy.settings.tables.route import Action, Target

#: Bytes of a path. ``sun_path`` of unix(7) has 108, the last of which is the zero byte that ends a path.
LONGEST: Final = 107


def problems(target: Target, path: KeyPath, references: References) -> Iterator[Problem]:
    """What is wrong with a target that has ``unix``."""
    if target.unix is None:
        return
    for name in ("host", "port", "bind"):
        if getattr(target, name) is not None:
            yield Problem((*path, name), "has no meaning beside unix")
    if "addresses" in target.model_fields_set:
        yield Problem((*path, "addresses"), "has no meaning beside unix")
    if isinstance(target.health_check, HealthCheck) and target.health_check.port is not None:
        yield Problem((*path, "healthCheck", "port"), "has no meaning beside unix")
    size = len(os.fsencode(references.socket_of(target.unix).path))
    if size > LONGEST:
        message = f"is {size} bytes long as an absolute path; a unix socket has {LONGEST} at most"
        yield Problem((*path, "unix"), f"{message} {got(target.unix)}")
    yield from _server_name(target.tls, (*path, "tls"))


def reencrypted(action: Action, path: KeyPath) -> Iterator[Problem]:
    """What is wrong with unix sockets whose TLS is that of the route, ``terminate-and-reencrypt``."""
    for _, target in action.written_targets():
        if target.unix is not None and "tls" not in target.model_fields_set:
            written = towards(target, action.tls)
            yield from _server_name(written, (*path, "tls", "upstream"))


def _server_name(written: bool | UpstreamTls, path: KeyPath) -> Iterator[Problem]:
    if written is True or (isinstance(written, UpstreamTls) and written.verify and not written.server_name):
        yield Problem(
            (*path, "serverName"),
            "is required for a unix socket: nothing else says whom its certificate is for",
        )
