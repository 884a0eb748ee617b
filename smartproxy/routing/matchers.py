"""What one route asks of a connection, as a list of conditions that are met or not.

A condition is a value with a question in it, so that the path asks it and ``explain`` also says what
it wanted and what it saw. There is no second way to match: both read the same list.

The port and the address of the listener are not among them: :class:`~smartproxy.routing.table.RouteTable`
has an index for each listener, and a route is in it or not (:func:`ports_of`, :func:`is_heard_on`).

What the protocol names mean: ``tls`` is a ClientHello, ``http`` a request in plain text, and ``tcp`` is bytes that
are neither; of a route that ends TLS, ``http`` and ``tcp`` are what is inside. A route that takes whatever comes leaves ``protocol`` out; only then can its backend speak
first, because to know that something is *not* TLS the proxy has to see it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from smartproxy.model.facts import ApplicationProtocol
from smartproxy.routing import domains, paths

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator

    from smartproxy.model.facts import Detected
    from smartproxy.model.plan import MatchPlan

#: To be compared: the greater one is the more specific match. See :func:`specificity`.
Specificity: TypeAlias = tuple[tuple[int, int], tuple[int, int], bool, int, bool, bool, bool]

_TOLD_APART = (ApplicationProtocol.TLS, ApplicationProtocol.HTTP)


@dataclass(frozen=True, slots=True)
class Condition:
    """One thing that a route asks.

    :ivar subject: what it is about, :ivar wanted: what it asks for; both for people.
    :ivar is_met: the question. :ivar seen: what the connection has instead; escaped, ``none`` for nothing.
    :ivar inside: whether a route that ends TLS asks it of what is inside, which a ClientHello does not tell.
    """

    subject: str
    wanted: str
    is_met: Callable[[Detected], bool]
    seen: Callable[[Detected], str]
    inside: bool = False


def conditions_of(match: MatchPlan) -> tuple[Condition, ...]:
    """What ``match`` asks of a connection on one of its listeners; nothing for what it leaves out.

    :raises ValueError: where a domain pattern is none.
    """
    return tuple(_conditions(match))


def patterns_of(match: MatchPlan) -> tuple[str, ...]:
    """The domain patterns of a route, normalised, each once.

    :raises ValueError: where one is none.
    """
    return tuple(dict.fromkeys(domains.normalise_pattern(pattern) for pattern in match.domains))


def ports_of(match: MatchPlan) -> Iterator[int]:
    """The ports on which a route listens; one twice where its ranges overlap."""
    for ports in match.ports:
        yield from ports


def is_heard_on(match: MatchPlan, address: str) -> bool:
    """Whether a route sees what came in on this address's listener: a route without an address sees all."""
    return match.address in ("", address)


def specificity(match: MatchPlan, pattern: str | None) -> Specificity:
    """How specific a match is, where ``pattern`` is the one of the route's domains that was met.

    In this order, the first difference decides:

    1. the domain: an exact name, then a wildcard, the longer the better, then ``*``, then none;
    2. the path: an exact one, then a pattern, the one with more literal characters first, then none;
    3. a client address is asked for; 4. the number of headers; 5. methods are; 6. a protocol is;
    7. the route is bound to an address.
    """
    return (
        domains.specificity(pattern),
        paths.specificity(match.path),
        match.client_ip is not None,
        len(match.headers),
        bool(match.methods),
        match.protocol is not None,
        bool(match.address),
    )


def _conditions(match: MatchPlan) -> Iterator[Condition]:
    if match.client_ip is not None:
        yield _client_ip(match.client_ip)
    if match.protocol is not None:
        yield _protocol(match.protocol)
    if match.domains:
        yield _domain(patterns_of(match))
    if match.path is not None:
        yield _path(match.path)
    if match.methods:
        yield _method(match.methods)
    for name, value in match.headers:
        yield _header(name, value)


def _client_ip(addresses: Container[str]) -> Condition:
    return Condition(
        subject="client address",
        wanted=str(addresses),
        is_met=lambda facts: facts.announced.client.host in addresses,
        seen=lambda facts: _shown(facts.client_ip),
    )


def _protocol(protocol: str) -> Condition:
    return Condition(
        subject="protocol",
        wanted=protocol,
        is_met=lambda facts: _spoken(facts) == protocol or (protocol == "tls" and facts.secured is not None),
        seen=_spoken,
        inside=protocol != "tls",
    )


def _spoken(facts: Detected) -> str:
    """The configuration's word for what the client speaks."""
    return facts.protocol.value if facts.protocol in _TOLD_APART else "tcp"


def _domain(patterns: tuple[str, ...]) -> Condition:
    names = domains.DomainSet(patterns)
    return Condition(
        subject="domain",
        wanted=_listed(patterns),
        is_met=lambda facts: names.best(facts.domain) is not None,
        seen=lambda facts: _shown(facts.domain),
    )


def _path(pattern: str) -> Condition:
    fits = paths.matcher(pattern)
    return Condition(
        subject="path",
        wanted=pattern,
        is_met=lambda facts: facts.request is not None and fits(facts.request.path),
        seen=lambda facts: _shown(facts.request and facts.request.path),
        inside=True,
    )


def _method(methods: frozenset[str]) -> Condition:
    return Condition(
        subject="method",
        wanted=_listed(sorted(methods)),
        is_met=lambda facts: facts.request is not None and facts.request.method in methods,
        seen=lambda facts: _shown(facts.request and facts.request.method),
        inside=True,
    )


def _header(name: str, value: str) -> Condition:
    lower = name.lower()
    return Condition(
        subject=f"header {name}",
        wanted=value,
        is_met=lambda facts: value in _values(facts, lower),
        seen=lambda facts: _listed([_shown(found) for found in _values(facts, lower)]) or _shown(None),
        inside=True,
    )


def _values(facts: Detected, lower: str) -> list[str]:
    """The values of every field of that name: a condition asks whether one of them is the wanted one.

    A :class:`~smartproxy.wire.http_head.RequestHead` has its names in lower case.
    """
    if facts.request is None:
        return []
    return [value for name, value in facts.request.headers if name == lower]


def _listed(values: list[str] | tuple[str, ...]) -> str:
    few = 5
    more = f" and {len(values) - few} more" if len(values) > few else ""
    return " or ".join(values[:few]) + more


def _shown(value: str | None) -> str:
    """What a client sent, on one line."""
    return ascii(value)[1:-1] if value else "none"
