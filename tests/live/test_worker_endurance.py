"""Workers that are reloaded, replaced and killed again and again, under load and with tunnels open.

A few rounds here; ``make soak`` sets the length with ``SMARTPROXY_WORKER_ROUNDS``: so many replacements, twice as many
reloads, and a kill each five seconds for so many seconds.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

from tests.live.test_worker_changes import ChangeCase
from tests.live.waiting import until
from tests.live.workers import descendants, echoed, is_running

_ROUNDS = int(os.environ.get("SMARTPROXY_WORKER_ROUNDS", "0"))
_REPLACEMENTS, _RELOADS = _ROUNDS or 2, 2 * _ROUNDS or 4
_TUNNELS = 200 if _ROUNDS else 20
#: Kills, and seconds between two of them.
_KILLS, _BETWEEN = (max(_ROUNDS // 5, 1), 5.0) if _ROUNDS else (2, 0.0)
#: ``gracefulShutdownTimeout`` in seconds, and how much earlier and later an end may be seen.
_LIMIT, _EARLY, _LATE = 3, 0.5, 15.0
#: MiB that a process may grow in the second half of the rounds: there is no growth that goes on.
_GROWTH = 4


def rss(pid):
    """MiB of memory that a process has in use."""
    with suppress(OSError):
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
    return 0.0


class Watched:
    """The memory and descriptors of a proxy's processes, round by round."""

    def __init__(self):
        self.rounds = []

    def note(self, processes):
        """``processes`` are the numbers of those to watch, by what they are."""
        self.rounds.append(
            {
                what: (rss(pid), len(list(Path(f"/proc/{pid}/fd").iterdir())))
                for what, pid in processes.items()
            }
        )

    def growth(self):
        """How much each has grown from the middle to the end: MiB and descriptors."""
        middle, end = self.rounds[len(self.rounds) // 2], self.rounds[-1]
        return {what: (end[what][0] - middle[what][0], end[what][1] - middle[what][1]) for what in end}


class EnduranceTests(ChangeCase):
    def assert_flat(self, watched):
        for what, (mebibytes, descriptors) in watched.growth().items():
            self.assertLess(mebibytes, _GROWTH, (what, watched.rounds))
            self.assertLessEqual(descriptors, 2, (what, watched.rounds))

    def processes(self, workers):
        return {"supervisor": self.proxy_.pid, **{f"worker {slot}": pid for slot, pid in workers.items()}}

    def test_reloads_end_no_connection_and_leave_nothing(self):
        self.start()
        workers = self.serving(self.proxy_, 3)
        tunnels = self.tunnels(self.front, _TUNNELS)
        watched = Watched()
        with self.load(self.front) as load:
            for number in range(_RELOADS):
                self.write(self.identifying(f"new {number}", self.port()))
                self.assertEqual(self.reload()[0], 200)
                watched.note(self.processes(workers))
        self.assertEqual((load.refused, load.cut), ([], []))
        self.assertEqual(self.serving(self.proxy_, 3), workers)
        for sock, _ in tunnels:
            echoed(sock, b"words")
        if _ROUNDS:
            self.assert_flat(watched)
        print(
            f"{_RELOADS} reloads, {load.count} connections, slowest {load.slowest:.3f} s, {watched.growth()}"
        )

    def test_replacements_end_no_connection_before_its_time_and_leave_nothing(self):
        self.start(gracefulShutdownTimeout=f"{_LIMIT}s")
        watched, tunnels, replaced = Watched(), [], {}
        with self.load(self.front) as load:
            for _ in range(_REPLACEMENTS):
                workers = self.serving(self.proxy_, 3)
                tunnels += self.tunnels(self.front, _TUNNELS - len(tunnels))
                began = time.monotonic()
                self.replace()
                replaced |= dict.fromkeys(workers.values(), (began, time.monotonic()))
                tunnels = [each for each in tunnels if self._lives(*each, replaced)]
                watched.note({"supervisor": self.proxy_.pid})
        self.assertEqual((load.refused, load.cut), ([], []))
        until(lambda: not any(map(is_running, replaced)), "the end of those replaced")
        until(lambda: len(descendants(self.proxy_.pid)) == 4, "no process but the nursery and three workers")
        if _ROUNDS:
            self.assert_flat(watched)
        print(
            f"{_REPLACEMENTS} replacements, {load.count} connections, slowest {load.slowest:.3f} s, {watched.growth()}"
        )

    def _lives(self, sock, pid, replaced):
        """Whether a tunnel lives: it must as long as its worker is not replaced or has time left; a while later it must not."""
        began, ended = replaced.get(pid, (float("inf"), float("inf")))
        try:
            echoed(sock, b"words")
        except OSError:
            self.assertGreater(time.monotonic(), began + _LIMIT - _EARLY, "cut before its time")
            sock.close()
            return False
        self.assertLess(time.monotonic(), ended + _LIMIT + _LATE, "not cut after its time")
        return True

    def test_kills_end_only_the_connections_of_the_killed(self):
        self.start(workers=4)
        watched, killed = Watched(), {}
        tunnels = self.tunnels(self.front, _TUNNELS)
        with self.load(self.front) as load:
            for number in range(_KILLS):
                workers = self.serving(self.proxy_, 4, without=killed)
                time.sleep(_BETWEEN)  # the interval that operators would ask about
                victim = workers[number % 4 + 1]
                killed[victim] = time.monotonic()
                self.kill(victim, signal.SIGKILL)
                watched.note({"supervisor": self.proxy_.pid})
            self.serving(self.proxy_, 4, without=killed)
        self.assertEqual(load.refused, [])
        for pid, began, ended, how in load.cut:
            times = [at for process, at in killed.items() if pid in (None, process)]
            self.assertTrue(any(began <= at <= ended for at in times), (pid, began, ended, how, killed))
        for sock, pid in tunnels:
            if pid in killed:
                self.assert_gone(sock)
            else:
                echoed(sock, b"words")
        if _ROUNDS:
            self.assert_flat(watched)
        print(
            f"{_KILLS} kills, {load.count} connections, {len(load.cut)} cut, slowest {load.slowest:.3f} s, {watched.growth()}"
        )
