"""Names to addresses: both families, without blocking, and the last good answer when there is no new one.

A name is asked for again when its answer is older than :data:`FRESH`, so that a change in the DNS is seen
without a restart; connections that want it meanwhile share one question. When the answer is a failure, the
last good one is used on, however old: a backend that was there is a better guess than a refusal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import (
    IHostResolution,
    IReactorPluggableNameResolver,
    IReactorTime,
    IResolutionReceiver,
)
from twisted.logger import Logger
from zope.interface import implementer

from smartproxy.errors import DialFailed
from smartproxy.model.outcome import RejectReason
from smartproxy.upstream.interfaces import IResolver
from smartproxy.wire.host import unmapped

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Seconds that an answer is used without asking again. getaddrinfo does not tell a record's own TTL.
FRESH = 10.0
#: Seconds that an answer may take. The system's own limit may be as long as 5 s a server and try.
PATIENCE = 10.0
#: Names kept. Hosts of the configuration are few; those that a callable makes up are not.
_MOST = 1000

log = Logger()


def interleaved(addresses: Sequence[str]) -> list[str]:
    """One of each family in turn, beginning with the resolver's first choice (RFC 8305, section 4)."""
    first = [host for host in addresses if (":" in host) == (":" in addresses[0])]
    second = [host for host in addresses if host not in first]
    mixed = [host for pair in zip(first, second, strict=False) for host in pair]
    shorter = min(len(first), len(second))
    return mixed + first[shorter:] + second[shorter:]


@implementer(IResolutionReceiver)
class _Lookup:
    """One name, asked of the reactor's resolver."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.answer: Deferred[list[str]] = Deferred()
        self._found: list[str] = []

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
        """Asked."""

    def addressResolved(self, address: Any) -> None:
        """One address; there may be more."""
        if isinstance(address, IPv4Address | IPv6Address):
            host = unmapped(address.host)
            if host not in self._found:
                self._found.append(host)

    def resolutionComplete(self) -> None:
        """That was all."""
        if not self.answer.called:
            self.answer.callback(self._found)


class _Known:
    """What is known of a name."""

    __slots__ = ("addresses", "asked_at", "asking", "waiting")

    def __init__(self) -> None:
        self.addresses: list[str] = []
        self.asked_at = float("-inf")
        self.asking = False
        self.waiting: list[Deferred[Sequence[str]]] = []


@implementer(IResolver)
class Resolver:
    """Asks the reactor's name resolver, and remembers.

    :param clock: monotonic.
    """

    def __init__(self, reactor: IReactorPluggableNameResolver, clock: IReactorTime) -> None:
        self._reactor = reactor
        self._clock = clock
        self._known: dict[str, _Known] = {}

    def resolve(self, name: str) -> Deferred[Sequence[str]]:
        """See :class:`~smartproxy.upstream.interfaces.IResolver`.

        Nobody waits for a name that is known: a stale answer is given out while a new one is fetched.
        """
        known = self._known.get(name)
        if known is None:
            self._make_room()
            known = self._known[name] = _Known()
        if self._clock.seconds() - known.asked_at >= FRESH and not known.asking:
            self._ask(name, known)
        if known.addresses:
            return succeed(list(known.addresses))
        if not known.asking:
            return _unknown(name)
        waiting: Deferred[Sequence[str]] = Deferred(known.waiting.remove)
        known.waiting.append(waiting)
        return waiting

    def _ask(self, name: str, known: _Known) -> None:
        known.asking = True
        known.asked_at = self._clock.seconds()
        question = _Lookup(name)
        question.answer.addTimeout(PATIENCE, self._clock)
        question.answer.addErrback(lambda _: [])
        question.answer.addCallback(self._answered, name, known)
        question.answer.addErrback(lambda why: log.failure("resolving failed", failure=why))
        try:
            self._reactor.nameResolver.resolveHostName(question, name)
        except ValueError:  # no name at all (IDNA); a callable may make one up
            question.resolutionComplete()

    def _answered(self, found: list[str], name: str, known: _Known) -> None:
        known.asking = False
        if found:
            known.addresses = interleaved(found)
        else:
            known.asked_at = float("-inf") if not known.addresses else known.asked_at
            log.warn(
                "{name} has no address now; {use}",
                name=name,
                use=f"using the last known, {known.addresses}"
                if known.addresses
                else "nothing is known of it",
            )
        waiting, known.waiting = known.waiting, []
        for one in waiting:
            if known.addresses:
                one.callback(list(known.addresses))
            else:
                one.errback(_no_address(name))

    def _make_room(self) -> None:
        """Forget the name that was added first: a dict is in the order of adding."""
        if len(self._known) >= _MOST:
            oldest = next((name for name, known in self._known.items() if not known.asking), None)
            if oldest is not None:
                del self._known[oldest]


def _no_address(name: str) -> DialFailed:
    return DialFailed(RejectReason.UPSTREAM_UNREACHABLE, f"{name} has no address")


def _unknown(name: str) -> Deferred[Sequence[str]]:
    failed: Deferred[Sequence[str]] = Deferred()
    failed.errback(_no_address(name))
    return failed
