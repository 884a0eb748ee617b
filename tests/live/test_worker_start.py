"""The start of a proxy with workers: as root for another user, with handlers, under systemd."""

from __future__ import annotations

import json
import os
import pwd
import re
import signal
import unittest
from pathlib import Path

from tests.live.certificates import Authority
from tests.live.proxy import Proxy
from tests.live.terminating import NAME
from tests.live.test_systemd import Manager
from tests.live.waiting import PATIENCE, until
from tests.live.workers import WorkersCase, descendants, echoed, line

_WORKERS = 2
#: Imports the reactor, and schedules and sends with it; the process that forks the workers imports this, too.
_HANDLERS = """
import os

from twisted.internet import reactor
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread


async def identify(connection):
    await deferLater(reactor, 0.01, lambda: None)
    pid = await deferToThread(os.getpid)
    await connection.write(b"%d\\n" % pid)
    while data := await connection.read():
        await connection.write(data)


class Late(Protocol):
    def connectionMade(self):
        reactor.callLater(0.01, self.transport.write, b"%d\\n" % os.getpid())


late = Factory.forProtocol(Late)
"""


def user_of(pid):
    """The real, effective, saved and file system user of a process."""
    (row,) = (row for row in Path(f"/proc/{pid}/status").read_text().splitlines() if row.startswith("Uid:"))
    return {int(uid) for uid in row.split()[1:]}


@unittest.skipIf(os.geteuid() != 0, "only root can bind a low port and then switch to another user")
class PrivilegesTests(WorkersCase):
    def test_workers_have_the_user_and_serve_a_low_port(self):
        """A key and a low port of root's: a reload and a worker that is killed need neither again.

        SIGUSR2 starts Python again, which this user may be unable to; then the workers go on as they are.
        """
        nobody = pwd.getpwnam("nobody").pw_uid
        os.chown(self.directory, nobody, -1)
        folder = self.directory / "private"
        folder.mkdir(mode=0o700)
        authority = Authority(folder)
        certificate = {"certFile": str(authority.certificate(NAME))}
        low, secured, second = self.low_port(), self.port(), self.port()
        over_tls = self.identifying("secured", secured)
        over_tls["action"] = over_tls["action"] | {"tls": {"mode": "terminate", "certificate": certificate}}
        settings = {"routes": [self.identifying("low", low), over_tls], "workers": _WORKERS}
        proxy = self.starting(Proxy(self.directory, settings, options=["-u", "nobody", "-g", "nogroup"]))
        proxy.ready()

        def check(workers, *ports):
            for pid in (proxy.pid, *descendants(proxy.pid)):
                self.assertEqual(user_of(pid), {nobody})
            for port in (low, *ports):
                self.in_each(port, workers.values())
            with authority.client().wrap_socket(self.connect(secured), server_hostname=NAME) as client:
                self.assertIn(int(line(client)), workers.values())

        workers = self.serving(proxy, _WORKERS)
        check(workers)
        settings = json.loads(proxy.file.read_text())
        settings["routes"].append(self.identifying("second", second))
        proxy.file.write_text(json.dumps(settings))
        self.assertEqual(proxy.ask("/api/v1/reload", "POST")[0], 200)
        check(workers, second)
        self.kill(workers[1])
        workers = self.serving(proxy, _WORKERS, without=[workers[1]])
        check(workers, second)
        proxy.signal(signal.SIGUSR2)
        until(lambda: re.search("workers (not )?replaced", proxy.printed), "an answer to SIGUSR2")
        check(self.serving(proxy, _WORKERS), second)


class HandlerTests(WorkersCase):
    def test_handlers_that_import_the_reactor_work_in_every_worker(self):
        """Calls later and calls in threads use the reactor of the worker, also of one that was started later."""
        self.file("importing_of_live_test.py", _HANDLERS)
        ports = {name: self.port() for name in ("identify", "late")}
        routes = [
            {
                "name": name,
                "match": {"ports": [port]},
                "action": {"type": "handler", "handler": f"importing_of_live_test:{name}"},
            }
            for name, port in ports.items()
        ]
        proxy = self.proxy(*routes, workers=_WORKERS)
        workers = self.serving(proxy, _WORKERS)
        for port in ports.values():
            self.in_each(port, workers.values())
        self.kill(workers[2])
        after = self.serving(proxy, _WORKERS, without=[workers[2]])
        for port in ports.values():
            self.in_each(port, after.values())
        proxy.signal(signal.SIGUSR2)
        after = self.serving(proxy, _WORKERS, without=after.values())
        for port in ports.values():
            echo = self.in_each(port, after.values())
        self.assertEqual(echo.keys(), set(after.values()))
        sock, _ = self.identified(ports["identify"])
        echoed(sock, b"words")


class States(Manager):
    """systemd's end, which leaves out the sockets that it is to keep."""

    def next(self, watchdog=False):
        while "FDSTORE" in (told := super().next(watchdog)):
            pass
        return told

    def is_fed(self):
        """Whether a sign of life is sent within a second."""
        self.waiting()
        self._socket.settimeout(1)
        try:
            return self.next(watchdog=True) == {"WATCHDOG": "1"}
        except TimeoutError:
            return False
        finally:
            self._socket.settimeout(PATIENCE)


class NotifyTests(WorkersCase):
    def managed(self, *variables, workers):
        """A manager, and a proxy that it has started."""
        address = str(self.directory / "notify")
        manager = States(address)
        self.addCleanup(manager.close)
        self.front = self.port()
        settings = {"routes": [self.identifying("who", self.front)], "workers": workers}
        before = ["env", f"NOTIFY_SOCKET={address}", *variables]
        return manager, self.starting(Proxy(self.directory, settings, before))

    def test_ready_is_sent_when_every_worker_serves(self):
        """And again after a reload; STOPPING at the end. No other process of the proxy has the socket."""
        manager, proxy = self.managed(workers=3)
        ready = manager.next()
        workers = {each["pid"] for each in self.workers(proxy, state="serving")}
        self.assertEqual((ready["READY"], ready["MAINPID"]), ("1", str(proxy.pid)))
        self.assertEqual(len(workers), 3)
        self.in_each(self.front, workers)
        for pid in descendants(proxy.pid):
            self.assertNotIn(b"NOTIFY_SOCKET", Path(f"/proc/{pid}/environ").read_bytes())
        for trigger in (lambda: proxy.signal(signal.SIGHUP), lambda: proxy.ask("/api/v1/reload", "POST")):
            trigger()
            self.assertEqual(manager.next()["RELOADING"], "1")
            self.assertEqual(manager.next()["READY"], "1")
        proxy.signal(signal.SIGTERM)
        self.assertEqual(manager.next()["STOPPING"], "1")
        self.assertEqual(proxy.wait(), 0)

    def test_watchdog_is_not_fed_while_a_worker_is_stopped(self):
        """systemd would restart the service, if the supervisor did not end the worker first."""
        manager, proxy = self.managed("WATCHDOG_USEC=400000", workers=_WORKERS)
        until(lambda: "READY" in manager.next(watchdog=True), "the start")
        self.assertEqual(manager.next(watchdog=True), {"WATCHDOG": "1"})
        victim = self.serving(proxy, _WORKERS)[1]
        self.kill(victim, signal.SIGSTOP)
        until(lambda: not manager.is_fed(), "no sign of life for five periods")
        self.kill(victim, signal.SIGCONT)
        self.assertEqual(manager.next(watchdog=True), {"WATCHDOG": "1"})
