"""The ids by which logs of several servers are brought together: ``X-Request-Id`` and ``traceparent``; and ``Via``.

A request has an id of 32 hexadecimal digits: it is ``requestId`` in the access log, ``{id}`` in templates, and is sent to the
target in ``X-Request-Id``. One that a proxy in ``proxyIPs`` has sent is kept. What anyone else has sent is replaced: an id of the
client's choice could be that of another client's request in the logs.

``traceparent`` (W3C Trace Context) is passed on unchanged where it is valid, whoever has sent it: no decision depends on it. Else one
is made, and where the id was made too, it is the id of the trace. ``tracestate`` belongs to it, and is passed on with it only.

``Via`` (RFC 9110, 7.6.3) names the proxy and the version of HTTP by which it has received a message. A request that has passed
many proxies of this name goes round in a circle.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final

from smartproxy.wire.http_fields import line

if TYPE_CHECKING:
    from smartproxy.model.exchange import Exchange
    from smartproxy.wire.http_fields import Fields

#: Printable ASCII without what separates fields in logs. The limit is that of other proxies and log pipelines, with room.
_PASSED: Final = re.compile(r"[A-Za-z0-9._~:/+=@-]{1,200}")
_DIGITS: Final = 32
#: A version, the trace, its parent, and flags; what follows is of later versions (W3C Trace Context, 3.2 and 4).
_TRACE: Final = r"(?!0{32})[0-9a-f]{32}"
_IN_TRACE: Final = rf"{_TRACE}-(?!0{{16}})[0-9a-f]{{16}}-[0-9a-f]{{2}}"
_TRACEPARENT: Final = re.compile(rf"00-{_IN_TRACE}|(?!00|ff)[0-9a-f]{{2}}-{_IN_TRACE}(?:-[!-~]{{0,200}})?")
_MAY_BE_TRACE: Final = re.compile(_TRACE)
_PARENT_DIGITS: Final = 16
_NAME: Final = "smartproxy"
_VIA: Final = {version: b"Via: %d.%d smartproxy\r\n" % version for version in ((1, 0), (1, 1), (2, 0))}
#: So many proxies of this name are a circle: more than any chain of them has, and few enough to end it at once.
MOST_PASSED: Final = 16
_AT_ONCE: Final = 2048  # bytes of one system call: 128 ids


class RandomDigits:
    """Random hexadecimal digits from the system, many at once: a system call for each id would take 1 µs.

    A child process must not give the digits of its parent again, hence they are dropped at a fork.
    """

    __slots__ = ("_at", "_digits")

    def __init__(self) -> None:
        self.drop()
        os.register_at_fork(after_in_child=self.drop)

    def drop(self) -> None:
        """Forget those that were not given yet."""
        self._digits, self._at = "", 0

    def __call__(self, count: int = _DIGITS) -> str:
        """The next ``count`` digits."""
        at, end = self._at, self._at + count
        if end > len(self._digits):
            self._digits, at, end = os.urandom(_AT_ONCE).hex(), 0, count
        self._at = end
        return self._digits[at:end]


_random: Final = RandomDigits()


def id_of(exchange: Exchange) -> str:
    """The id of a request: made when it is asked for first."""
    return exchange.id or _identified(exchange)


def _identified(exchange: Exchange) -> str:
    sent = exchange.head.fields.noted("x-request-id") if exchange.is_trusted else []
    exchange.id = sent[0] if len(sent) == 1 and _PASSED.fullmatch(sent[0]) else _random()
    return exchange.id


def via(version: tuple[int, int]) -> bytes:
    """The field that is appended to a message of this version."""
    return _VIA[version]


def is_circling(fields: Fields) -> bool:
    """Whether a request has passed so many proxies of this name that it goes round in a circle."""
    passed = fields.noted("via")
    return bool(passed) and "".join(passed).count(_NAME) >= MOST_PASSED


def traced(exchange: Exchange) -> bytes:
    """The fields of a request by which it is found again in the logs of a target."""
    head = exchange.head
    if exchange.id or exchange.is_trusted or exchange.terms.is_traced:
        own = id_of(exchange)
        return b"%bX-Request-Id: %b\r\n%b" % (via(head.version), own.encode(), _trace(head.fields, own))
    digits = _random(_DIGITS + _PARENT_DIGITS)
    own = exchange.id = digits[:_DIGITS]
    lines = f"X-Request-Id: {own}\r\ntraceparent: 00-{own}-{digits[_DIGITS:]}-00\r\n"
    return _VIA[head.version] + lines.encode()


def _trace(fields: Fields, own: str) -> bytes:
    sent = fields.noted("traceparent")
    if len(sent) == 1 and _TRACEPARENT.fullmatch(sent[0]):
        states = [line("tracestate", state) for state in fields.noted("tracestate")]
        return b"".join([line("traceparent", sent[0]), *states])
    trace = own if _MAY_BE_TRACE.fullmatch(own) else _random()
    return f"traceparent: 00-{trace}-{_random(_PARENT_DIGITS)}-00\r\n".encode("ascii")
