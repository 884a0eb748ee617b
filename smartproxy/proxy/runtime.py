"""What a proxy has for as long as it runs, whatever its routes become, in groups by purpose.

::

    runtime = Runtime(plan, reactor)
    runtime.sockets.open()      # before the first socket
    runtime.start()
    runtime.stop()              # and it may be opened and started again

A reload compiles a new configuration and builds new :class:`~smartproxy.session.ConnectionPath` objects
(:mod:`smartproxy.proxy.assembly`). Everything that must outlive it is here: connections and their counters, sockets,
whose turn it is among targets, rate windows, handshakes in progress, TLS sessions, certificates.
"""

from __future__ import annotations

import random
import select
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IReactorFDSet
from twisted.internet.task import LoopingCall

from smartproxy.connections.lingering import Lingering, most_lingering
from smartproxy.flow.clock import clock_of
from smartproxy.flow.deadline import Deadlines
from smartproxy.flow.threads import thread_for
from smartproxy.http.error_page_watch import ErrorPageWatch
from smartproxy.http.memo import RememberedHeads
from smartproxy.model.outcome import CloseReason
from smartproxy.net.dial import PollerDialer, ReactorDialer
from smartproxy.net.poller import Poller
from smartproxy.phases.forward_cancel import CancelsInProgress
from smartproxy.proxy.accounting import Accounting
from smartproxy.proxy.given import Given
from smartproxy.proxy.tls import TlsState
from smartproxy.relays import splice
from smartproxy.relays.pipes import PipePool
from smartproxy.security.address_file_watch import AddressFileWatch
from smartproxy.security.limits import RateWindows
from smartproxy.security.loops import Loops
from smartproxy.tls.material import TlsMaterial
from smartproxy.upstream.discovery.file import TargetFileWatch
from smartproxy.upstream.discovery.records import system_records
from smartproxy.upstream.discovery.service import Discovery
from smartproxy.upstream.discovery.watched import WatchedNames
from smartproxy.upstream.groups import Groups
from smartproxy.upstream.health.connections import CheckConnections
from smartproxy.upstream.health.service import HealthChecks
from smartproxy.upstream.log_limit import LogLimit
from smartproxy.upstream.member import Members
from smartproxy.upstream.originate_tls import Originate
from smartproxy.upstream.pool import Pool
from smartproxy.upstream.request_tls import RequestTls
from smartproxy.upstream.resolve import Resolver
from smartproxy.upstream.steering import TargetGroups

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from smartproxy.http.services import HttpClient
    from smartproxy.model.plan import GroupPlan, ProxyPlan
    from smartproxy.model.record import ConnectionRecord
    from smartproxy.net.interfaces import IDialer
    from smartproxy.security.limits import ConnectionCounts, ConnectionRates
    from smartproxy.upstream.member import Member
    from smartproxy.upstream.shared_targets import SharedTargets

#: Seconds between two rounds of housekeeping: refusals not logged yet are logged, idle rate windows are pruned.
_HOUSEKEEPING = 1.0

#: Threads that read files for clients. A disk serves more at once than one; each costs a stack.
_MOST_READING = 8


class Clocks:
    """Time.

    :ivar time: the reactor's clock, monotonic, with ``callLater``.
    :ivar seconds: monotonic seconds.
    :ivar deadlines: the deadlines of connections, found by one sweep.
    """

    def __init__(self, reactor: Any) -> None:
        self.time = clock_of(reactor)
        self.seconds: Callable[[], float] = self.time.seconds
        self.deadlines = Deadlines(self.time)


class Sockets:
    """How sockets are opened, watched and relayed.

    Where system and reactor allow it, sockets are watched by our own poller, and with acceleration relayed through
    pipes; elsewhere they are the reactor's transports.

    :ivar poller: ``None`` without epoll, or if the reactor cannot watch descriptors.
    :ivar pipes: ``None`` without a poller or without acceleration.
    """

    def __init__(self, plan: ProxyPlan, reactor: Any, clocks: Clocks) -> None:
        self.poller: Poller | None = None
        self.pipes: PipePool | None = None
        self.dialer: IDialer = ReactorDialer(reactor)
        if hasattr(select, "epoll") and IReactorFDSet.providedBy(reactor):
            self.poller = Poller(reactor, clocks.seconds)
            self.dialer = PollerDialer(self.poller, clocks.deadlines)
            if plan.acceleration and splice.supported():
                self.pipes = PipePool()

    def open(self) -> None:
        """Make sockets watchable, also after :meth:`stop`."""
        if self.poller is not None:
            self.poller.open()

    def start(self) -> None:
        """Begin to watch sockets."""
        if self.poller is not None:
            self.poller.start()

    def stop(self) -> None:
        """Close every socket that is still watched, and the pipes."""
        if self.poller is not None:
            self.poller.stop()
        if self.pipes is not None:
            self.pipes.close()


class Targets:
    """What connecting to targets needs.

    :ivar loops: the connections to listeners of this proxy.
    :ivar cancels: PostgreSQL's requests to cancel a query that are in progress.
    :ivar groups: target groups by name, and the state of their members.
    :ivar pool: idle connections to targets that speak HTTP.
    :ivar steering: the groups from outside.
    :ivar checks: the active checks of their members.
    :ivar files: follows the files with targets.
    :ivar discovery: the targets that are found by name or in a file.
    :ivar log_limit: which failures of targets are logged.
    :ivar postgres_routes: names of the routes by which a PostgreSQL client has been connected.
    :ivar originate: begins TLS.
    """

    def __init__(
        self,
        reactor: Any,
        clocks: Clocks,
        tls: TlsState,
        sockets: Sockets,
        accounting: Accounting,
        shared: SharedTargets | None,
    ) -> None:
        self._registry = accounting.registry
        self._deadlines = clocks.deadlines
        self.resolver = Resolver(reactor, clocks.time)
        self.postgres_routes: set[str] = set()
        self.loops = Loops()
        self.cancels = CancelsInProgress()
        self.groups = Groups(Members(shared), clocks.time, random.random)
        self.pool = Pool(clocks.deadlines)
        self.steering = TargetGroups(
            self.groups, accounting.registry.live, clocks.seconds, self.pool.idle_by_group
        )
        accounting.counters.targets = self.steering
        self.log_limit = LogLimit()
        self.originate = Originate(tls.targets, clocks.deadlines)
        self.request_tls = RequestTls(clocks.deadlines)
        connections = CheckConnections(
            sockets.dialer, self.resolver, clocks.time, clocks.deadlines, self.originate
        )
        self.checks = HealthChecks(
            connections, clocks.deadlines, clocks.time, random.random, time.time, self._end_sessions
        )

        seconds, clock = clocks.seconds, clocks.time
        descriptors = reactor if IReactorFDSet.providedBy(reactor) else None
        self.files = TargetFileWatch(clock, thread_for("targets-files", reactor), descriptors)
        self._records = system_records(reactor, clock, self.resolver)
        names = WatchedNames(self._records, clocks.deadlines, seconds, random.random)
        #: The groups with targets that are checked.
        self._checked: set[str] = set()
        self.discovery = Discovery(names, self.files, clocks.deadlines, clock, self._configure)

    def start(self) -> None:
        """Begin to watch files with targets."""
        self.files.start()

    def apply(self, plan: ProxyPlan) -> None:
        """Use the target groups of ``plan``."""
        self.groups.apply(plan.groups_by_name, self.discovery.apply(plan.eager_groups))
        self._checked = {group.name for group in plan.eager_groups if group.is_checked}
        self.checks.apply(self.groups.in_use())
        self.log_limit.keep(plan.by_name.keys())
        self.postgres_routes -= {name for name in self.postgres_routes if name not in plan.by_name}

    def stop(self) -> None:
        """Stop the checks, discovery, and the timers of name resolution."""
        self.checks.stop()
        self.pool.close()
        self.files.stop()
        self.discovery.stop()
        self._records.stop()
        self.resolver.stop()

    def _configure(self, plans: Collection[GroupPlan]) -> None:
        """The discovered targets of these groups have changed."""
        self.groups.configure(plans)
        self._checked |= {plan.name for plan in plans if plan.is_checked}
        if any(plan.name in self._checked for plan in plans):
            self.checks.apply(self.groups.in_use())

    def _end_sessions(self, member: Member) -> None:
        """End the connections of a target that was found down."""
        why = f"a check found target {member.group}/{member.name} down (whenDown: reset): {member.why}"
        for record in self._registry.live.values():
            if record.member_in_use is member:
                # One deadline each: deadlines run in slices, so that ending thousands does not block the event loop.
                self._deadlines.call_later(0.0, partial(_end_session, record, member, ascii(why)[1:-1]))


def _end_session(record: ConnectionRecord, member: Member, why: str) -> None:
    # It may have ended meanwhile, or be used for a request to another target.
    if record.member_in_use is member:
        record.explain(CloseReason.TARGET_DOWN, why)
        record.owner.abort(CloseReason.TARGET_DOWN)


class Runtime:
    """All of it.

    :param given: what another process has made before; ``None`` where there is none.
    :ivar take_indexes: gives the indexes of a configuration that another process has made.
    :ivar counts: whether limits allow one more connection.
    :ivar tls: certificates, contexts and sessions, the limit on handshakes.
    :ivar address_files: follows the files with addresses.
    :ivar error_pages: follows the files with error pages.
    :ivar lingering: refused connections whose clients read why.
    :ivar http_clients: connections of HTTP clients.
    :ivar http_heads: parses heads of HTTP, and remembers them.
    :ivar rate: when each client connected, for ``connectionRateLimitPerMinute``.
    """

    def __init__(self, plan: ProxyPlan, reactor: Any, given: Given | None = None) -> None:
        given = given or Given(plan, TlsMaterial())
        self.take_indexes = given.take_indexes
        shared = self._shared_limits = given.shared_limits
        self.reactor = reactor
        self.clocks = Clocks(reactor)
        self.accounting = Accounting(plan, self.clocks.time, given.first_connection, shared, given.access_log)
        self.sockets = Sockets(plan, reactor, self.clocks)
        self.tls = TlsState(
            plan,
            reactor,
            self.clocks.time,
            self.accounting.counters,
            given.tls,
            is_one_of_several=shared is not None,
            is_reporting=given.is_reporting,
        )
        self.targets = Targets(reactor, self.clocks, self.tls, self.sockets, self.accounting, shared)
        descriptors = reactor if IReactorFDSet.providedBy(reactor) else None
        self.address_files = AddressFileWatch(
            self.clocks.time, thread_for("address-lists", reactor), descriptors
        )
        self.error_pages = ErrorPageWatch(self.clocks.time, thread_for("error-pages", reactor), descriptors)
        self.disk = thread_for("files", reactor, _MOST_READING)
        self.lingering = Lingering(self.clocks.deadlines, most_lingering())
        self.counts: ConnectionCounts = self.accounting.registry
        self.rate: ConnectionRates = RateWindows(self.clocks.seconds)
        if shared is not None:
            shared.bind(self.accounting.registry)
            self.counts = self.rate = shared
        self.http_clients: set[HttpClient] = set()
        self.http_heads = RememberedHeads()
        self._housekeeping = LoopingCall(self._run_housekeeping)
        self._housekeeping.clock = self.clocks.time

    def apply_limits(self, plan: ProxyPlan) -> None:
        """Tell clients apart as ``plan`` says. What was counted before still counts."""
        self.rate.regroup(plan.ipv6_limit_prefix)
        if self._shared_limits is not None:
            self._shared_limits.apply(plan)
        self.lingering.ipv6_prefix = plan.ipv6_limit_prefix

    def follow_files(self, plan: ProxyPlan) -> None:
        """Watch the files whose content is a part of ``plan``."""
        self.address_files.follow(plan.address_files)
        self.error_pages.follow(plan.page_files)

    def start(self) -> None:
        """Begin to watch sockets and clocks."""
        self.sockets.start()
        self.clocks.deadlines.start()
        self._housekeeping.start(_HOUSEKEEPING, now=False)
        self.accounting.start()
        self.tls.start()
        self.address_files.start()
        self.error_pages.start()
        self.targets.start()

    def close_idle_clients(self) -> None:
        """Close connections of HTTP clients that wait for another request: there will be none."""
        for client in list(self.http_clients):
            client.close_idle()

    def stop(self) -> None:
        """Stop everything. No connection is left."""
        self.tls.stop()
        self.address_files.stop()
        self.error_pages.stop()
        self.lingering.close()
        self.targets.stop()
        if self._housekeeping.running:
            self._housekeeping.stop()
        self.accounting.stop()
        self.sockets.stop()
        self.clocks.deadlines.stop()

    def _run_housekeeping(self) -> None:
        self.accounting.refusals.flush()
        self.accounting.counters.prune(self.clocks.seconds())
        self.targets.groups.pending.sweep()
        self.targets.groups.members.prune(self.clocks.seconds())
        self.rate.prune()
