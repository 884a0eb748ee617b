"""The heads that are sent on: what concerns one connection only is removed, and what the proxy knows is added.

Removed first, added last (CVE-2024-45410): a client that lists ``X-Forwarded-For`` in ``Connection`` must not remove ours.

From a peer in ``proxyIPs`` the lists (X-Forwarded-For, Forwarded) are appended to, single values are kept, and fields that this
proxy does not write are passed on. From anyone else all of them are removed, as anybody can send them.
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import starmap
from typing import TYPE_CHECKING, Final

from smartproxy.wire.http_fields import FieldRemoval, Fields, line, tokens

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from smartproxy.model.facts import Detected
    from smartproxy.wire.http_head import RequestHead

#: RFC 9110, 7.6.1: fields of one connection. ``TE`` is about the framing of this hop. ``Proxy`` is no field of HTTP: some servers
#: make an environment variable of it that programs take for their proxy (httpoxy, CVE-2016-5385).
_OF_ONE_HOP: Final = (
    rb"connection|keep-alive|proxy-connection|te|transfer-encoding|upgrade|content-length|proxy"
)
#: Fields that say who the client is. Nobody's are passed on as they came: a target may take them for ours. Servers that make
#: variables of fields cannot tell ``X_Forwarded_For`` from ``X-Forwarded-For``. ``Fields.noted`` has all of them.
_OF_THE_CLIENT: Final = rb"x[-_.]forwarded[-_.][^:\n]*+|x[-_.]real[-_.]ip|forwarded"
#: The fields ``X-Forwarded-*`` that are passed on for a trusted proxy: not those that are written anew, nor Prefix and Server.
_OF_A_PROXY: Final = re.compile(
    rb"\nx[-_.]forwarded[-_.](?!(?:for|proto|host|port|prefix|server):)[^:\n]*+:[^\n]*+", re.IGNORECASE
)
#: Fields of :mod:`~smartproxy.http.tracing`, which are written anew.
_OF_TRACES: Final = rb"x[-_.]request[-_.]id|traceparent|tracestate"
#: What frames or routes a message: without effect where ``Connection`` lists it, and no trailer.
_OF_THE_MESSAGE: Final = frozenset({b"host", b"content-type", b"expect", b"authorization", b"cookie"})
#: Tokens of ``Connection`` that name no field to remove, beside those of :data:`_OF_ONE_HOP`.
_COMMON: Final = frozenset({"close", "keep-alive", "upgrade"})


_without_hop: Final = FieldRemoval(_OF_ONE_HOP)
without_connection: Final = FieldRemoval(b"connection")
without_expect: Final = FieldRemoval(b"expect")
_without_client: Final = FieldRemoval(b"|".join((_OF_ONE_HOP, _OF_THE_CLIENT, _OF_TRACES)))
_without_claims: Final = FieldRemoval(_OF_THE_CLIENT + rb"|proxy")
_as_trailers: Final = FieldRemoval(
    b"|".join((_OF_ONE_HOP, _OF_THE_CLIENT, _OF_TRACES, *sorted(_OF_THE_MESSAGE)))
)


def end_to_end(fields: Fields, *, of_client: bool = True) -> bytes:
    """The lines of ``fields`` that concern both ends.

    :param of_client: whether those that say who the client is, and those of traces, are kept.
    """
    return _without_listed((_without_hop if of_client else _without_client)(fields.block), fields)


def believed(fields: Fields, *, trusted: bool) -> Fields:
    """The fields of a request for a program of this process: of a stranger's none that says who the client is.

    An application takes them for those of the proxy that it is behind, as it does where it is a target.

    :param trusted: whether the client is a proxy whose own fields are believed.
    """
    return fields if trusted else Fields(_without_claims(fields.block))


def proxy_lines(fields: Fields) -> bytes:
    """The lines of ``fields`` that are sent on only where the client is a trusted proxy, as they are."""
    found = _OF_A_PROXY.findall(b"\n" + fields.block)
    return _without_listed(b"".join(found)[1:] + b"\n", fields) if found else b""


def _without_listed(block: bytes, fields: Fields) -> bytes:
    """``block`` without the lines that ``Connection`` lists in ``fields``."""
    listed = set(tokens(fields.noted("connection"))) - _COMMON
    if not listed:
        return block
    return Fields(block).without({token.encode("latin-1") for token in listed} - _OF_THE_MESSAGE)


def passed_trailers(trailers: Fields | None) -> bytes:
    """The lines of ``trailers`` that are passed on: none that frames or routes a message, or says who the client is.

    A recipient may merge trailers into the head (RFC 9110, 6.5.1), where they would have effects that were checked before.
    """
    return _as_trailers(trailers.block) if trailers else b""


def forwarded_lines(detected: Detected, head: RequestHead, *, trusted: bool) -> bytes:
    """The fields by which a target learns who the client is.

    :param trusted: whether the client is a proxy whose own fields are believed.
    """
    announced, host = detected.announced, requested_host(head)
    scheme = "https" if detected.secured is not None else "http"
    if trusted:
        sent = dict(_sent(head.fields))
        return b"".join(starmap(line, _forwarded(announced.client.host, detected.port, scheme, host, sent)))
    return _strangers_lines(announced.client.host, detected.port, scheme, host)


@lru_cache(maxsize=1024)
def _strangers_lines(client: str, port: int, scheme: str, host: str) -> bytes:
    """The same for the next request of a client: remembered, because to write them costs as much as to parse a head."""
    return b"".join(starmap(line, _forwarded(client, port, scheme, host, {})))


def _forwarded(
    client: str, port: int, scheme: str, host: str, sent: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    """Names and values.

    :param sent: what a trusted proxy has sent, by name.
    """
    yield "X-Forwarded-For", _appended(sent.get("x-forwarded-for"), client)
    yield "X-Forwarded-Proto", sent.get("x-forwarded-proto", scheme)
    if host or "x-forwarded-host" in sent:
        yield "X-Forwarded-Host", sent.get("x-forwarded-host", host)
    yield "X-Forwarded-Port", sent.get("x-forwarded-port", str(port))
    yield "X-Real-IP", sent.get("x-real-ip", client)
    yield "Forwarded", _appended(sent.get("forwarded"), _element(client, scheme, host))


def _sent(fields: Fields) -> Iterator[tuple[str, str]]:
    """The fields of a trusted proxy, each with all of its lines."""
    found: dict[str, list[str]] = {}
    for name, value in fields.pairs():
        if name.startswith("x-forwarded-") or name in {"x-real-ip", "forwarded"}:
            found.setdefault(name, []).append(value)
    for name, values in found.items():
        yield name, ", ".join(values)


def _appended(list_of: str | None, last: str) -> str:
    return f"{list_of}, {last}" if list_of else last


def _element(client: str, scheme: str, host: str) -> str:
    """RFC 7239, 4 and 6: an IPv6 address is in brackets, and quoted as the host is."""
    node = f'"[{client}]"' if ":" in client else client
    named = f';host="{host}"' if host else ""
    return f"for={node};proto={scheme}{named}"


def requested_host(head: RequestHead) -> str:
    """The value of ``Host``; without one that of a target in absolute form (RFC 9112, 3.2.2); empty where neither names a host."""
    sent = head.fields.noted("host")
    if sent or head.host is None:
        return "".join(sent)
    return head.target.partition("://")[2].partition("?")[0].partition("/")[0]


def request_target(head: RequestHead) -> str:
    """The target in origin form (RFC 9112, 3.2.1), which every server takes."""
    if head.target.startswith("/") or head.target == "*":
        return head.target
    _, mark, query = head.target.partition("?")
    return f"{head.path}{mark}{query}"
