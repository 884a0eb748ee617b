"""The processes of a proxy with workers: their start and end, as a daemon and with another user."""

from __future__ import annotations

import json
import os
import signal
import socket
from pathlib import Path

from tests.live.backends import echo
from tests.live.case import route
from tests.live.programs import environment, run
from tests.live.proxy import Proxy, twistd
from tests.live.test_start_failures import DONE, UNBOUND, StartCase, running_in
from tests.live.waiting import until
from tests.live.workers import WorkersCase, descendants, echoed, is_running

_WORKERS = 2


def user_of(pid):
    """The real and effective user of a process, and its saved and file system one."""
    status = Path(f"/proc/{pid}/status").read_text()
    return {int(uid) for row in status.splitlines() if row.startswith("Uid:") for uid in row.split()[1:]}


class DaemonTests(StartCase):
    def test_daemon_with_workers_starts_once_and_leaves_no_process(self):
        """Pid file and log file as with one process; a second one is refused, and changes neither."""
        front = self.port()
        one = route("one", front, self.backend(echo))
        settings = {"routes": [one], "workers": _WORKERS, "gracefulShutdownTimeout": "500ms"}
        done = self.start(settings, "daemon")
        self.assertEqual((done.returncode, done.stderr), (DONE, ""), done)
        self.assert_echoes(self.connect(front))
        supervisor = int(self.pid_file.read_text())
        processes = [supervisor, *descendants(supervisor)]
        self.assertEqual(len(processes), 2 + _WORKERS)
        self.assertEqual(sorted(running_in(self.directory)), sorted(processes))
        again = run(
            *twistd(), "--pidfile", self.directory / "second.pid", "--logfile", self.directory / "second.log",
            "smartproxy", "--config", self.directory / "smartproxy.json",
            env=environment(), cwd=self.directory,
        )  # fmt: skip
        self.assertEqual(again.returncode, UNBOUND, again)
        self.assertIn(f"cannot listen on [::]:{front}: ", again.stderr)
        until(lambda: sorted(running_in(self.directory)) == sorted(processes), "no other process")
        self.assert_echoes(self.connect(front))
        os.kill(supervisor, signal.SIGTERM)
        until(lambda: not running_in(self.directory), "no process left")
        self.assertFalse(self.pid_file.exists())
        log = self.log.read_text()
        self.assertIn(f"{_WORKERS} workers", log)
        self.assertIn("worker 1: draining: no new connections", log)
        self.assertNotIn("Traceback", log)


class EndTests(WorkersCase):
    def start(self, **settings):
        self.front = self.port()
        self.running = self.proxy(self.identifying("who", self.front), workers=_WORKERS, **settings)
        return self.running

    def test_sigterm_ends_all_processes_after_their_connections(self):
        """Connections may end in order until ``gracefulShutdownTimeout``; new ones are refused at once."""
        proxy = self.start(gracefulShutdownTimeout="20s")
        processes = descendants(proxy.pid)
        self.assertEqual(len(processes), 1 + _WORKERS)
        tunnels = self.tunnels(self.front, 10)
        proxy.signal()
        until(self.is_refused, "no new connections")
        for sock, _ in tunnels:
            echoed(sock, b"words")
            sock.close()
        self.assertEqual(proxy.wait(), 0)
        until(lambda: not any(map(is_running, processes)), "the end of all processes")

    def test_sigterm_ends_a_stopped_worker_too(self):
        """It cannot end its connections, and is killed in the end; this takes 10 s, which is the margin."""
        proxy = self.start(gracefulShutdownTimeout="100ms")
        processes = descendants(proxy.pid)
        self.kill(self.serving(proxy, _WORKERS)[1], signal.SIGSTOP)
        proxy.signal()
        self.assertEqual(proxy.wait(), 0)
        until(lambda: not any(map(is_running, processes)), "the end of all processes")

    def is_refused(self):
        try:
            socket.create_connection(("127.0.0.1", self.front), 5).close()
        except ConnectionRefusedError:
            return True
        except ConnectionResetError:  # it has waited at a socket that was closed meanwhile
            return False
        return False

    def test_workers_end_without_their_supervisor(self):
        """Killed, it cannot tell them; the ports are free for a new start at once, also before the last one has ended."""
        proxy = self.start(gracefulShutdownTimeout="2s")
        processes = descendants(proxy.pid)
        tunnels = self.tunnels(self.front, 4)
        proxy.signal(signal.SIGKILL)
        proxy.wait()
        until(self.is_refused, "no new connections")
        again = Proxy(self.directory, json.loads(proxy.file.read_text()) | {"admin": {"port": self.port()}})
        again = self.starting(again)
        until(lambda: not self.is_refused() or again.ended is not None, "the new start")
        self.assertIsNone(again.ended, again.printed)
        sock, pid = self.identified(self.front)
        self.assertNotIn(pid, processes)
        echoed(sock, b"words")
        for sock, _ in tunnels:
            self.assert_gone(sock)
        until(lambda: not any(map(is_running, processes)), "the end of all processes")

    def test_workers_go_on_without_the_nursery(self):
        """Another one is started; it forks the worker that takes the place of one that is killed later."""
        proxy = self.start()
        workers, nursery = self.serving(proxy, _WORKERS), self.nursery(proxy)
        self.assertIn(nursery, descendants(proxy.pid))
        tunnels = self.tunnels(self.front, 10)
        with self.load(self.front) as load:
            self.kill(nursery)
            until(lambda: "has ended, and is started again" in proxy.printed, "a new nursery")
            for sock, _ in tunnels:
                echoed(sock, b"words")
            before = load.served.copy()
            until(lambda: load.served_since(workers.values(), before), "connections to each")
            self.assertEqual((load.refused, load.cut), ([], []))
            self.kill(workers[1])
            after = self.serving(proxy, _WORKERS, without=[workers[1]])
            before = load.served.copy()
            until(lambda: load.served_since(after.values(), before), "connections to each")
        self.assertNotIn(self.nursery_of(after[1]), (nursery, os.getpid()))
        self.write_second_route(proxy)
        self.assertEqual(proxy.ask("/api/v1/reload", "POST")[0], 200)

    def nursery_of(self, worker):
        return int(Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()[1])

    def write_second_route(self, proxy):
        settings = json.loads(proxy.file.read_text())
        self.second = self.port()
        settings["routes"].append(self.identifying("second", self.second))
        proxy.file.write_text(json.dumps(settings))

    def test_sigusr1_makes_every_worker_write_to_the_new_access_log(self):
        log, old = self.directory / "access.log", self.directory / "access.log.1"
        proxy = self.start(accessLog={"path": str(log), "format": "json"})
        workers = self.serving(proxy, _WORKERS).values()
        before = self.visited(workers)
        until(lambda: before <= self.logged(log), f"lines for {before}")
        log.rename(old)
        proxy.signal(signal.SIGUSR1)
        until(log.exists, "the new log")
        until(lambda: self.is_logged(log, old, workers), "lines of every worker in the new log")
        self.assertTrue(self.is_logged(log, old, workers))

    def is_logged(self, log, old, workers):
        """Whether connections to each worker have their lines in ``log``."""
        ports = self.visited(workers)
        until(lambda: ports <= self.logged(log) | self.logged(old), f"lines for {ports}")
        return ports <= self.logged(log)

    def visited(self, workers):
        """The ports of the clients of a closed connection to each worker."""
        found = self.in_each(self.front, workers).values()
        ports = {sock.getsockname()[1] for sock in found}
        for sock in found:
            sock.close()
        return ports

    def logged(self, path):
        return {json.loads(each)["clientPort"] for each in path.read_text().splitlines()}
