"""Name resolution: both address families, without blocking, and the last good answer when a new one fails.

A name is resolved again when its answer is older than :data:`FRESH`, so a change in the DNS is seen without a restart;
connections that need the name meanwhile share one query. When the query fails, the last good answer is kept, however
old: an address that worked is a better guess than a refusal.

A name whose servers do not answer must not delay others. There is never more than one query for a name, because
``getaddrinfo`` cannot be cancelled and each query occupies a thread. A query without an answer for :data:`PATIENCE` fails
those who wait for it, and those who come while it lasts; a late answer is used all the same. Names that were silent at
their last query have threads apart from those of all others.
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

from smartproxy.errors import DialFailed, NameNotResolved
from smartproxy.flow.names import OwnNames
from smartproxy.model.outcome import RejectReason
from smartproxy.upstream.interfaces import IResolver
from smartproxy.wire.host import unmapped

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from twisted.internet.interfaces import IDelayedCall

#: Seconds for which an answer is used without a new query. getaddrinfo does not report a record's TTL.
FRESH = 10.0
#: Seconds before the next query after one without an address. Else every connection would make a query.
NEGATIVE = 1.0
#: Seconds to wait for a query. The system's own limit may be 5 s for each server and try.
PATIENCE = 10.0
#: Seconds after which a query is considered lost, and the name may be asked again: far above any getaddrinfo, so that it
#: matters only for a resolver that an embedding program has installed.
LOST = 300.0
#: Seconds during which the failure of one name is logged once.
LOG_INTERVAL = 5.0
#: Names that are resolved at once: first those not known to be silent, then those that are. A thread that waits for
#: getaddrinfo takes some 50 KiB.
_THREADS, _SILENT_THREADS = 64, 32
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
    """The last answer for a name, and who waits for the next one.

    :ivar query: the one in progress.
    :ivar ask_at: monotonic time from which the name is asked again.
    :ivar is_silent: whether the query in progress has lasted for more than :data:`PATIENCE`.
    :ivar was_silent: whether that was so of the one before.
    """

    __slots__ = (
        "addresses", "ask_at", "asked_at", "is_silent", "logged_at", "query", "timer", "waiting", "was_silent",
    )  # fmt: skip

    def __init__(self) -> None:
        self.addresses: list[str] = []
        self.query: _Lookup | None = None
        self.asked_at = self.ask_at = self.logged_at = float("-inf")
        self.is_silent = self.was_silent = False
        self.timer: IDelayedCall | None = None
        self.waiting: list[Deferred[Sequence[str]]] = []

    def may_ask(self, now: float) -> bool:
        """Whether the answer is old, and no query is in progress."""
        if self.query is None:
            return now >= self.ask_at
        return now - self.asked_at >= LOST

    def stop_timer(self) -> None:
        timer, self.timer = self.timer, None
        if timer is not None and timer.active():
            timer.cancel()


@implementer(IResolver)
class Resolver:
    """Resolves names with the reactor's resolver, and caches the answers.

    :param clock: monotonic.
    """

    def __init__(self, reactor: IReactorPluggableNameResolver, clock: IReactorTime) -> None:
        self._names = OwnNames(reactor, "name", _THREADS)
        self._silent_names = OwnNames(reactor, "silent-name", _SILENT_THREADS)
        self._clock = clock
        self._known: dict[str, _Known] = {}

    def resolve(self, name: str) -> Deferred[Sequence[str]]:
        """See :class:`~smartproxy.upstream.interfaces.IResolver`.

        A known name never waits: a stale answer is returned while a new one is fetched.
        """
        known = self._known.get(name)
        if known is None:
            if not self._make_room():
                return _failed(_too_many(name))
            known = self._known[name] = _Known()
        if known.may_ask(self._clock.seconds()):
            self._ask(name, known)
        if known.addresses:
            return succeed(list(known.addresses))
        if known.is_silent:
            return _failed(_silent(name))
        if known.query is None:
            return _failed(_no_address(name))
        waiting: Deferred[Sequence[str]] = Deferred(known.waiting.remove)
        known.waiting.append(waiting)
        return waiting

    def stop(self) -> None:
        """Forget the queries in progress: nobody waits for them any more."""
        for known in self._known.values():
            known.stop_timer()
            known.query = None
            known.is_silent = False

    def _ask(self, name: str, known: _Known) -> None:
        names = self._silent_names if known.was_silent else self._names
        query = known.query = _Lookup(name)
        known.asked_at = self._clock.seconds()
        known.is_silent = False
        query.answer.addCallback(self._answered, name, known, query)
        query.answer.addErrback(
            lambda why: log.failure("name resolution failed in its own code", failure=why)
        )
        try:
            names.resolveHostName(query, name)
        except ValueError:  # not a valid name (IDNA); a callable may return anything
            query.resolutionComplete()
        if known.query is query:
            known.stop_timer()
            known.timer = self._clock.callLater(PATIENCE, self._give_up, name, known)

    def _answered(self, found: list[str], name: str, known: _Known, query: _Lookup) -> None:
        if known.query is not query:
            return  # it was considered lost, and the name asked again
        known.query = None
        known.was_silent, known.is_silent = known.is_silent, False
        known.stop_timer()
        now = self._clock.seconds()
        if found:
            known.addresses = interleaved(found)
            known.ask_at = known.asked_at + FRESH
        else:
            known.ask_at = max(known.asked_at + FRESH if known.addresses else now, now + NEGATIVE)
            self._log(name, known)
        self._answer(name, known, _no_address)

    def _give_up(self, name: str, known: _Known) -> None:
        """The query has lasted for :data:`PATIENCE`. It goes on, but nobody waits for it."""
        known.is_silent = True
        self._log(name, known)
        self._answer(name, known, _silent)

    def _answer(self, name: str, known: _Known, why: Callable[[str], NameNotResolved]) -> None:
        """Answer those who wait: with the addresses, or an exception of their own where there are none."""
        waiting, known.waiting = known.waiting, []
        for one in waiting:
            if known.addresses:
                one.callback(list(known.addresses))
            else:
                one.errback(why(name))

    def _log(self, name: str, known: _Known) -> None:
        """Log that a name has no answer now, at most once per interval."""
        now = self._clock.seconds()
        if now - known.logged_at < LOG_INTERVAL:
            return
        known.logged_at = now
        use = f"the last known addresses are used, {known.addresses}" if known.addresses else "none is known"
        log.warn("{name} has no address now: {use}", name=name, use=use)

    def _make_room(self) -> bool:
        """Evict the name that was added first: a dict keeps insertion order. ``False`` where all are being resolved."""
        if len(self._known) < _MOST:
            return True
        oldest = next((name for name, known in self._known.items() if known.query is None), None)
        if oldest is None:
            return False
        del self._known[oldest]
        return True


def _no_address(name: str) -> NameNotResolved:
    return NameNotResolved(RejectReason.UPSTREAM_UNREACHABLE, f"{name} has no address")


def _silent(name: str) -> NameNotResolved:
    return NameNotResolved(RejectReason.UPSTREAM_TIMEOUT, f"{name} is not resolved in {PATIENCE:g} s")


def _too_many(name: str) -> DialFailed:
    detail = f"{name} is not resolved: {_MOST} other names are being resolved"
    return DialFailed(RejectReason.UPSTREAM_UNREACHABLE, detail)


def _failed(why: DialFailed) -> Deferred[Sequence[str]]:
    failed: Deferred[Sequence[str]] = Deferred()
    failed.errback(why)
    return failed
