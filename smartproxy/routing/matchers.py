"""The conditions of one route: what its ``match`` requires of a connection.

A condition holds its predicate, and for ``explain`` also what it wants and how to show what the connection has. So
the control path and ``explain`` cannot disagree: both evaluate the same list.

The port and the address of the listener are not conditions: :class:`~smartproxy.routing.table.RouteTable` has an
index for each listener, which contains a route or does not (:func:`is_heard_on`).

The protocol names: ``tls`` is a ClientHello, ``http`` a plain-text request, and ``tcp`` bytes that are neither; on a
route that terminates TLS, ``http`` and ``tcp`` are the decrypted content. A route for any protocol leaves
``protocol`` out. Only then may its backend send first, because the proxy must see bytes of the client to know that
they are *not* TLS.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from smartproxy.model.facts import ApplicationProtocol
from smartproxy.routing import domains, paths, queries
from smartproxy.wire import proxy_tlv
from smartproxy.wire.host import host_name

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator, Mapping

    from smartproxy.model.facts import Detected
    from smartproxy.model.plan import MatchPlan, TlvMatch

#: Sort key: the greater one is the more specific match. See :func:`specificity`.
Specificity: TypeAlias = tuple[tuple[int, int], tuple[int, int], bool, int, bool, bool, bool, bool]

#: In place of a domain pattern: a TLS client that asks for no name.
NO_NAME: Final = ""

_TOLD_APART = (ApplicationProtocol.TLS, ApplicationProtocol.HTTP)


@dataclass(frozen=True, slots=True)
class Condition:
    """One requirement of a route.

    :ivar subject: the property of a connection, for ``explain``.
    :ivar wanted: the values that meet the condition, for ``explain``.
    :ivar is_met: the predicate.
    :ivar seen: the value that the connection has: escaped, on one line; ``none`` where it has none.
    :ivar is_early: whether it is about the client, and needs none of its first bytes.
    :ivar is_of_line: whether it is about host, path, method or protocol, or the server name, and nothing else.
    :ivar inside: whether a route that terminates TLS checks it on the decrypted content, and not on the ClientHello.
    """

    subject: str
    wanted: str
    is_met: Callable[[Detected], bool]
    seen: Callable[[Detected], str]
    inside: bool = False
    is_early: bool = False
    is_of_line: bool = False


def conditions_of(match: MatchPlan, *, fallback: bool = False) -> tuple[Condition, ...]:
    """The conditions of ``match``, for a connection on one of its listeners.

    :param fallback: those on which a fallback takes a client: TLS without SNI, in place of the domains.
    :raises ValueError: where a domain pattern is invalid.
    """
    return tuple(_conditions(match, fallback=fallback))


def patterns_of(match: MatchPlan) -> tuple[str, ...]:
    """The domain patterns of a route, normalised, without duplicates.

    :raises ValueError: where one is invalid.
    """
    return tuple(dict.fromkeys(domains.normalise_pattern(pattern) for pattern in match.domains))


def ranked_patterns(match: MatchPlan) -> tuple[str | None, ...]:
    """The ways in which a route can match a name; which of them it is decides how specific the match is.

    They are its domain patterns, or ``None`` for a route without domains, and :data:`NO_NAME` for a fallback.

    :raises ValueError: where a pattern is invalid.
    """
    patterns = patterns_of(match) or (None,)
    return (*patterns, NO_NAME) if match.fallback else patterns


def is_heard_on(match: MatchPlan, address: str) -> bool:
    """Whether a route gets connections of the listener on ``address``: one without an address gets those of all."""
    return "" in match.addresses or address in match.addresses


def specificity(match: MatchPlan, pattern: str | None) -> Specificity:
    """How specific a match is, where ``pattern`` is the one of the route's domains that matched.

    The first difference in this order decides:

    1. the domain: an exact name, then the longer wildcard, then ``*``, then a fallback that is given no name, then none;
    2. the path: an exact one, then the pattern with more literal characters, then none;
    3. whether there is a condition on the client address;
    4. the number of conditions on headers, on the query and on TLVs of the PROXY header;
    5. whether there is a condition on the method;
    6. whether there is a condition on the protocols that the client offers (ALPN);
    7. whether there is a condition on the protocol;
    8. whether the route is bound to an address.
    """
    return (
        domains.specificity(pattern),
        paths.specificity(match.path),
        match.client_ip is not None,
        len(match.headers) + len(match.query) + len(match.proxy_tlv),
        bool(match.methods),
        bool(match.alpn),
        match.protocol is not None,
        "" not in match.addresses,
    )


def _conditions(match: MatchPlan, *, fallback: bool) -> Iterator[Condition]:
    if match.client_ip is not None:
        yield _client_ip(match.client_ip)
    for tlv in match.proxy_tlv:
        yield _proxy_tlv(tlv)
    if match.protocol is not None:
        yield _protocol(match.protocol)
    if fallback:
        yield _no_name()
    elif match.domains:
        yield _domain(patterns_of(match))
    if match.alpn:
        yield _alpn(match.alpn)
    yield from _conditions_on_request(match)


def _conditions_on_request(match: MatchPlan) -> Iterator[Condition]:
    if match.path is not None:
        yield _path(match.path)
    if match.methods:
        yield _method(match.methods)
    for name, value in match.headers:
        yield _header(name, value)
    for name, value in match.query:
        yield _query(name, value)


def _client_ip(addresses: Container[str]) -> Condition:
    return Condition(
        subject="client address",
        wanted=str(addresses),
        is_met=lambda facts: facts.announced.client.host in addresses,
        seen=lambda facts: _shown(facts.client_ip),
        is_early=True,
    )


def _proxy_tlv(wanted: TlvMatch) -> Condition:
    names = domains.DomainSet(wanted.domains)

    def is_met(facts: Detected) -> bool:
        return any(
            value in wanted.values or names.best(host_name(value)) is not None
            for value in _tlv_values(facts, wanted.type)
        )

    return Condition(
        subject=f"PROXY TLV {proxy_tlv.name_of(wanted.type)}",
        wanted=_listed(wanted.domains or [proxy_tlv.text_of(value) for value in wanted.values]),
        is_met=is_met,
        seen=lambda facts: (
            _listed([proxy_tlv.text_of(value) for value in _tlv_values(facts, wanted.type)]) or _shown(None)
        ),
        is_early=True,
    )


def _tlv_values(facts: Detected, kind: int) -> list[bytes]:
    """The values of that type in the PROXY header of a trusted peer."""
    header = facts.announced.header
    return [] if header is None else [tlv.value for tlv in header.tlvs if tlv.type == kind]


def _protocol(protocol: str) -> Condition:
    return Condition(
        subject="protocol",
        wanted=protocol,
        is_met=lambda facts: _spoken(facts) == protocol or (protocol == "tls" and facts.secured is not None),
        seen=_spoken,
        inside=protocol != "tls",
        is_of_line=True,
    )


def _spoken(facts: Detected) -> str:
    """The client's protocol, as the configuration names it."""
    return facts.protocol.value if facts.protocol in _TOLD_APART else "tcp"


def _domain(patterns: tuple[str, ...]) -> Condition:
    names = domains.DomainSet(patterns)

    def is_met(facts: Detected) -> bool:
        if facts.local is not None:  # the client asks for no name, and an address is in no domain but itself
            return names.has(facts.local)
        return names.best(facts.domain) is not None

    return Condition(
        subject="domain",
        wanted=_listed(patterns),
        is_met=is_met,
        seen=lambda facts: _shown(facts.domain),
        is_of_line=True,
    )


def silence(seconds: float) -> Condition:
    """What a route requires of a client that has sent nothing: it takes it after ``seconds``; 0: it does not take it."""
    return Condition(
        subject="first bytes",
        wanted=f"none for {seconds:g} s" if seconds else "some",
        is_met=lambda facts: bool(seconds) and facts.silent,
        seen=lambda _: _shown(None),
        is_early=True,
    )


def _no_name() -> Condition:
    return Condition(
        subject="domain",
        wanted="TLS without SNI",
        is_met=lambda facts: facts.hello is not None and facts.hello.server_name is None,
        seen=lambda facts: _shown(facts.asked_name) if facts.hello is not None else "no TLS",
        is_of_line=True,
    )


def _alpn(protocols: frozenset[str]) -> Condition:
    return Condition(
        subject="ALPN",
        wanted=_listed(sorted(protocols)),
        is_met=lambda facts: facts.hello is not None and not protocols.isdisjoint(facts.hello.alpn),
        seen=lambda facts: (
            _listed([_shown(name) for name in facts.hello.alpn])
            if facts.hello and facts.hello.alpn
            else _shown(None)
        ),
    )


def _path(pattern: str) -> Condition:
    fits = paths.matcher(pattern)
    return Condition(
        subject="path",
        wanted=pattern,
        is_met=lambda facts: facts.request is not None and fits(facts.request.path),
        seen=lambda facts: _shown(facts.request and facts.request.path),
        inside=True,
        is_of_line=True,
    )


def _method(methods: frozenset[str]) -> Condition:
    return Condition(
        subject="method",
        wanted=_listed(sorted(methods)),
        is_met=lambda facts: facts.request is not None and facts.request.method in methods,
        seen=lambda facts: _shown(facts.request and facts.request.method),
        inside=True,
        is_of_line=True,
    )


def _header(name: str, value: str) -> Condition:
    lower = name.lower()
    # The bytes of a received value are read as Latin-1. Clients and configurations write other characters in UTF-8.
    received = value.encode("utf-8", "surrogateescape").decode("latin-1")
    return Condition(
        subject=f"header {name}",
        wanted=value,
        is_met=lambda facts: received in _values(facts, lower),
        seen=lambda facts: _listed([_shown(found) for found in _values(facts, lower)]) or _shown(None),
        inside=True,
    )


def _query(name: str, value: str) -> Condition:
    def is_met(facts: Detected) -> bool:
        values = _parameters(facts).get(name, ())
        return value in values or (value == queries.ANY_VALUE and bool(values))

    return Condition(
        subject=f"query {name}",
        wanted=value or '""',
        is_met=is_met,
        seen=lambda facts: (
            _listed([_shown(found) if found else '""' for found in _parameters(facts).get(name, ())])
            or _shown(None)
        ),
        inside=True,
    )


def _parameters(facts: Detected) -> Mapping[str, list[str]]:
    if facts.request is None:
        return {}
    return queries.parameters(facts.request.target.partition("?")[2])


def _values(facts: Detected, lower: str) -> list[str]:
    """The values of every field of that name. A condition is met where one of them is the wanted one.

    :param lower: in lower case, as the names of a :class:`~smartproxy.wire.http_head.RequestHead` are.
    """
    if facts.request is None:
        return []
    return [value for name, value in facts.request.headers if name == lower]


def _listed(values: list[str] | tuple[str, ...]) -> str:
    """The first few values, for one line."""
    few = 5
    more = f" and {len(values) - few} more" if len(values) > few else ""
    return " or ".join(values[:few]) + more


def _shown(value: str | None) -> str:
    """Text of a client, escaped to one line of ASCII."""
    return ascii(value)[1:-1] if value else "none"
