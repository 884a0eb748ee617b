"""The answers of the proxy itself, where there is none of a target: short, and nothing internal in them.

A client whose ``Accept`` asks for JSON gets ``{"error": "Bad Gateway"}``, any other one the page that the configuration has for
the status, or a line of text. None may be kept by a cache: 404, 405, 414 and 501 may be otherwise (RFC 9110, 15.1), and the next
request may be answered by a target.
"""

from __future__ import annotations

import json
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from smartproxy.errors import DialFailed, Misdirected, NotTls
from smartproxy.http.accept import wants_json
from smartproxy.http.date_field import date
from smartproxy.model.outcome import RejectReason
from smartproxy.wire import http_head, http_response
from smartproxy.wire.http_framing import OTHER_CODING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from smartproxy.errors import Refused
    from smartproxy.model.plan import ErrorPage
    from smartproxy.wire.verdict import Malformed

#: The pages of a configuration without any.
NO_PAGES: Final[Mapping[int, ErrorPage]] = MappingProxyType({})

_STATUS: Final = {
    RejectReason.NO_ROUTE: 404,
    RejectReason.IP_BLOCKED: 403,
    RejectReason.IP_NOT_ALLOWED: 403,
    RejectReason.UPSTREAM_REFUSED: 502,
    RejectReason.UPSTREAM_UNREACHABLE: 502,
    RejectReason.UPSTREAM_TIMEOUT: 504,
}
_UNAVAILABLE: Final = 503
_BAD_REQUEST: Final = 400
_MISDIRECTED: Final = 421
_BAD_GATEWAY: Final = 502
_NOT_IMPLEMENTED: Final = 501
#: What follows is, or may be, no request: the head was not read whole.
_ENDS: Final = frozenset({400, 408, 414, 431, 501, 505})
#: Statuses whose phrase does not help.
_TEXTS: Final = {_MISDIRECTED: "This connection is for another host."}
#: For an answer without fields of its own.
NO_FIELDS: Final[Mapping[str, str]] = MappingProxyType({})
#: Fields of some answers. 405 must have Allow (RFC 9110, 15.5.6); it is the answer to CONNECT. What a 503 is for, a limit that
#: is reached or a drain, may be over in a second.
_FIELDS: Final[dict[int, dict[str, str]]] = {
    405: {"Allow": "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"},
    _UNAVAILABLE: {"Retry-After": "1"},
}


def status_of(refused: Refused) -> int:
    """The status of the answer to a request that is refused."""
    if isinstance(refused, Misdirected):
        return _MISDIRECTED
    if isinstance(refused, NotTls):
        return _BAD_REQUEST
    if isinstance(refused, DialFailed) and refused.reason is RejectReason.TLS_ERROR:
        return _BAD_GATEWAY  # it was the target's TLS, not the client's
    return status_for(refused.reason)


def status_for(reason: RejectReason) -> int:
    """The status of the answer to a client that is refused for ``reason``."""
    return _STATUS.get(reason, _UNAVAILABLE)


def status_of_malformed(why: Malformed) -> int:
    """The status of the answer to a head, or a framing, that was refused."""
    return _NOT_IMPLEMENTED if why is OTHER_CODING else http_head.status_of(why)


def may_go_on(status: int, method: str) -> bool:
    """Whether further requests may follow an answer of the proxy with this ``status``, if the request was read whole.

    What follows CONNECT may be meant for a tunnel.
    """
    return status not in _ENDS and method != "CONNECT"


def error_answer(
    status: int,
    accept: Iterable[str] = (),
    pages: Mapping[int, ErrorPage] = NO_PAGES,
    fields: Mapping[str, str] = NO_FIELDS,
    *,
    text: str = "",
    connection: str = "close",
    to_head: bool = False,
) -> bytes:
    """A whole answer.

    :param accept: values of the request's ``Accept``.
    :param pages: those of the request's route, by status.
    :param fields: of this answer, in place of those that its status has.
    :param text: what is wrong, in words; nothing internal. Without it, the phrase of the status is.
    :param connection: ``close``, ``keep-alive`` (to a client of HTTP/1.0), or empty where the connection persists.
    :param to_head: the request was HEAD: there is no body.
    """
    text = text or _TEXTS.get(status) or http_response.phrase(status)
    page = pages.get(status)
    if wants_json(accept):
        content_type, body = "application/json", f"{json.dumps({'error': text})}\n".encode()
    elif page is not None:
        content_type, body = page.content_type, page.content
    else:
        content_type, body = http_response.PLAIN_TEXT["Content-Type"], f"{text}\n".encode()
    usual = {"Date": date(), "Content-Type": content_type, "Cache-Control": "no-store"}
    every = usual | _FIELDS.get(status, {}) | dict(fields)
    return http_response.build(status, body, every, connection=connection, to_head=to_head)
