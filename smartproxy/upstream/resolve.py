"""Name resolution: both address families, without blocking, and the last good answer when a new one fails.

A name is resolved again when its answer is older than :data:`FRESH`, so a change in the DNS is seen without a restart;
connections that need the name meanwhile share one query. When the query fails, the last good answer is kept, however
old: an address that worked is a better guess than a refusal.
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

#: Seconds for which an answer is used without a new query. getaddrinfo does not report a record's TTL.
FRESH = 10.0
#: Seconds that a query may take. The system's own limit may be 5 s for each server and try.
PATIENCE = 10.0
#: Names cached. Hosts of the configuration are few; those that callables return need not be.
_MOST = 1000

log = Logger()


def interleaved(addresses: Sequence[str]) -> list[str]:
    """Addresses of both families in turn, beginning with the resolver's first choice (RFC 8305, section 4)."""
    first = [host for host in addresses if (":" in host) == (":" in addresses[0])]
    second = [host for host in addresses if host not in first]
    mixed = [host for pair in zip(first, second, strict=False) for host in pair]
    shorter = min(len(first), len(second))
    return mixed + first[shorter:] + second[shorter:]


@implementer(IResolutionReceiver)
class _Lookup:
    """One query to the reactor's resolver."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.answer: Deferred[list[str]] = Deferred()
        self._found: list[str] = []

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
        """The query has started."""

    def addressResolved(self, address: Any) -> None:
        """Collect one address; more may follow."""
        if isinstance(address, IPv4Address | IPv6Address):
            host = unmapped(address.host)
            if host not in self._found:
                self._found.append(host)

    def resolutionComplete(self) -> None:
        """Fire with every address collected."""
        if not self.answer.called:
            self.answer.callback(self._found)


class _Known:
    """The last answer for a name, and who waits for the next one."""

    __slots__ = ("addresses", "asked_at", "asking", "waiting")

    def __init__(self) -> None:
        self.addresses: list[str] = []
        self.asked_at = float("-inf")
        self.asking = False
        self.waiting: list[Deferred[Sequence[str]]] = []


@implementer(IResolver)
class Resolver:
    """Resolves names with the reactor's resolver, and caches the answers.

    :param clock: monotonic.
    """

    def __init__(self, reactor: IReactorPluggableNameResolver, clock: IReactorTime) -> None:
        self._reactor = reactor
        self._clock = clock
        self._known: dict[str, _Known] = {}

    def resolve(self, name: str) -> Deferred[Sequence[str]]:
        """See :class:`~smartproxy.upstream.interfaces.IResolver`.

        A known name never waits: a stale answer is returned while a new one is fetched.
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
        question.answer.addErrback(
            lambda why: log.failure("name resolution failed in its own code", failure=why)
        )
        try:
            self._reactor.nameResolver.resolveHostName(question, name)
        except ValueError:  # not a valid name (IDNA); a callable may return anything
            question.resolutionComplete()

    def _answered(self, found: list[str], name: str, known: _Known) -> None:
        known.asking = False
        if found:
            known.addresses = interleaved(found)
        else:
            known.asked_at = float("-inf") if not known.addresses else known.asked_at
            log.warn(
                "{name} has no address now: {use}",
                name=name,
                use=f"the last known addresses are used, {known.addresses}"
                if known.addresses
                else "none is known",
            )
        waiting, known.waiting = known.waiting, []
        for one in waiting:
            if known.addresses:
                one.callback(list(known.addresses))
            else:
                one.errback(_no_address(name))

    def _make_room(self) -> None:
        """Evict the name that was added first: a dict keeps insertion order."""
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
