"""Workers that are killed or stuck: only their own connections end, and others serve meanwhile."""

from __future__ import annotations

import signal
import time

from tests.live.waiting import until
from tests.live.workers import WorkersCase, echoed, is_running, line

_ROUNDS = 4


class CrashTests(WorkersCase):
    def assert_only_cut_by(self, load, killed):
        """``killed`` are the processes that were killed, with the time of it."""
        self.assertEqual(load.refused, [])
        for pid, began, ended, how in load.cut:
            times = [at for process, at in killed.items() if pid in (None, process)]
            self.assertTrue(any(began <= at <= ended for at in times), (pid, began, ended, how, killed))

    def test_only_connections_of_a_killed_worker_end(self):
        """Under load: no connect fails, open connections of other workers go on, and new processes serve later ones."""
        front = self.port()
        proxy = self.proxy(self.identifying("who", front), workers=3)
        tunnels = self.tunnels(front, 30)
        killed = {}
        with self.load(front) as load:
            for number in range(_ROUNDS):
                workers = self.serving(proxy, 3, without=killed)
                before = load.served.copy()
                until(lambda: load.served_since(workers.values(), before), "connections to each")  # noqa: B023 - this round's
                victim = workers[number % 3 + 1]
                killed[victim] = time.monotonic()
                self.kill(victim)
            workers = self.serving(proxy, 3, without=killed)
            before = load.served.copy()
            until(lambda: load.served_since(workers.values(), before), "connections to each, at the end")
        self.assert_only_cut_by(load, killed)
        self.assertLess(len(load.cut), 4 * _ROUNDS + 1)
        for sock, pid in tunnels:
            if pid in killed:
                self.assert_gone(sock)
            else:
                echoed(sock, b"words")
        page = proxy.ask("/metrics")[1].decode()
        self.assertIn(f"\nsmartproxy_worker_restarts_total {_ROUNDS}\n", page)
        self.assertEqual(proxy.printed.count("has ended by signal SIGKILL"), _ROUNDS)

    def test_connections_that_wait_for_a_stopped_worker_are_served_after_it_is_killed(self):
        """They were completed by the kernel, and accepted by no process yet; another worker takes the sockets over."""
        front = self.port()
        proxy = self.proxy(self.identifying("who", front), workers=2)
        victim = self.serving(proxy, 2)[1]
        self.kill(victim, signal.SIGSTOP)
        waiting = [self.connect(front) for _ in range(40)]
        for sock in waiting:
            sock.sendall(b"words")
        self.kill(victim)
        for sock in waiting:
            self.assertNotEqual(int(line(sock)), victim)
            self.assertEqual(self.read(sock, 5), b"words")

    def test_stuck_worker_is_ended_after_ten_seconds_and_others_serve(self):
        """It takes these ten seconds: five signs of life, two seconds apart, must be missing."""
        front = self.port()
        proxy = self.proxy(self.identifying("who", front), workers=2)
        workers = self.serving(proxy, 2)
        stuck, other = workers[2], workers[1]
        tunnels = self.in_each(front, workers.values())
        began = time.monotonic()
        self.kill(stuck, signal.SIGSTOP)
        waiting = [self.connect(front) for _ in range(20)]
        until(lambda: not is_running(stuck), "the end of the stuck worker")
        self.assertGreater(time.monotonic() - began, 8)
        echoed(tunnels[other], b"words")
        served = {int(line(sock)) for sock in waiting}
        self.assertNotIn(stuck, served)
        self.assertIn(f"worker 2 (process {stuck}) is stuck, and is ended", proxy.printed)
        self.in_each(front, self.serving(proxy, 2, without=[stuck]).values())

    def test_worker_that_ends_its_last_connections_has_a_successor_already(self):
        """SIGTERM to a worker with a live connection: new ones are served meanwhile, long before the timeout."""
        front = self.port()
        proxy = self.proxy(self.identifying("who", front), workers=2, gracefulShutdownTimeout="60s")
        workers = self.serving(proxy, 2)
        tunnels = self.in_each(front, workers.values())
        with self.load(front) as load:
            self.kill(workers[1], signal.SIGTERM)
            after = self.serving(proxy, 2, without=[workers[1]])
            before = load.served.copy()
            until(lambda: load.served_since(after.values(), before), "connections to each")
        self.assertEqual((load.refused, load.cut), ([], []))
        self.assertEqual([each["pid"] for each in self.workers(proxy, state="draining")], [workers[1]])
        for sock in tunnels.values():
            echoed(sock, b"words")
        tunnels[workers[1]].close()
        until(lambda: not is_running(workers[1]), "its end")

    def test_substitute_that_ends_is_replaced_by_another_worker(self):
        """A worker that has ended several times waits; the one that accepts from its sockets meanwhile is killed."""
        front = self.port()
        proxy = self.proxy(self.identifying("who", front), workers=3)
        workers = self.serving(proxy, 3)
        second, killed = workers[2], []
        while "worker 1 has ended; another one is started in 0.8 s" not in proxy.printed:
            killed.append(self.serving(proxy, 3, without=killed)[1])
            self.kill(killed[-1])
            until(lambda: f"{killed[-1]} has ended by signal SIGKILL" in proxy.printed, "its end")
        self.kill(second)
        killed.append(second)
        for _ in range(30):
            sock, pid = self.identified(front)
            self.assertNotIn(pid, killed)
            sock.close()
        self.serving(proxy, 3, without=killed)
        self.assertNotIn("has no substitute", proxy.printed)
