"""The limits of a configuration, held over all worker processes.

::

    limits = SharedLimits(memory, row)          of one process; every other has a row of its own
    given = Given(plan, material, first_connection, limits)

Answers in place of the registry of connections and of the rate windows of this process, which compare the numbers of
one process. *Count first, then check* (:mod:`smartproxy.workers.cells`): a connection is counted where it is admitted,
and the caller records it in the same event loop iteration. What was counted and not recorded, because the connection
could not be begun, is corrected when the next number is written, within a second.

What is not limited costs little: the number of live connections is always written, that of a route or a target where it
has a limit, and clients where their number or rate is limited (:mod:`smartproxy.workers.ledger`). Sockets of refused
connections that linger are each process's own.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from smartproxy.security.limits import RateWindows
from smartproxy.workers.cells import Cells
from smartproxy.workers.ledger import LedgerReader, LedgerWriter

if TYPE_CHECKING:
    from collections.abc import Callable

    from smartproxy.connections.registry import Registry
    from smartproxy.model.plan import ProxyPlan
    from smartproxy.workers.cells import Cell
    from smartproxy.workers.memory import LimitsMemory, Row


class SharedLimits:
    """The limits that this process shares with others.

    :param row: of this process; it may not be used by another one before :meth:`LimitsMemory.forget` was called.
    :param clock: monotonic seconds, of a clock that all processes have in common.
    """

    def __init__(self, memory: LimitsMemory, row: Row, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._fence = memory.fence
        self._cells = Cells(memory, row)
        self._live = self._cells.live
        self._routes: dict[str, Cell] = {}
        #: The routes that have a limit in the configuration in force.
        self._limited: frozenset[str] = frozenset()
        self._windows = RateWindows(clock)
        self._writer = LedgerWriter(memory, row)
        self._reader = LedgerReader(memory, row, self._windows)
        self._limits_clients = self._limits_rate = False
        self._registry: Registry

    def bind(self, registry: Registry) -> None:
        """Count the connections of ``registry``, which has none yet and publishes its numbers here."""
        self._registry = registry

    def apply(self, plan: ProxyPlan) -> None:
        """Hold the limits of ``plan``. Connections that are live count from now on, if they did not before."""
        self.regroup(plan.ipv6_limit_prefix)
        self._limited = frozenset(route.name for route in plan.routes if route.max_connections)
        for name in self._limited:
            self._cell_of(name).set(self._registry.by_route.get(name, 0))
        self._limits_rate = bool(plan.connection_rate_per_minute)
        self._limits_clients = bool(plan.max_connections_per_ip)
        by_ip = self._registry.by_ip if self._limits_clients else {}
        for ip in self._writer.numbers.keys() - by_ip.keys():
            self._writer.count(ip, 0)
        for ip, number in by_ip.items():
            self._writer.count(ip, number)
        self.prune()

    # -- what Admission asks -------------------------------------------------------------------------

    @property
    def active(self) -> int:
        """Number of live connections of all processes, without one that was just counted."""
        return self._live.others() + len(self._registry.live)

    def may_open(self, limit: int) -> bool:
        """Whether one more connection may be accepted; if so, it is counted."""
        return self._live.claim(len(self._registry.live) + 1, limit)

    def may_assign(self, route: str, limit: int) -> bool:
        """Whether the route of this name may have one more connection; if so, it is counted."""
        return self._cell_of(route).claim(self._registry.by_route.get(route, 0) + 1, limit)

    def may_add_client(self, ip: str, limit: int) -> bool:
        """Whether the client that ``ip`` belongs to may have one more connection; if so, it is counted."""
        clients = self._registry.clients
        number, room = clients.by_ip.get(ip, 0), limit - clients.of_client(ip)
        reader, writer = self._reader, self._writer
        if writer.numbers.get(ip) != number + 1:  # else :meth:`allow` has counted it
            # Attempts above the limit are not written, as far as possible: a flood of them must not fill the ring.
            if reader.clients.of_client(ip) >= room:
                reader.sync()
                if reader.clients.of_client(ip) >= room:
                    return False
            writer.count(ip, number + 1)
            self._fence()
        reader.sync()
        if reader.clients.of_client(ip) < room:
            return True
        writer.count(ip, number)
        return False

    def allow(self, ip: str, limit: int) -> bool:
        """Whether ``ip`` may connect now; if so, the connection is recorded.

        :param limit: connections in any 60 seconds, at least 1.
        """
        now, windows, writer = self._clock(), self._windows, self._writer
        if not windows.has_room(ip, limit, now):
            self._reader.sync()  # some may have been withdrawn
            if not windows.has_room(ip, limit, now):
                return False
        number = self._registry.by_ip.get(ip, 0) if self._limits_clients else 0
        # One event for both where the number of connections is limited, too: it is asked for next.
        writer.arrived(ip, now, number + self._limits_clients)
        self._fence()
        self._reader.sync()
        if windows.has_room(ip, limit, now):
            windows.record(ip, now)
            return True
        writer.withdrawn(ip, now, number)
        return False

    def regroup(self, prefix: int) -> None:
        """Count IPv6 networks of this prefix length from now on, what is recorded included."""
        self._windows.regroup(prefix)
        self._reader.clients.regroup(prefix)

    def prune(self) -> None:
        """Read what others have written, and discard what is not needed any more. To be called every second."""
        self._live.set(len(self._registry.live))
        self._windows.prune()
        if self._limits_clients or self._limits_rate:
            self._reader.sync()
        # A connection that was accepted before a reload may still be assigned to a route that was removed.
        by_route = self._registry.by_route
        for name in [name for name in self._routes if name not in self._limited and name not in by_route]:
            del self._routes[name]
            self._cells.release(("route", name))

    # -- what the registry publishes -----------------------------------------------------------------

    def live(self, number: int) -> None:
        """All live connections of this process are ``number``."""
        self._live.set(number)

    def client(self, ip: str, number: int) -> None:
        """``ip`` has ``number`` live connections in this process."""
        # Those that a former configuration has counted end, too.
        if self._limits_clients or ip in self._writer.numbers:
            self._writer.count(ip, number)

    def route(self, name: str, number: int) -> None:
        """A route has ``number`` live connections in this process."""
        cell = self._routes.get(name)
        if cell is not None:
            cell.set(number)

    # -- what groups of targets ask ------------------------------------------------------------------

    def of_target(self, group: str, name: str) -> Cell:
        """The number of connections to a target that has a limit, in this process and in all."""
        return self._cells.of(("target", group, name))

    def drop_target(self, group: str, name: str) -> None:
        """Count nothing for that target any more: this process has no connection to it."""
        self._cells.release(("target", group, name))

    def _cell_of(self, route: str) -> Cell:
        cell = self._routes.get(route)
        if cell is None:
            cell = self._routes[route] = self._cells.of(("route", route))
        return cell
