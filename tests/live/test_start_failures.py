"""A start that fails, as a daemon and in the foreground: a message on standard error, an exit code, and nothing left behind.

twistd's parent waits for its daemon on a pipe that it holds open itself, so a daemon that only exits would leave it waiting
for ever. A supervisor reads the exit code: a restart helps against some failures, and not against others.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import unittest
from pathlib import Path
from typing import NamedTuple

from tests.live.backends import echo
from tests.live.case import LiveCase, route
from tests.live.certificates import Authority
from tests.live.programs import environment, needed, run
from tests.live.proxy import twistd
from tests.live.waiting import until

DONE, FAILED, INVALID, UNBOUND = 0, 1, 2, 3
#: How twistd is started: its own options, besides those for the log and the pid file.
WAYS = {"daemon": (), "foreground": ("-n",)}


class FailedStart(NamedTuple):
    """A start that must fail.

    :ivar says: what a line on standard error contains.
    :ivar settings: of the configuration; ``None`` is a file that is not there.
    :ivar options: of twistd.
    :ivar before: words of the command line before twistd.
    """

    code: int
    says: str
    settings: dict | str | None
    options: tuple = ()
    before: tuple = ()


def running_in(directory):
    """The processes whose working directory this is, by their ids."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdigit() and (process / "cwd").readlink() == directory:
                found.append(int(process.name))
        except OSError:
            continue  # it has ended, or is another user's
    return found


class StartCase(LiveCase):
    def setUp(self):
        super().setUp()
        self.directory = self.directory.resolve()
        self.pid_file = self.directory / "twistd.pid"
        self.log = self.directory / "twistd.log"
        self.addCleanup(self.end_all)

    def end_all(self):
        """End what a failing test has left running."""
        for process in running_in(self.directory):
            os.kill(process, signal.SIGKILL)

    def start(self, settings, way, options=(), before=(), command=()):
        """Run the command until it returns: with a daemon in the background, or with a failure."""
        file = self.directory / "smartproxy.json"
        if settings is None:
            file.unlink(missing_ok=True)
        else:
            file.write_text(settings if isinstance(settings, str) else json.dumps(settings))
        options = (*WAYS[way], "--pidfile", self.pid_file, "--logfile", self.log, *options)
        return run(
            *before, *twistd(), *options, "smartproxy", "--config", file, *command,
            env=environment(), cwd=self.directory,
        )  # fmt: skip

    def assert_fails(self, case, way):
        """It fails as described, and nothing stays."""
        done = self.start(case.settings, way, case.options, case.before)
        self.assertEqual(done.returncode, case.code, done)
        lines = [line for line in done.stderr.splitlines() if case.says in line]
        self.assertEqual(len(lines), 1, done.stderr)
        self.assertNotIn("Traceback", done.stderr)
        self.assertNotIn("An error has occurred", done.stderr)
        self.assertFalse(self.pid_file.exists())
        until(lambda: not running_in(self.directory), "no process left")

    def taken(self):
        """A port that is in use on 127.0.0.1."""
        listening = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listening.close)
        return listening.getsockname()[1]

    def on(self, port, **keys):
        """A route that listens on 127.0.0.1."""
        one = route("one", port, {"host": "127.0.0.1", "port": 1})
        one["match"]["address"] = "127.0.0.1"
        return {**one, **keys}


class FailedStartTests(StartCase):
    def assert_all_fail(self, cases):
        for name, case in cases.items():
            for way in WAYS:
                with self.subTest(name, way=way):
                    self.assert_fails(case, way)

    def test_address_that_cannot_be_listened_on(self):
        taken, free, folder = self.taken(), self.port(), self.directory / "folder"
        folder.mkdir()
        fine = {"routes": [self.on(free)]}
        elsewhere = {**self.on(free), "match": {"ports": [free], "address": "192.0.2.1"}}
        on_taken, nowhere = f"cannot listen on 127.0.0.1:{taken}: ", "/nowhere/admin.sock"
        self.assert_all_fail({
            "port in use": FailedStart(UNBOUND, on_taken, {"routes": [self.on(taken)]}),
            "admin port in use": FailedStart(UNBOUND, on_taken, {**fine, "admin": {"port": taken}}),
            "address of another machine": FailedStart(
                UNBOUND, f"cannot listen on 192.0.2.1:{free}: ", {"routes": [elsewhere]}
            ),
            "no directory for the admin socket": FailedStart(
                UNBOUND, f"cannot listen on unix:{nowhere}: ", {**fine, "admin": {"unix": nowhere}}
            ),
            "path of the admin socket is a directory": FailedStart(
                UNBOUND, f"cannot listen on unix:{folder}: ", {**fine, "admin": {"unix": str(folder)}}
            ),
        })  # fmt: skip

    def test_configuration_that_is_refused(self):
        free = self.port()
        pem = Authority(self.directory).certificate("live.test")
        broken = self.directory / "broken.key"
        broken.write_text("not a key")
        tls = {"mode": "terminate", "certificate": {"certFile": str(pem), "keyFile": str(broken)}}
        ends_tls = {"targets": [{"host": "127.0.0.1", "port": 1}], "tls": tls}
        handler = {"type": "handler", "handler": "there_is_none:echo"}
        self.assert_all_fail({
            "no file": FailedStart(INVALID, "smartproxy.json: cannot be read", None),
            "not JSON": FailedStart(INVALID, "smartproxy.json:1: ", "{"),
            "unknown key": FailedStart(
                INVALID, "routs: unknown key", {"routes": [self.on(free)], "routs": []}
            ),
            "missing handler module": FailedStart(
                INVALID, "there_is_none", {"routes": [self.on(free, action=handler)]}
            ),
            "unreadable key": FailedStart(
                INVALID, str(broken), {"routes": [self.on(free, action=ends_tls)]}
            ),
        })  # fmt: skip

    def test_directory_that_is_not_there(self):
        fine = {"routes": [self.on(self.port())]}
        logged = {**fine, "accessLog": {"path": "/nowhere/access.log"}}
        log, pid = "/nowhere/twistd.log", "/nowhere/twistd.pid"
        why = ":1: accessLog.path: /nowhere/access.log: cannot be opened: No such file or directory"
        self.assert_all_fail({
            "access log": FailedStart(INVALID, why, logged),
            "access log of workers": FailedStart(INVALID, why, {**logged, "workers": 2}),
            "twistd's log": FailedStart(FAILED, log, fine, ("--logfile", log)),
            "pid file": FailedStart(FAILED, pid, fine, ("--pidfile", pid)),
            "directory to run in": FailedStart(FAILED, "/nowhere", fine, ("--rundir", "/nowhere")),
        })  # fmt: skip

    def test_every_problem_of_a_configuration_is_printed(self):
        settings = {"routes": [self.on(70000)], "routs": []}
        for way in WAYS:
            done = self.start(settings, way)
            self.assertEqual((done.returncode, len(done.stderr.splitlines())), (INVALID, 2), done.stderr)

    def test_log_file_of_a_daemon_has_the_reason_too(self):
        """A daemon is often started at boot, where nobody reads its standard error."""
        taken = self.taken()
        self.start({"routes": [self.on(taken)]}, "daemon")
        self.assertIn(f"cannot start: cannot listen on 127.0.0.1:{taken}: ", self.log.read_text())

    def test_unknown_user_is_refused_by_twistd_itself(self):
        """It parses its options before it knows of this package: its words, and its exit code."""
        for way in WAYS:
            done = self.start({"routes": [self.on(self.port())]}, way, ("-u", "no-such-user"))
            self.assertEqual(done.returncode, FAILED)
            self.assertIn("no-such-user", done.stdout + done.stderr)
            self.assertEqual(running_in(self.directory), [])

    def test_second_start_does_not_touch_the_first(self):
        """twistd refuses it because of the pid file, which stays."""
        settings = {"routes": [self.on(self.port())]}
        self.assertEqual(self.start(settings, "daemon").returncode, DONE)
        former = self.pid_file.read_text()
        for way in WAYS:
            done = self.start(settings, way)
            self.assertEqual(done.returncode, FAILED)
            self.assertIn("Another twistd server is running", done.stderr)
            self.assertEqual(self.pid_file.read_text(), former)

    def test_daemon_that_is_killed_while_it_starts_is_reported(self):
        """By the out-of-memory killer, for example: the parent still returns, and the pid file of a dead process goes."""
        killer = (
            "import os, signal; from smartproxy.proxy.listeners import Listeners;"
            "Listeners.apply = lambda *_: os.kill(os.getpid(), signal.SIGKILL);"
            "from twisted.scripts.twistd import run; run()"
        )
        file = self.file("smartproxy.json", json.dumps({"routes": [self.on(self.port())]}))
        done = run(
            sys.executable, "-c", killer,
            "--pidfile", self.pid_file, "--logfile", self.log, "smartproxy", "--config", file,
            env=environment(), cwd=self.directory,
        )  # fmt: skip
        self.assertEqual(done.returncode, FAILED, done)
        self.assertIn("ended before it was running", done.stderr)
        self.assertFalse(self.pid_file.exists())


@unittest.skipIf(os.geteuid() != 0, "only root can become another user")
class UnprivilegedStartTests(StartCase):
    def test_failure_of_an_unprivileged_user_is_printed(self):
        as_nobody = (needed("setpriv"), "--reuid=65534", "--regid=65534", "--clear-groups", "--")
        lowest = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
        os.chown(self.directory, 65534, 65534)
        private = self.directory / "private"
        private.mkdir(mode=0o700)
        free = self.port()
        fine = {"routes": [self.on(free)]}
        pem = Authority(private).certificate("live.test")
        tls = {"mode": "terminate", "certificate": {"certFile": str(pem)}}
        ends_tls = {"targets": [{"host": "127.0.0.1", "port": 1}], "tls": tls}
        cases = {
            "low port": FailedStart(
                UNBOUND,
                f"cannot listen on 127.0.0.1:{lowest - 1}: [Errno 13] Permission denied",
                {"routes": [self.on(lowest - 1)]},
            ),
            "admin socket": FailedStart(
                UNBOUND,
                f"cannot listen on unix:{private}/admin.sock: Permission denied",
                {**fine, "admin": {"unix": f"{private}/admin.sock"}},
            ),
            "key": FailedStart(INVALID, str(pem), {"routes": [self.on(free, action=ends_tls)]}),
            "access log": FailedStart(
                INVALID, "Permission denied", {**fine, "accessLog": {"path": f"{private}/access.log"}}
            ),
            "log": FailedStart(FAILED, "Permission denied", fine, ("--logfile", f"{private}/twistd.log")),
            "pid file": FailedStart(FAILED, "Permission denied", fine, ("--pidfile", f"{private}/x.pid")),
            "another user": FailedStart(FAILED, "Operation not permitted", fine, ("-u", "0", "-g", "0")),
        }  # fmt: skip
        if lowest <= 1:
            del cases["low port"]
        for name, case in cases.items():
            for way in WAYS:
                with self.subTest(name, way=way):
                    self.log.unlink(missing_ok=True)
                    self.assert_fails(case._replace(before=as_nobody), way)


class StartedTests(StartCase):
    def test_daemon_returns_when_it_serves_and_stops_without_a_trace(self):
        """The parent prints nothing and exits with 0 when the ports are bound; SIGTERM removes the pid file."""
        front = self.port()
        settings = {"routes": [route("one", front, self.backend(echo))], "gracefulShutdownTimeout": "100ms"}
        done = self.start(settings, "daemon")
        self.assertEqual((done.returncode, done.stdout, done.stderr), (DONE, "", ""))
        process = int(self.pid_file.read_text())
        self.assertEqual(running_in(self.directory), [process])
        self.assert_echoes(self.connect(front))
        os.kill(process, signal.SIGTERM)
        until(lambda: not running_in(self.directory), "the end of the daemon")
        self.assertFalse(self.pid_file.exists())
        self.assertNotIn("Traceback", self.log.read_text())
