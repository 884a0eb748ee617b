"""Valid settings that look like mistakes: everything that ``smartproxy check`` warns about.

A warning must be right nearly always, because ``--strict`` makes it an error: what may well be meant is not one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from smartproxy.settings.checks import (
    acme,
    acme_names,
    address_lists,
    address_warnings,
    client_names,
    effect_warnings,
    fallbacks,
    group_warnings,
    http_rules,
    http_warnings,
    limit_warnings,
    match_warnings,
    name_coverage,
    proxy_protocol,
    target_warnings,
    timing_warnings,
    tls_warnings,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smartproxy.settings.checks.problems import Problem
    from smartproxy.settings.compile.references import References
    from smartproxy.settings.tables.root import Configuration


def warnings(settings: Configuration, references: References) -> Iterator[Problem]:
    """The warnings about ``settings``, which must be valid."""
    yield from proxy_protocol.warnings(settings)
    yield from fallbacks.warnings(settings)
    yield from timing_warnings.warnings(settings)
    yield from effect_warnings.warnings(settings)
    yield from address_warnings.warnings(settings)
    yield from address_lists.warnings(settings, references.addresses)
    yield from match_warnings.warnings(settings)
    yield from http_rules.warnings(settings)
    yield from http_warnings.warnings(settings)
    yield from target_warnings.warnings(settings)
    yield from group_warnings.warnings(settings)
    yield from client_names.warnings(settings)
    yield from limit_warnings.warnings(settings)
    yield from tls_warnings.warnings(settings, references.tls)
    yield from acme.warnings(settings)
    yield from acme_names.warnings(settings)
    yield from name_coverage.warnings(settings, references.tls)
