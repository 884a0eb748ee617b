"""The heads that are sent on: what concerns one connection only is removed, and what the proxy knows is added.

Removed first, added last (CVE-2024-45410): a client that lists ``X-Forwarded-For`` in ``Connection`` must not remove ours.

From a peer in ``proxyIPs`` the lists (X-Forwarded-For, Forwarded) are appended to, and single values are kept. From anyone
else all of them are replaced, as anybody can send them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from smartproxy.wire.http_fields import Fields, line, tokens

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smartproxy.model.facts import Detected
    from smartproxy.wire.http_head import RequestHead

#: RFC 9110, 7.6.1: fields of one connection. ``TE`` and ``Trailer`` are about the framing of this hop's chunks.
_HOP_BY_HOP: Final = frozenset(
    {
        b"connection", b"keep-alive", b"proxy-connection", b"te", b"transfer-encoding", b"upgrade", b"content-length",
    }
)  # fmt: skip
#: Set by some servers' environment of a CGI program from ``Proxy:`` (httpoxy, CVE-2016-5385): no client needs to send it.
_DROPPED: Final = frozenset({b"proxy"})
#: Fields that ``Connection`` may list without effect: the message depends on them.
_NEVER_LISTED: Final = frozenset({b"host", b"content-type", b"expect", b"authorization", b"cookie"})
#: Fields that say who the client is. Nobody's are passed on as they came: a target may take them for ours.
ADDRESSES: Final = frozenset(
    {
        b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-forwarded-port", b"x-forwarded-prefix",
        b"x-forwarded-server", b"x-real-ip", b"forwarded",
    }
)  # fmt: skip


def end_to_end(fields: Fields, also: frozenset[bytes] = frozenset()) -> bytes:
    """The lines of ``fields`` that concern both ends, without those named ``also``."""
    listed = {token.encode("latin-1") for token in tokens(fields.noted("connection"))}
    return fields.without(_HOP_BY_HOP | _DROPPED | also | (listed - _NEVER_LISTED))


def passed_trailers(trailers: Fields) -> bytes:
    """The lines of ``trailers`` that are passed on: none that frames or routes a message, or says who the client is.

    A recipient may merge trailers into the head (RFC 9110, 6.5.1), where they would have effects that were checked before.
    """
    if not trailers.block:
        return b""
    return trailers.without(_HOP_BY_HOP | _DROPPED | ADDRESSES | _NEVER_LISTED)


def forwarded_lines(detected: Detected, head: RequestHead, *, trusted: bool) -> bytes:
    """The fields by which a target learns who the client is.

    :param trusted: whether the client is a proxy whose own fields are believed.
    """
    return b"".join(line(name, value) for name, value in _forwarded(detected, head, trusted=trusted))


def _forwarded(detected: Detected, head: RequestHead, *, trusted: bool) -> Iterator[tuple[str, str]]:
    client, port = detected.announced.client.host, str(detected.port)
    scheme = "https" if detected.secured is not None else "http"
    sent = dict(_sent(head.fields)) if trusted else {}
    yield "X-Forwarded-For", _appended(sent.get("x-forwarded-for"), client)
    yield "X-Forwarded-Proto", sent.get("x-forwarded-proto", scheme)
    host = "".join(head.fields.noted("host"))
    if host or "x-forwarded-host" in sent:
        yield "X-Forwarded-Host", sent.get("x-forwarded-host", host)
    yield "X-Forwarded-Port", sent.get("x-forwarded-port", port)
    yield "X-Real-IP", sent.get("x-real-ip", client)
    yield "Forwarded", _appended(sent.get("forwarded"), _element(client, scheme, host))


def _sent(fields: Fields) -> Iterator[tuple[str, str]]:
    """The fields of a trusted proxy, each with all of its lines."""
    found: dict[str, list[str]] = {}
    for name, value in fields.pairs():
        if name.encode("ascii") in ADDRESSES:
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


def request_target(head: RequestHead) -> str:
    """The target in origin form (RFC 9112, 3.2.1), which every server takes."""
    if head.target.startswith("/") or head.target == "*":
        return head.target
    _, mark, query = head.target.partition("?")
    return f"{head.path}{mark}{query}"
