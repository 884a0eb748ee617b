"""The ids by which logs of several servers are brought together: ``X-Request-Id`` and ``traceparent``; and ``Via``.

A request has an id of 32 hexadecimal digits: it is ``requestId`` in the access log, ``{id}`` in templates, and is sent to the
target in ``X-Request-Id``. One that a proxy in ``proxyIPs`` has sent is kept. What anyone else has sent is replaced: an id of the
client's choice could be that of another client's request in the logs.

``traceparent`` (W3C Trace Context) is passed on unchanged where it is valid, whoever has sent it: no decision depends on it.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from smartproxy.model.exchange import Exchange

#: Printable ASCII without what separates fields in logs. The limit is that of other proxies and log pipelines, with room.
_PASSED: Final = re.compile(r"[A-Za-z0-9._~:/+=@-]{1,200}")
_DIGITS: Final = 32
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
