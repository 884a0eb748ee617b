"""A worker process, from the fork to its end.

It has everything that the nursery had, and nothing of an event loop. It starts its own, connects to the supervisor, and
serves when it is told to. When the supervisor ends, however that happens, it refuses new connections, lets the live
ones end for ``gracefulShutdownTimeout``, and exits.
"""

from __future__ import annotations

import gc
import signal
import socket
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from twisted.python.reflect import namedModule

from smartproxy.flow.clock import use_monotonic_time
from smartproxy.proxy.given import Given
from smartproxy.workers.worker_channel import WorkerChannel
from smartproxy.workers.worker_proxy import WorkerProxy

if TYPE_CHECKING:
    from smartproxy.model.plan import ProxyPlan
    from smartproxy.proxy.given import Indexes
    from smartproxy.settings import Settings
    from smartproxy.tls.material import TlsMaterial
    from smartproxy.workers.shared_limits import SharedLimits

#: Numbers of connections that each process has for itself; with those of many processes they stay below 2**53, where
#: JavaScript's numbers stop being exact.
CONNECTIONS_EACH = 10**11
#: As in a proxy of one process: see :class:`smartproxy.tap.TwistdProxy`.
GC_THRESHOLDS = (50_000, 20, 50)


class WorkerStart(NamedTuple):
    """What a worker begins with.

    :ivar plan: ``settings``, compiled.
    :ivar limits: holds limits over all workers.
    :ivar access_log: a descriptor of the access log, if it is a file.
    :ivar indexes: of ``plan``.
    :ivar slot: which of the workers it is, counted from 1: the first one reports what all of them do.
    :ivar generation: counts the workers of a supervisor.
    :ivar reactor: the module of the reactor that the supervisor uses.
    """

    settings: Settings
    plan: ProxyPlan
    material: TlsMaterial
    limits: SharedLimits
    access_log: int | None
    indexes: Indexes
    slot: int
    generation: int
    reactor: str


def run(start: WorkerStart, control: int) -> int:
    """Serve until the supervisor wants the process to end, or has ended; return the exit code.

    :param control: the descriptor of the socket to the supervisor.
    """
    reactor = _own_reactor(start.reactor)
    use_monotonic_time(reactor)
    gc.set_threshold(*GC_THRESHOLDS)
    channel = WorkerChannel(reactor)
    given = Given(
        start.plan,
        start.material,
        start.generation * CONNECTIONS_EACH,
        start.limits,
        start.access_log,
        start.indexes,
        is_reporting=start.slot == 1,
    )
    channel.proxy = WorkerProxy(start.settings, given, reactor)
    reactor.callWhenRunning(_follow_signals, reactor, channel)
    reactor.callWhenRunning(_connect, reactor, control, channel)
    reactor.run()
    return 0


def _own_reactor(module: str) -> Any:
    """A reactor that shares nothing with another process.

    A handler's module may have imported one in the nursery. Its descriptors are those of the nursery, so it is set up
    anew; what the module has scheduled is lost.
    """
    inherited: Any = sys.modules.get("twisted.internet.reactor")
    if inherited is None:
        namedModule(module).install()
        from twisted.internet import reactor  # noqa: PLC0415 - importing it installs one

        return reactor
    type(inherited).__init__(inherited)
    return inherited


def _connect(reactor: Any, control: int, channel: WorkerChannel) -> None:
    with socket.socket(fileno=control) as end:
        channel.open(end, reactor)


def _follow_signals(reactor: Any, channel: WorkerChannel) -> None:
    """Only SIGTERM means anything to a worker: it ends as if it was told to, and another one takes its place."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda _number, _frame: reactor.callFromThread(channel.resign))
