"""A listening unix socket: who may connect, what prevents it, and what is left behind."""

from __future__ import annotations

import fcntl
import os
import socket
import stat
from pathlib import Path

from twisted.internet import protocol, reactor
from twisted.internet.defer import maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.trial.unittest import TestCase

from smartproxy.net.listening import reason
from smartproxy.net.unix_port import UnixPort
from tests.settings.formats import folder


class UnixPortTests(TestCase):
    def setUp(self):
        self.directory = folder(self)
        self.path = self.directory / "admin.sock"

    def opened(self, path=None):
        port = UnixPort(str(path or self.path), protocol.Factory.forProtocol(protocol.Protocol), reactor)
        port.startListening()
        self.addCleanup(port.stopListening)
        return port

    def refusal(self, path):
        return reason(self.assertRaises(CannotListenError, self.opened, path))

    def files(self):
        return sorted(path.name for path in self.directory.iterdir())

    def test_only_its_user_may_connect(self):
        self.opened()
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o600)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(self.path))

    async def test_closed_port_leaves_no_file(self):
        port = self.opened()
        await maybeDeferred(port.stopListening)
        self.assertEqual(self.files(), [])

    async def test_port_whose_files_were_removed_is_closed(self):
        """Without this the stop of the proxy would wait for ever."""
        port = self.opened()
        for name in self.files():
            os.unlink(self.directory / name)  # noqa: PTH108 - Path's would be a blocking call of an async function
        await maybeDeferred(port.stopListening)
        self.assertFalse(port.connected)

    def test_socket_of_a_dead_process_is_replaced(self):
        with socket.socket(socket.AF_UNIX) as former:
            former.bind(str(self.path))
        Path(f"{self.path}.lock").touch()
        self.opened()

    def test_process_id_of_the_dead_process_may_be_in_use_again(self):
        """In a container it is always 1: after a kill, a lock that names the process would never be free again."""
        with socket.socket(socket.AF_UNIX) as former:
            former.bind(str(self.path))
        Path(f"{self.path}.lock").symlink_to(str(os.getpid()))  # as Twisted has it
        self.opened()

    async def test_lock_that_is_removed_by_its_holder_is_had(self):
        """The former proxy may end while the next one begins."""
        port, lock = self.opened(), fcntl.flock

        def flock(descriptor, how):
            self.patch(fcntl, "flock", lock)
            port.connectionLost(None)
            lock(descriptor, how)

        self.patch(fcntl, "flock", flock)
        again = self.opened()
        self.assertRaises(CannotListenError, self.opened)
        await maybeDeferred(again.stopListening)
        self.assertEqual(self.files(), [])

    def test_socket_of_a_live_process_is_not_taken(self):
        self.opened()
        self.assertEqual(
            self.refusal(self.path), f"cannot listen on unix:{self.path}: another process listens on it"
        )

    def test_what_prevents_it_is_named_and_nothing_is_left(self):
        file = self.directory / "file"
        file.write_text("kept")
        for path, why in (
            (file, "Address already in use"),
            (self.directory / "none" / "x", "No such file or directory"),
            (self.directory / ("x" * 120), "AF_UNIX path too long"),
        ):
            self.assertEqual(self.refusal(path), f"cannot listen on unix:{path}: {why}")
            self.assertEqual(self.files(), ["file"])
        self.assertEqual(file.read_text(), "kept")
