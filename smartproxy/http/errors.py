"""The answers of the proxy itself, where there is none of a target: short, and nothing internal in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smartproxy.errors import Misdirected
from smartproxy.model.outcome import RejectReason
from smartproxy.wire import http_head, http_response
from smartproxy.wire.http_framing import OTHER_CODING

if TYPE_CHECKING:
    from smartproxy.errors import Refused
    from smartproxy.wire.verdict import Malformed

_STATUS = {
    RejectReason.NO_ROUTE: 404,
    RejectReason.IP_BLOCKED: 403,
    RejectReason.IP_NOT_ALLOWED: 403,
    RejectReason.UPSTREAM_REFUSED: 502,
    RejectReason.UPSTREAM_UNREACHABLE: 502,
    RejectReason.TLS_ERROR: 502,
    RejectReason.UPSTREAM_TIMEOUT: 504,
}
_UNAVAILABLE = 503
_MISDIRECTED = 421


def status_of(refused: Refused) -> int:
    """The status of the answer to a request that is refused."""
    return _MISDIRECTED if isinstance(refused, Misdirected) else _STATUS.get(refused.reason, _UNAVAILABLE)


def answer_to_malformed(why: Malformed) -> bytes:
    """The whole answer to a head, or a framing, that was refused."""
    if why is OTHER_CODING:
        return http_response.build_text(501, f"{why.why}\n")
    return http_head.build_refusal(why)
