"""One attempt at a candidate: its host is chosen and resolved, an address is dialed, and its TLS begun."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, cast

from smartproxy.errors import DialFailed, NameNotResolved, ResumptionFailed
from smartproxy.flow.coroutines import unfailed
from smartproxy.flow.event import AwaitableEvent
from smartproxy.model.address import Endpoint, UnixEndpoint
from smartproxy.model.outcome import RejectReason
from smartproxy.model.plan.target import CLIENT_NAME
from smartproxy.net.keep_alive import Option, YoungSockets, options, without_probes
from smartproxy.security.loops import own_source
from smartproxy.upstream.choice import asked_name, chosen_host, chosen_port, chosen_target
from smartproxy.upstream.connected import Connected
from smartproxy.upstream.connection import Upstream, UpstreamFactory
from smartproxy.upstream.race import Race
from smartproxy.wire.host import is_address, unmapped

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IReactorTime

    from smartproxy.flow.deadline import Deadlines
    from smartproxy.model.address import TargetAddress
    from smartproxy.model.facts import Routed
    from smartproxy.model.plan import RoutePlan, TargetPlan
    from smartproxy.model.plan.target import TargetHost
    from smartproxy.net.interfaces import IDialer
    from smartproxy.security.loops import Loops
    from smartproxy.upstream.budget import DialBudget
    from smartproxy.upstream.candidate import Candidate
    from smartproxy.upstream.dial_log import DialLog
    from smartproxy.upstream.group import Group
    from smartproxy.upstream.interfaces import IResolver
    from smartproxy.upstream.originate_tls import Originate
    from smartproxy.upstream.pending import PendingDials
    from smartproxy.upstream.request_tls import RequestTls


class DialTerms:
    """What is tried for one connection.

    :ivar candidate: whose turn it is.
    :ivar group: ``None`` where the connection takes no turn.
    :ivar target: that of the candidate, or what its callable has chosen.
    :ivar host: likewise.
    :ivar header: the PROXY header for a target.
    """

    __slots__ = ("budget", "candidate", "group", "header", "host", "routed", "target")

    def __init__(
        self,
        candidate: Candidate,
        group: Group | None,
        target: TargetPlan,
        host: TargetHost,
        routed: Routed,
        header: Callable[[TargetPlan], bytes],
        budget: DialBudget,
    ) -> None:
        self.candidate = candidate
        self.group = group
        self.target = target
        self.host = host
        self.routed = routed
        self.header = header
        self.budget = budget

    def to(self, target: TargetPlan, host: TargetHost) -> DialTerms:
        """The same for what a callable has chosen."""
        return DialTerms(self.candidate, self.group, target, host, self.routed, self.header, self.budget)


class Attempts:
    """Connects to one candidate.

    :param clock: of the reactor: its ``seconds``, and its ``callLater`` for races between addresses.
    :param originate: begins TLS with targets that have TLS.
    :param request_tls: asks a target for TLS first, as PostgreSQL's clients do.
    :param pending: gets the dials in progress; it outlives this configuration.
    :param loops: recognises connections to listeners of this proxy; likewise.
    """

    def __init__(
        self,
        dialer: IDialer,
        resolver: IResolver,
        clock: IReactorTime,
        originate: Originate,
        request_tls: RequestTls,
        pending: PendingDials,
        loops: Loops,
        dial_log: DialLog,
        deadlines: Deadlines,
    ) -> None:
        self._dialer = dialer
        self._resolver = resolver
        self._clock = clock
        self._originate = originate
        self._request_tls = request_tls
        self._pending = pending
        self._loops = loops
        self._log = dial_log
        self._young = YoungSockets(deadlines.call_later)
        self._keep_alive: dict[RoutePlan, tuple[Option, ...]] = {}

    async def __call__(
        self,
        candidate: Candidate,
        group: Group | None,
        routed: Routed,
        header: Callable[[TargetPlan], bytes],
        budget: DialBudget,
    ) -> Connected:
        """A connection to ``candidate``, paused.

        :param group: ``None`` where the connection takes no turn.
        :param header: the PROXY header for a target.
        :raises DialFailed: where it cannot be connected.
        """
        target = candidate.target
        attempt = DialTerms(candidate, group, target, candidate.host, routed, header, budget)
        if candidate.endpoint is not None:  # nothing is to be chosen, resolved or encrypted
            return await self._opened(
                attempt, candidate.endpoint.host, self._dial(attempt, candidate.endpoint)
            )
        if target.made is None:
            return await self._attempt(attempt)
        target = await chosen_target(target, routed, budget.seconds(), self._clock)
        *others, last = cast("tuple[str | UnixEndpoint, ...]", target.hosts)
        for host in others:
            try:
                return await self._attempt(attempt.to(target, host))
            except DialFailed as why:
                self._log.failed(candidate, routed.route, why)
        return await self._attempt(attempt.to(target, last))

    async def _attempt(self, attempt: DialTerms) -> Connected:
        target, routed, budget = attempt.target, attempt.routed, attempt.budget
        host, port = attempt.host, target.port
        if callable(host):
            host = await chosen_host(host, routed, budget.seconds(), self._clock)
        elif host == CLIENT_NAME:
            host = asked_name(routed)
        if callable(port):
            port = await chosen_port(port, routed, budget.seconds(), self._clock)
        if port is None:
            port = routed.detected.port
        try:
            return await self._opened(attempt, host, await self._begun(attempt, host, port))
        except NameNotResolved:
            budget.progress.target = Endpoint(str(host), port)  # nothing was dialed
            raise
        except ResumptionFailed as refused:
            # Some targets end the connection instead of declining a session. Nothing of the client was sent yet.
            self._log.session_refused(attempt.candidate, routed.route, refused)
        return await self._opened(attempt, host, await self._begun(attempt, host, port), resume=False)

    async def _begun(
        self, attempt: DialTerms, host: str | UnixEndpoint, port: int
    ) -> AwaitableEvent[Upstream]:
        """The connection to ``host`` that is being made."""
        if isinstance(host, UnixEndpoint):
            return self._dial(attempt, host)
        if attempt.candidate.is_literal or is_address(host):
            return self._dial_one_of(attempt, host, (unmapped(host),), port)
        return self._dial_one_of(attempt, host, await unfailed(self._resolve(host, attempt.budget)), port)

    async def _opened(
        self,
        attempt: DialTerms,
        host: str | UnixEndpoint,
        dialed: AwaitableEvent[Upstream],
        *,
        resume: bool = True,
    ) -> Connected:
        """A connection to ``host``, when it is made, with its TLS."""
        candidate, target, routed = attempt.candidate, attempt.target, attempt.routed
        side = await dialed
        forget = side.leave_factory()
        connected = Connected(
            side, side.address, target, candidate, attempt.group, attempt.header(target), host
        )
        try:
            attempt.budget.require_live()
            if target.tls is not None or routed.detected.start_tls:
                await self._begin_tls(connected, routed, host, resume=resume)
        except BaseException:  # the connection has no other owner yet
            side.transport.abortConnection()
            if forget is not None:
                forget()
            raise
        if forget is not None:
            connected.also_on_closed(forget)
        return connected

    async def _begin_tls(
        self, connected: Connected, routed: Routed, host: str | UnixEndpoint, *, resume: bool
    ) -> None:
        """Begin the target's TLS, if it has any, and ask for it where the client asked.

        A client that asked for TLS (PostgreSQL) has been answered in the target's place. In passthrough the target
        must still be asked, and its question and answer are payload. Where TLS is terminated here, question and answer
        were ours; a target with TLS of its own is then asked as the client asked us.
        """
        tls, seconds = connected.target.tls, routed.route.timeouts.tls_handshake
        asked, terminated = routed.detected.start_tls, routed.route.tls is not None
        # Whatever is in front of the target's TLS reads the PROXY header in plain text.
        connected.side.transport.write(connected.header)
        connected.header = b""
        if asked and terminated and tls is not None:
            await self._request_tls(connected.side, str(host), seconds)
        if tls is not None:
            hello = routed.detected.hello
            name = tls.name_for(host, None if hello is None else hello.server_name)
            encrypted = await self._originate(connected.side, tls, name, seconds, resume=resume)
            connected.side, connected.on_closed = encrypted.side, encrypted.on_closed
        if asked and not terminated:
            connected.exchanged = await self._request_tls(connected.side, str(host), seconds)

    def _resolve(self, host: str, budget: DialBudget) -> Deferred[Sequence[str]]:
        """Addresses of ``host``."""
        answer = self._resolver.resolve(host)

        def give_up(_: object, after: float) -> None:
            raise NameNotResolved(
                RejectReason.UPSTREAM_TIMEOUT, f"{host} is not resolved in {round(after, 3)} s"
            )

        if not answer.called:  # most answers are cached and need no timer
            timeout = budget.seconds()
            if timeout:
                answer.addTimeout(timeout, self._clock, give_up)
        return answer

    def _dial_one_of(
        self, attempt: DialTerms, host: str, addresses: Sequence[str], port: int
    ) -> AwaitableEvent[Upstream]:
        """Dial the addresses of ``host`` until one is connected.

        :raises DialFailed: if none can be reached from the target's source address.
        """
        if attempt.target.source:
            addresses = of_family(attempt.target.source, addresses, host)
        if len(addresses) == 1:
            return self._dial(attempt, Endpoint(addresses[0], port))
        return Race(
            addresses, lambda address: self._dial(attempt, Endpoint(address, port)), self._clock
        ).start()

    def _dial(self, attempt: DialTerms, to: TargetAddress) -> AwaitableEvent[Upstream]:
        """Dial one address."""
        route, budget, group = attempt.routed.route, attempt.budget, attempt.group
        keep_alive = self._keep_alive.get(route)
        if keep_alive is None:
            keep_alive = self._keep_alive[route] = options(without_probes(route.keep_alive))
        factory = UpstreamFactory(
            to, keep_alive=keep_alive, source=attempt.target.source, apply=self._young.add
        )
        budget.progress.target = to
        budget.progress.attempts += 1
        if isinstance(to, Endpoint) and to.port in self._loops.ports:
            dialed = self._dial_own_port(factory, to, attempt.routed, budget)
        else:
            dialed = factory.dial(self._dialer, budget.seconds())
        if group is not None and not dialed.has_happened:
            self._pending.add((factory, group.hesitates, attempt.candidate, budget, self._clock.seconds()))
        return dialed

    def _dial_own_port(
        self, factory: UpstreamFactory, to: Endpoint, routed: Routed, budget: DialBudget
    ) -> AwaitableEvent[Upstream]:
        """Dial the port number of a listener of this proxy, on this machine or another one."""
        client, loops = routed.detected.announced.accepted, self._loops
        try:
            loops.check(to, client, routed.route.name)
        except DialFailed as loop:
            refused: AwaitableEvent[Upstream] = AwaitableEvent()
            refused.fail(loop)
            return refused
        # The reactor connects later, and is to choose the port now: the connection may be accepted before it is reported.
        if not factory.source and not self._dialer.connects_at_once:
            factory.source = own_source(to.host)
        dialed = factory.dial(self._dialer, budget.seconds())
        local = factory.local_address()
        if local is not None and loops.add(local, to, client, routed.route.name):
            factory.on_end = partial(loops.forget, local, to.port)
        return dialed


def of_family(source: str, addresses: Sequence[str], host: str) -> Sequence[str]:
    """Those of ``addresses`` that can be reached from the local address ``source``: of its family.

    :raises DialFailed: if ``host`` has none.
    """
    fitting = [address for address in addresses if (":" in address) == (":" in source)]
    if not fitting:
        family = "IPv6" if ":" in source else "IPv4"
        why = f"{host} has no {family} address to connect to from {source}"
        raise DialFailed(RejectReason.UPSTREAM_UNREACHABLE, why)
    return fitting
