"""Sockets that a service manager has bound."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

from smartproxy.net import activated
from smartproxy.net.activated import ActivatedSockets


class RecordedLog:
    def __init__(self):
        self.lines = []

    def warn(self, text, **facts):
        self.lines.append(text.format(**facts))


class ActivatedTests(SynchronousTestCase):
    def setUp(self):
        self.log = RecordedLog()
        self.patch(activated, "log", self.log)
        self.one = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(self.one.close)
        self.address = self.one.getsockname()

    def passed(self, *sockets, **changes):
        """As they are passed: with numbers one after the other."""
        first = 200
        for number, opened in enumerate(sockets, first):
            os.dup2(opened.fileno(), number)
        self.patch(activated, "_FIRST", first)
        self.environment = {
            "LISTEN_PID": str(os.getpid()),
            "LISTEN_FDS": str(len(sockets)),
            "LISTEN_FDNAMES": "x",
        }
        self.environment |= changes
        return ActivatedSockets.of(self.environment)

    def taken(self, passed, address=None):
        found = passed.take(*(address or self.address))
        for opened in found:
            self.addCleanup(opened.close)
        return found

    def test_a_socket_is_found_by_its_address(self):
        passed = self.passed(self.one)
        self.assertEqual(self.taken(passed, ("127.0.0.2", self.address[1])), [])
        [found] = self.taken(passed)
        self.assertEqual(found.getsockname(), self.address)
        self.assertFalse(found.getblocking())
        self.assertFalse(os.get_inheritable(found.fileno()))
        self.assertEqual(self.taken(passed), [])

    def test_several_may_have_one_address(self):
        self.assertEqual(len(self.taken(self.passed(self.one, self.one))), 2)

    def test_they_are_for_one_process_only(self):
        opened = self.passed(self.one, LISTEN_PID="1")
        self.addCleanup(os.close, 200)
        self.assertEqual(self.taken(opened), [])

    def test_without_any(self):
        for changes in ({"LISTEN_FDS": ""}, {"LISTEN_FDS": "x"}, {"LISTEN_PID": ""}):
            self.assertEqual(self.taken(self.passed(**changes)), [])

    def test_what_is_no_listening_socket_is_reported(self):
        one, other = socket.socketpair()
        connected = socket.create_connection(self.address)
        for opened in (one, other, connected):
            self.addCleanup(opened.close)
        passed = self.passed(one, connected, self.one)
        self.assertEqual(len(self.taken(passed)), 1)
        self.assertEqual(
            self.log.lines,
            [f"descriptor {number} of systemd is no listening TCP socket" for number in (200, 201)],
        )

    def test_what_nobody_has_taken_is_reported(self):
        passed = self.passed(self.one)
        passed.end_unused()
        host, number = self.address
        self.assertEqual(self.log.lines, [f"no route has a use for the socket {host}:{number} of systemd"])
        self.assertEqual(len(self.taken(passed)), 1)

    def test_unused_socket_that_was_stored_is_closed(self):
        """Its route was removed while the proxy was stopped: the kernel would accept clients that are never served."""
        every = socket.create_server(("::", 0), family=socket.AF_INET6)
        self.addCleanup(every.close)
        host, number = self.address
        names = f"{host}_{number}", f"_{every.getsockname()[1]}"
        passed = self.passed(self.one, every, LISTEN_FDNAMES=":".join(names))
        self.assertEqual(passed.stored, set(names))
        passed.end_unused()
        self.assertEqual(self.taken(passed) + self.taken(passed, every.getsockname()[:2]), [])
        self.assertEqual(self.log.lines, [])
        self.assertRaises(OSError, os.fstat, 200)

    def test_unused_socket_of_a_unit_stays_open_although_it_was_stored(self):
        host, number = self.address
        passed = self.passed(self.one, self.one, LISTEN_FDNAMES=f"web.socket:{host}_{number}")
        passed.end_unused()
        self.assertEqual(len(self.taken(passed)), 2)

    def test_what_a_process_was_started_with_stays_known(self):
        """Twisted takes these variables out of ``os.environ`` when its endpoints are imported."""
        program = (
            "import os; import twisted.internet.endpoints; from smartproxy.net.activated import started_with;"
            "print(os.environ.get('LISTEN_FDS'), started_with()['LISTEN_FDS'], started_with()['NAME'])"
        )
        started = f"import os; os.environ['LISTEN_PID'] = str(os.getpid()); os.execv({sys.executable!r}, [{sys.executable!r}, '-c', {program!r}])"
        environment = os.environ | {"LISTEN_FDS": "1", "LISTEN_FDNAMES": "x", "NAME": "a=b\udcff"}
        said = subprocess.run(
            [sys.executable, "-c", started], env=environment, capture_output=True, check=True
        ).stdout
        self.assertEqual(said, b"None 1 a=b\xff\n")
