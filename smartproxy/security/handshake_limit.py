"""The limit on TLS handshakes in progress (``tls.maxHandshakes``).

Computing a handshake takes less than a millisecond; the rest of it is waiting for the client. So many handshakes in
progress do not slow the proxy down, but each holds a socket and about 50 KiB, and clients that send a ClientHello and
nothing more cost an attacker nothing. A limit that refused new handshakes would let such clients shut out all others.
Therefore none is refused: above the limit, each new handshake closes a stalled one.

What delays established connections is the computation, which has a limit of its own: in one event loop iteration
handshakes are begun for :data:`WORK` seconds, and the others in the next iterations.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from smartproxy.flow.work_budget import WorkBudget
from smartproxy.security.client_key import ADDRESS, client_key
from smartproxy.security.eviction import EvictionQueue

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IReactorTime

#: Seconds after which a handshake that is not complete counts as stalled. It takes two round trips (TLS 1.2), each at
#: most 0.6 s over a satellite; a lost packet costs one more second (RFC 6298, 2.1). Received bytes do not extend it: a
#: client could send one at a time.
STALLED: Final = 2.0
#: How many times the limit may be in progress where none has stalled: a burst of clients, of which each is done in a
#: moment. Above that, one that has not stalled is closed.
BURST: Final = 10
#: Seconds of each event loop iteration in which handshakes are begun: about fifteen with ECDSA. Established
#: connections wait no longer than this for a flood of handshakes.
WORK: Final = 0.010


class Evictable(Protocol):
    """One handshake.

    :ivar began: monotonic seconds.
    """

    @property
    def began(self) -> float: ...

    def give_up(self, why: str) -> None:
        """End it now."""


class HandshakeLimit:
    """The handshakes in progress. It lives as long as the proxy, so that those begun before a reload still count.

    :param clock: monotonic.
    :ivar limit: how many may be in progress before stalled ones are closed; 0 is no limit.
    :ivar ipv6_prefix: length of the IPv6 prefix that one client has.
    """

    def __init__(self, limit: int, clock: IReactorTime) -> None:
        self.limit = limit
        self.ipv6_prefix = ADDRESS
        self._clock = clock
        self._work = WorkBudget(WORK, clock)
        self._fresh: EvictionQueue[Evictable] = EvictionQueue()
        self._stalled: EvictionQueue[Evictable] = EvictionQueue()

    @property
    def active(self) -> int:
        """How many are in progress."""
        return len(self._fresh) + len(self._stalled)

    def begin(self, handshake: Evictable, address: str) -> None:
        """Count a handshake with a client of ``address``, and make room for it where there are too many."""
        self._fresh.add(handshake, client_key(address, self.ipv6_prefix))
        if self.limit and self.active > self.limit:
            self._make_room()

    def turn(self) -> Deferred[None] | None:
        """``None`` if a handshake may be computed now; else a Deferred that fires when it may. It may be cancelled."""
        return self._work.turn()

    def end(self, handshake: Evictable) -> None:
        """Do not count ``handshake`` any more: it is over."""
        if self._fresh.remove(handshake) is None:
            self._stalled.remove(handshake)

    def _make_room(self) -> None:
        self._sort_out_stalled()
        evicted = self._stalled.evict()
        if evicted is None and self.active > self.limit * BURST:
            evicted = self._fresh.evict()
        if evicted is not None:
            evicted.give_up(f"too many handshakes at once (tls.maxHandshakes {self.limit})")

    def _sort_out_stalled(self) -> None:
        since = self._clock.seconds() - STALLED
        while (oldest := self._fresh.oldest()) is not None and oldest.began <= since:
            address = self._fresh.remove(oldest)
            if address is not None:
                self._stalled.add(oldest, address)
