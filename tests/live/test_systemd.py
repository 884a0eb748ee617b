"""systemd: what the process tells it, the unit file, and a proxy that runs with what the unit allows."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import ssl
import stat
import sys
import time
from ctypes.util import find_library
from pathlib import Path

from tests.live.backends import echo
from tests.live.case import LiveCase, route
from tests.live.certificates import Authority
from tests.live.programs import ROOT, environment, needed, run
from tests.live.proxy import Proxy
from tests.live.waiting import PATIENCE, until

UNIT = ROOT / "tap" / "smartproxy.service"


class Manager:
    """systemd's end of the notification socket.

    :ivar stored: the names of the descriptors that it was given to keep.
    """

    def __init__(self, address):
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address)
        self._socket.settimeout(PATIENCE)
        self.close = self._socket.close
        self.stored = []

    def next(self, watchdog=False):
        """The variables of the next message; signs of life are left out unless asked for."""
        while True:
            message = self._receive()
            if message and (watchdog or message != {"WATCHDOG": "1"}):
                return message

    def _receive(self):
        """The variables of a message; none of one with descriptors, which are closed."""
        content, descriptors, _, _ = socket.recv_fds(self._socket, 65536, 300)
        for descriptor in descriptors:
            os.close(descriptor)
        message = dict(line.split("=", 1) for line in content.decode().splitlines())
        if "FDSTORE" not in message:
            return message
        self.stored += [message["FDNAME"]] * len(descriptors)
        return {}

    def waiting(self):
        """The number of messages that have arrived and were not read; they are dropped."""
        self._socket.setblocking(False)
        count = 0
        try:
            while True:
                count += bool(self._receive())
        except BlockingIOError:
            self._socket.settimeout(PATIENCE)
            return count


class NotifyTests(LiveCase):
    def managed(self, address, name=None, **variables):
        """A manager, and a proxy that it has started."""
        manager = Manager(address)
        self.addCleanup(manager.close)
        front = self.port()
        settings = {"routes": [route("one", front, self.backend(echo))]}
        before = ["env", f"NOTIFY_SOCKET={name or address}", *(f"{k}={v}" for k, v in variables.items())]
        return manager, self.starting(Proxy(self.directory, settings, before)), front

    def test_start_reload_and_stop_are_announced(self):
        manager, proxy, front = self.managed(str(self.directory / "notify"))
        ready = manager.next()
        self.assert_echoes(self.connect(front))  # the ports are bound
        self.assertEqual((ready["READY"], ready["MAINPID"]), ("1", str(proxy.pid)))
        self.assertEqual(ready["STATUS"], f"listening on [::]:{front}; 1 routes")
        for trigger in (lambda: proxy.signal(signal.SIGHUP), lambda: proxy.ask("/api/v1/reload", "POST")):
            before = time.monotonic_ns() // 1000
            trigger()
            reloading = manager.next()
            self.assertEqual(reloading["RELOADING"], "1")
            self.assertTrue(before <= int(reloading["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000)
            self.assertEqual(manager.next()["READY"], "1")
        proxy.signal(signal.SIGTERM)
        self.assertEqual(manager.next()["STOPPING"], "1")
        self.assertEqual(proxy.wait(), 0)

    def test_listening_sockets_are_kept_for_the_next_start(self):
        manager, proxy, front = self.managed(str(self.directory / "notify"))
        manager.next()
        until(lambda: manager.waiting() == 0 and manager.stored, "the sockets")
        self.assertEqual(manager.stored, [f"_{front}"])
        proxy.signal(signal.SIGTERM)
        self.assertEqual(proxy.wait(), 0)

    def test_refused_reload_ends_with_ready_and_its_reason(self):
        """systemd would wait for READY=1, and take the service for broken."""
        manager, proxy, front = self.managed(str(self.directory / "notify"))
        manager.next()
        settings = json.loads(proxy.file.read_text())
        other = self.backend(echo).port
        for broken, why in (
            ({**settings, "routes": []}, "reload refused: "),
            (
                {**settings, "routes": [*settings["routes"], route("two", other, {"host": "h", "port": 1})]},
                f"reload refused: cannot listen on [::]:{other}: ",
            ),
        ):
            proxy.file.write_text(json.dumps(broken))
            proxy.signal(signal.SIGHUP)
            self.assertEqual(manager.next()["RELOADING"], "1")
            answer = manager.next()
            self.assertEqual(answer["READY"], "1")
            self.assertIn(why, answer["STATUS"])
            self.assertIn(f"listening on [::]:{front}", answer["STATUS"])

    def test_drain_by_the_api_is_shown(self):
        manager, proxy, _ = self.managed(str(self.directory / "notify"))
        manager.next()
        proxy.ask("/api/v1/drain", "POST")
        self.assertEqual(manager.next(), {"STATUS": "draining: no new connections"})

    def test_abstract_socket_and_signs_of_life_while_the_event_loop_runs(self):
        """A process that does not run sends none, and one that runs again does."""
        name = f"smartproxy-live-{os.getpid()}-{self.port()}"
        manager, proxy, _ = self.managed(f"\0{name}", f"@{name}", WATCHDOG_USEC="200000")
        until(lambda: "READY" in manager.next(watchdog=True), "the start")
        for _ in range(3):
            self.assertEqual(manager.next(watchdog=True), {"WATCHDOG": "1"})
        proxy.signal(signal.SIGSTOP)
        until(lambda: Path(f"/proc/{proxy.pid}/stat").read_text().split()[2] == "T", "the stop")
        manager.waiting()
        time.sleep(0.5)
        self.assertEqual(manager.waiting(), 0)
        proxy.signal(signal.SIGCONT)
        self.assertEqual(manager.next(watchdog=True), {"WATCHDOG": "1"})

    def test_signs_of_life_of_another_process_are_not_sent(self):
        manager, _, _ = self.managed(str(self.directory / "notify"), WATCHDOG_USEC="20000", WATCHDOG_PID="1")
        self.assertEqual(manager.next(watchdog=True)["READY"], "1")
        time.sleep(0.2)
        self.assertEqual(manager.waiting(), 0)

    def test_failed_start_is_never_ready(self):
        manager = Manager(str(self.directory / "notify"))
        self.addCleanup(manager.close)
        taken = self.backend(echo)
        settings = {"routes": [route("one", taken.port, taken)]}
        proxy = Proxy(self.directory, settings, ["env", f"NOTIFY_SOCKET={self.directory / 'notify'}"])
        self.addCleanup(proxy.stop)
        self.assertEqual(proxy.wait(), 3)
        self.assertEqual(manager.waiting(), 0)


class UnitTests(LiveCase):
    def setUp(self):
        super().setUp()
        self.tool = needed("systemd-analyze")

    def installed(self):
        """The unit as it would be installed: its commands exist."""
        programs = self.directory / "bin"
        programs.mkdir()
        for name in ("smartproxy", "twistd"):
            program = programs / name
            program.write_text("#!/bin/sh\n")
            program.chmod(program.stat().st_mode | stat.S_IXUSR)
        return self.file("smartproxy.service", UNIT.read_text().replace("/opt/smartproxy/bin", str(programs)))

    def test_unit_is_valid_without_a_warning(self):
        done = run(self.tool, "verify", "--man=no", self.installed())
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))

    def test_exposure_is_at_most_three(self):
        """Also with the profiles of systemd for portable services, where they are installed."""
        unit = self.installed()
        profiles = [path.parent.name for path in Path("/usr/lib/systemd/portable/profile").glob("*/*.conf")]
        for profile in ((), *([f"--profile={name}"] for name in sorted(set(profiles) - {"trusted"}))):
            done = run(self.tool, "security", "--offline=true", "--no-pager", *profile, unit)
            found = re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
            self.assertIsNotNone(found, done)
            self.assertLessEqual(float(found[1]), 3.0, done.stdout)

    def test_proxy_works_with_the_system_calls_that_the_unit_allows(self):
        """Relays, TLS on both sides, the admin API, a reload, a renewal and a stop."""
        if find_library("seccomp") is None:
            self.skipTest("libseccomp is not installed")
        authority = Authority(self.directory)
        pem = authority.certificate("live.test")
        plain, ends_tls, inner = self.port(), self.port(), self.port()
        backend = self.backend(echo)
        terminate = {"tls": {"mode": "terminate", "certificate": {"certFile": str(pem)}}}
        again = {
            "tls": {
                "mode": "terminate-and-reencrypt",
                "certificate": "selfSigned",
                "upstream": {"ca": str(authority.file), "serverName": "live.test"},
            }
        }
        outer = self.port()
        target = {"host": "localhost", "port": ends_tls}  # a name: it is resolved in a thread
        settings = {
            "routes": [
                route("plain", plain, backend),
                route("terminates", ends_tls, backend, action=terminate),
                route("again", outer, target, action=again),
                route("inner", inner, {"host": "127.0.0.1", "port": plain}),
            ],
            "accessLog": {"path": str(self.directory / "access.log")},
            "tls": {"certificates": str(self.directory)},
        }
        confined = [sys.executable, ROOT / "tests" / "live" / "confined.py", UNIT]
        proxy = self.starting(Proxy(self.directory, settings, confined))
        proxy.ready()
        for port in (plain, inner):
            self.assert_echoes(self.connect(port), bytes(1_000_000))
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        for port in (ends_tls, outer):
            with context.wrap_socket(self.connect(port), server_hostname="live.test") as client:
                self.assert_echoes(client)
        self.assertEqual(proxy.ask("/metrics")[0], 200)
        self.assertEqual(proxy.ask("/api/v1/reload", "POST")[0], 200)
        authority.certificate("live.test")  # the file changes: it is watched, and read in a thread
        until(lambda: "certificate" in proxy.printed, "the renewal")
        proxy.signal(signal.SIGTERM)
        self.assertEqual(proxy.wait(), 0)
        self.assertNotIn("Operation not permitted", proxy.printed)

    def test_confinement_refuses_what_the_unit_does_not_allow(self):
        """Otherwise the test above would show nothing."""
        if find_library("seccomp") is None:
            self.skipTest("libseccomp is not installed")
        confined = [sys.executable, ROOT / "tests" / "live" / "confined.py", UNIT, sys.executable, "-c"]
        for attempt in (
            "import socket; socket.socket(socket.AF_PACKET, socket.SOCK_RAW)",
            "import os; os.chroot('/')",
        ):
            done = run(*confined, attempt, env=environment())
            self.assertIn("Operation not permitted", done.stderr, attempt)
