"""The process that forks workers: it loads a configuration and the TLS material for it, and has no event loop.

::

    python -m smartproxy.workers.nursery REACTOR SOCKET LOG MEMORY      # started by workers.forking

REACTOR is the module of the reactor that workers use, the others are numbers of descriptors. Everything that a worker needs
is imported here, before the process becomes another user, who may not be able to read Python's own files.

Workers that are forked from one process have the same TLS contexts, so a client can resume its session in any of them,
and share the memory of the configuration and certificates. twistd's own process cannot fork them: the epoll descriptor of
its event loop would be shared.

The supervisor gets an answer to each of its messages (:mod:`smartproxy.workers.nursery_messages`).
"""

from __future__ import annotations

import contextlib
import gc
import os
import random
import select
import signal
import socket
import sys
from typing import TYPE_CHECKING, NoReturn

from twisted.python.reflect import namedModule

from smartproxy._version import __version__
from smartproxy.acme.stored import stored_certificate
from smartproxy.errors import SmartProxyError, WorkerFailed
from smartproxy.model.plan import ProxyPlan
from smartproxy.observe.log_file import STDOUT, open_to_append
from smartproxy.proxy.given import Indexes
from smartproxy.routing.table import RouteTable
from smartproxy.tls.material import TlsMaterial
from smartproxy.tls.renewal import WatchedFiles
from smartproxy.workers.memory import LimitsMemory, Row
from smartproxy.workers.nursery_messages import PROTOCOL, receive, send
from smartproxy.workers.passed_settings import taken_settings
from smartproxy.workers.passed_values import shortened, taken
from smartproxy.workers.shared_limits import SharedLimits
from smartproxy.workers.worker import WorkerStart, run
from smartproxy.workers.worker_log import log_to

if TYPE_CHECKING:
    from collections.abc import Callable

    from smartproxy.model.plan import AccessLogPlan
    from smartproxy.settings import Settings
    from smartproxy.workers.worker_log import LogSender

#: Signals of a terminal or a service manager that reach every process of the group: the supervisor handles them for all.
_OF_THE_SUPERVISOR = (signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


class Nursery:
    """Answers the supervisor.

    :param end: of the socket to it.
    :param log: sends what is logged.
    :param memory: holds limits over all workers.
    :param reactor: the module of the reactor that they use.
    """

    def __init__(self, end: socket.socket, log: LogSender, memory: LimitsMemory, reactor: str) -> None:
        self._end = end
        self._log = log
        self._memory = memory
        self._reactor = reactor
        self._configuration: tuple[Settings, ProxyPlan, Indexes] | None = None
        self._material = TlsMaterial()
        self._material.store.issued = stored_certificate
        self._watched = WatchedFiles({}, None)
        self._contexts = self._material.prepare(ProxyPlan(()))
        self._workers: set[int] = set()
        self._answers: dict[str, Callable[[dict[str, object], list[int]], object]] = {
            "load": self._load,
            "become": self._become,
            "fork": self._fork,
            "renew": self._renew,
            "staple": self._staple,
            "reopen": self._reopen,
            "retire": self._retire,
        }
        self._is_retired = False
        #: The access log of the configuration, opened with the privileges of the start.
        self._log_of: tuple[AccessLogPlan | None, int | None] = None, None

    def run(self) -> None:
        """Answer until the supervisor ends or needs this process no more, and its workers have ended."""
        woken, wakes = socket.socketpair()
        for pipe in (woken, wakes):
            pipe.setblocking(False)
        signal.set_wakeup_fd(wakes.fileno())
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        waiting = select.poll()
        waiting.register(self._end, select.POLLIN)
        waiting.register(woken, select.POLLIN)
        while self._workers or not self._is_retired:
            ready = {descriptor for descriptor, _ in waiting.poll()}
            if woken.fileno() in ready:
                with contextlib.suppress(BlockingIOError):
                    woken.recv(4096)
                self._reap()
            if self._end.fileno() in ready and not self._answer():
                waiting.unregister(self._end)
                self._is_retired = True

    def _answer(self) -> bool:
        """Answer one message; ``False`` where there is none any more."""
        received = receive(self._end)
        if received is None:
            return False
        message, descriptors = received
        try:
            answer = {"ok": self._answers[str(message["do"])](message, descriptors)}
        except Exception as why:
            is_ours = isinstance(why, SmartProxyError)
            answer = {"failed": shortened(str(why) if is_ours else f"{type(why).__name__}: {why}")}
        with contextlib.suppress(OSError):
            send(self._end, answer)
        return True

    def _load(self, message: dict[str, object], descriptors: list[int]) -> None:
        """Take a configuration, and make what TLS needs for it; workers that are forked from now on have it."""
        if message.get("protocol") != PROTOCOL:
            raise WorkerFailed(f"version {__version__} cannot run under this supervisor: restart the proxy")
        before = None if self._configuration is None else self._configuration[0]
        settings = taken_settings(descriptors[0], before)
        plan = settings.compile()
        contexts = self._material.prepare(plan)
        contexts.make_all()
        self._material.store.apply(contexts.certificates)
        contexts.drop_unused()
        self._contexts, self._watched = contexts, WatchedFiles.of(self._material.store.own_entries, plan.tls)
        # Each worker looks for what ACME has issued until it is forked. Of what is here already it gets the same contexts.
        indexes = Indexes(RouteTable(plan.routes), contexts if plan.acme is None else None)
        self._configuration = settings, plan, indexes
        self._open_log(plan.access_log)
        _freeze()

    def _renew(self, _message: dict[str, object], descriptors: list[int]) -> None:
        """Read the certificate files that have changed; workers that are forked from now on have what is in them.

        What cannot be read is reported by a worker.
        """
        before, states = taken(descriptors[0])
        renewal = self._watched.read(before, states, self._material.store)
        self._watched.accept(renewal)
        if renewal.selection is not None:
            self._material.store.show(renewal.selection)
            self._contexts.make_all()
            self._contexts.drop_unused()
        _freeze()

    def _staple(self, _message: dict[str, object], descriptors: list[int]) -> None:
        """Take an OCSP response: workers that are forked from now on staple it at once."""
        self._material.staples.take(*taken(descriptors[0]))

    def _open_log(self, plan: AccessLogPlan | None) -> None:
        """Open the access log for workers that may not open it themselves. It is not written to here."""
        former, opened = self._log_of
        if former is not None and plan is not None and former.path == plan.path:
            return
        if opened is not None:
            os.close(opened)
        self._log_of = plan, _opened(plan)

    def _reopen(self, _message: dict[str, object], _descriptors: list[int]) -> None:
        """Open the access log again: it was rotated. Where this user may not open it, the rotated one is kept."""
        plan, former = self._log_of
        fresh = _opened(plan)
        if fresh is not None:
            self._log_of = plan, fresh
            if former is not None:
                os.close(former)

    def _become(self, message: dict[str, object], _descriptors: list[int]) -> None:
        """Become the user that the supervisor has become."""
        user, group, groups = _number(message["user"]), _number(message["group"]), _numbers(message["groups"])
        if (user, group) == (os.getuid(), os.getgid()):
            return
        os.setgroups(groups)
        os.setresgid(group, group, group)
        os.setresuid(user, user, user)

    def _fork(self, message: dict[str, object], descriptors: list[int]) -> int:
        """Fork a worker; return its number."""
        try:
            if self._configuration is None:
                raise WorkerFailed("no configuration was loaded")
            process = os.fork()
            if not process:
                self._become_worker(message, descriptors[0])
        finally:  # else the supervisor would not notice the end of the worker
            for descriptor in descriptors:
                os.close(descriptor)
        self._workers.add(process)
        return process

    def _retire(self, _message: dict[str, object], _descriptors: list[int]) -> None:
        """Fork no more, and end when the workers have: each of them is reported until then."""
        self._is_retired = True

    def _become_worker(self, message: dict[str, object], control: int) -> NoReturn:
        """In the new process: run until it has nothing to do any more."""
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self._end.close()
            random.seed()
            assert self._configuration is not None  # noqa: S101 - it was just looked at
            self._log.process = f"worker {message['slot']}"
            settings, plan, indexes = self._configuration
            start = WorkerStart(
                settings,
                plan,
                self._material,
                SharedLimits(self._memory, Row(*_numbers(message["row"]))),
                self._log_of[1],
                indexes,
                _number(message["slot"]),
                _number(message["generation"]),
                self._reactor,
            )
            code = run(start, control)
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            with contextlib.suppress(Exception):
                sys.stdout.flush()
            os._exit(code)

    def _reap(self) -> None:
        """Tell the supervisor which workers have ended."""
        for process in list(self._workers):
            ended, status = os.waitpid(process, os.WNOHANG)
            if ended:
                self._workers.discard(process)
                with contextlib.suppress(OSError):
                    send(self._end, {"ended": process, "status": os.waitstatus_to_exitcode(status)})


def _freeze() -> None:
    """Leave what there is to no later collection: in a worker it would write to, and so copy, every page with an object."""
    gc.collect()
    gc.freeze()


def _opened(plan: AccessLogPlan | None) -> int | None:
    """A descriptor of the access log, where there is one that this user may open: a worker that needs it says why not."""
    if plan is None or plan.path == STDOUT:
        return None
    with contextlib.suppress(OSError):
        return open_to_append(plan.path)
    return None


def _number(value: object) -> int:
    assert isinstance(value, int)  # noqa: S101 - our own message
    return value


def _numbers(value: object) -> list[int]:
    assert isinstance(value, list)  # noqa: S101 - our own message
    return [_number(one) for one in value]


def main() -> None:
    """Run with the descriptors that the command line names."""
    reactor, *numbered = sys.argv[1:5]
    namedModule(reactor)
    numbers = [int(number) for number in numbered]
    for number in numbers:
        os.set_inheritable(number, False)
    end, log_end = (socket.socket(fileno=number) for number in numbers[:2])
    for ignored in _OF_THE_SUPERVISOR:
        signal.signal(ignored, signal.SIG_IGN)
    Nursery(end, log_to(log_end, "nursery"), LimitsMemory.attach(numbers[2]), reactor).run()


if __name__ == "__main__":
    main()
