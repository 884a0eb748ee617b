"""What ``smartproxy check`` says of automatic certificates: where they are ordered, how many, and what the authority needs.

::

    acme: certificates are ordered at letsencrypt (https://acme-v02...); its use means agreement with its terms: https://...
    acme: 2 certificates for 5 names, stored in /etc/smartproxy/acme
    acme: http-01: port 80 of each name must reach this proxy
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from smartproxy.acme.shown import automatic_entries
from smartproxy.model.plan import ChallengeType
from smartproxy.settings.tables.acme import DIRECTORIES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smartproxy.model.plan import AcmePlan, ProxyPlan

#: Where the authority connects to (RFC 8555, section 8.3; RFC 8737, section 3).
_PORTS = {ChallengeType.HTTP_01: 80, ChallengeType.TLS_ALPN_01: 443}


def acme_lines(plan: ProxyPlan, directory: str) -> Iterator[str]:
    """The lines about the automatic certificates of ``plan``; none where it has none.

    :param directory: as it is written in the configuration.
    """
    acme = plan.acme
    if acme is not None:
        yield from (f"acme: {line}" for line in _lines(plan, acme, directory))


def _lines(plan: ProxyPlan, acme: AcmePlan, directory: str) -> Iterator[str]:
    yield from _directory(acme, directory)
    certificates = set(automatic_entries(plan))
    names = {name for one in certificates for name in one.names}
    yield f"{_counted(len(certificates), 'certificate')} for {_counted(len(names), 'name')}, stored in {acme.store}"
    if acme.on_demand is not None:
        asked = acme.on_demand.ask if isinstance(acme.on_demand.ask, str) else "a callable"
        yield (
            f"more are ordered on demand, each after {asked} approves its name, at most "
            f"{acme.on_demand.max_per_hour} in an hour"
        )
    for number, challenge in enumerate(acme.challenges):
        when = _when(challenge) if number else ""
        yield f"{challenge.value}{when}: {_needed(acme, challenge)}"
    wildcards = sorted(name for name in names if name.startswith("*"))
    if wildcards:
        yield f"wildcards are proven by dns-01 only: {', '.join(wildcards)}"
    if acme.email is None:
        yield "without acme.email the authority cannot send warnings, as of a certificate that it will revoke"


def _directory(acme: AcmePlan, directory: str) -> Iterator[str]:
    known = DIRECTORIES.get(directory)
    place = acme.directory if known is None else f"{directory} ({acme.directory})"
    terms = " of service" if known is None else f": {known.terms}"
    yield f"certificates are ordered at {place}; its use means agreement with its terms{terms}"
    if directory == "letsencrypt-staging":
        yield "letsencrypt-staging is for trials: clients do not trust its certificates"


def _when(challenge: ChallengeType) -> str:
    """When another challenge than the preferred one is used."""
    wildcards = "for wildcards, and " if challenge is ChallengeType.DNS_01 else ""
    return f", {wildcards}where the one before fails"


def _needed(acme: AcmePlan, challenge: ChallengeType) -> str:
    """What the authority needs for ``challenge``."""
    if challenge is ChallengeType.DNS_01:
        how = acme.dns if isinstance(acme.dns, str) else "a callable"
        return f"no port must be reachable; {how} changes TXT records"
    public = _PORTS[challenge]
    if challenge is ChallengeType.TLS_ALPN_01:
        return f"port {public} of each name must reach the TLS port of its route"
    here = "this proxy" if acme.http_port == public else f"port {acme.http_port} of this proxy"
    listens = ", which listens on it without a route" if acme.listens else ""
    return f"port {public} of each name must reach {here}{listens}"


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
