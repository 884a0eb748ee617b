"""Asks name servers: each in turn, with a time limit, by UDP and by TCP where an answer does not fit.

``twisted.names`` has a resolver, too. Its messages are used (:mod:`messages`), but not its ``Resolver``: that takes an answer
from any address, ends with the first server that says SERVFAIL, keeps one TCP connection to a server that may be dead without
a time limit, and can neither announce room for long answers nor be stopped.

A name whose servers do not answer occupies one of a bounded number of places for up to 9 s. Names that were silent at their
last question have places apart from those of all others, so they delay no other name.
"""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Final

from twisted.internet.defer import Deferred

from smartproxy.errors import LookupFailed
from smartproxy.upstream.discovery.messages import question, read_reply

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from smartproxy.upstream.discovery.exchange import DnsExchange
    from smartproxy.upstream.discovery.messages import DnsReply, RecordType
    from smartproxy.upstream.discovery.resolv_conf import NameServers, Server

#: Questions that are asked at once, and those of silent names. Each takes a descriptor.
_PLACES: Final = 64
_SILENT_PLACES: Final = 32
#: Seconds for an answer by TCP.
_TCP_SECONDS: Final = 3.0
#: Longest wait for one answer, whatever ``options timeout`` says.
_LONGEST_WAIT: Final = 5.0
#: RCODEs (RFC 1035, 4.1.1).
OK: Final = 0
_FORMAT_ERROR: Final = 1
NAME_ERROR: Final = 3
_NOT_IMPLEMENTED: Final = 4
_CODES: Final = {1: "FORMERR", 2: "SERVFAIL", 4: "NOTIMP", 5: "REFUSED"}


class _Places:
    """Places for questions, first come, first served.

    Twisted's semaphore takes a time that grows with the number of those that wait to cancel one of them.
    """

    def __init__(self, most: int) -> None:
        self._free = most
        self._waiting: deque[Deferred[None]] = deque()

    def enter(self) -> Deferred[None]:
        """Fires when there is a place. It may be cancelled."""
        entered: Deferred[None] = Deferred()
        if self._free:
            self._free -= 1
            entered.callback(None)
        else:
            self._waiting.append(entered)
        return entered

    def leave(self) -> None:
        """Give the place to the next one."""
        while self._waiting:
            entered = self._waiting.popleft()
            if not entered.called:  # else it was cancelled
                entered.callback(None)
                return
        self._free += 1


class DnsClient:
    """Asks the name servers of this machine.

    :param servers: the name servers now.
    :param exchange: sends one question to one server.
    :param numbers: random numbers of 16 bits that cannot be guessed.
    """

    def __init__(
        self, servers: Callable[[], NameServers], exchange: DnsExchange, numbers: Callable[[], int]
    ) -> None:
        self._servers = servers
        self._exchange = exchange
        self._numbers = numbers
        self._places = _Places(_PLACES)
        self._silent_places = _Places(_SILENT_PLACES)
        self._silent: set[tuple[str, RecordType]] = set()
        #: In the order in which they were asked.
        self._asking: dict[Deferred[DnsReply], None] = {}
        #: The server that has answered last is asked first: a dead one costs one name its time, not every name.
        self._best: Server | None = None

    def ask(self, name: str, kind: RecordType) -> Deferred[DnsReply]:
        """The answer of a server that knows; that may be that there is no such name.

        :param name: a host name without its final dot.

        Fails with :class:`~smartproxy.errors.LookupFailed` where no server has given a usable answer.
        """
        key = name, kind
        places = self._silent_places if key in self._silent else self._places
        asking = Deferred.fromCoroutine(self._in_turn(places, name, kind))
        self._asking[asking] = None

        def ended(result: object) -> object:
            self._asking.pop(asking, None)
            return result

        asking.addBoth(ended)
        return asking

    def stop(self) -> None:
        """Cancel every question in progress."""
        for asking in reversed(list(self._asking)):  # those that wait for a place must not get one
            asking.cancel()
        self._silent.clear()

    async def _in_turn(self, places: _Places, name: str, kind: RecordType) -> DnsReply:
        await places.enter()
        try:
            return await self._ask(name, kind)
        finally:
            places.leave()

    async def _ask(self, name: str, kind: RecordType) -> DnsReply:
        why, was_answered = "there is no name server", False
        for server, seconds in self._tries(self._servers()):
            try:
                reply = await self._from(server, name, kind, seconds)
            except LookupFailed as failed:
                why = str(failed)
                continue
            was_answered = True
            if reply.code in {OK, NAME_ERROR}:
                self._best = server
                self._silent.discard((name, kind))
                return reply
            why = f"name server {server.host} says {_CODES.get(reply.code, reply.code)}"
        if was_answered:
            self._silent.discard((name, kind))
        else:
            self._silent.add((name, kind))
        raise LookupFailed(why)

    def _tries(self, known: NameServers) -> Iterator[tuple[Server, float]]:
        """The servers to ask, with the seconds to wait for each: longer in each round."""
        servers = sorted(known.servers, key=lambda server: server != self._best)
        for attempt in range(known.attempts):
            for server in servers:
                yield server, min(known.timeout * 2**attempt, _LONGEST_WAIT)

    async def _from(self, server: Server, name: str, kind: RecordType, seconds: float) -> DnsReply:
        reply = await self._once(server, name, kind, seconds)
        if reply.code in {_FORMAT_ERROR, _NOT_IMPLEMENTED}:  # a server that does not know RFC 6891
            reply = await self._once(server, name, kind, seconds, extended=False)
        if reply.is_truncated:
            reply = await self._once(server, name, kind, _TCP_SECONDS, by_tcp=True)
        return reply

    def _once(
        self,
        server: Server,
        name: str,
        kind: RecordType,
        seconds: float,
        *,
        extended: bool = True,
        by_tcp: bool = False,
    ) -> Deferred[DnsReply]:
        number = self._numbers()
        read = partial(read_reply, number=number, name=name, kind=kind)
        packet = question(number, name, kind, extended=extended)
        return self._exchange(server, packet, read, seconds, by_tcp=by_tcp)
