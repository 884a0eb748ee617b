"""The client for systemd's notifications, with the sockets that systemd uses."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.proxy.notify import Notifier
from tests.settings.formats import folder


class NotifierTests(SynchronousTestCase):
    def setUp(self):
        self.path = str(folder(self) / "notify")
        self.manager = self.listening(self.path)

    def listening(self, address):
        """systemd's end."""
        manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(manager.close)
        manager.bind(address)
        manager.setblocking(False)
        return manager

    def received(self, manager=None):
        """The messages that have arrived, each as its lines."""
        messages = []
        while True:
            try:
                messages.append((manager or self.manager).recv(65536).decode().split("\n"))
            except BlockingIOError:
                return messages

    def notifier(self, **environment):
        return Notifier.of({"NOTIFY_SOCKET": self.path, **environment})

    def test_ready_names_the_process_and_its_status(self):
        self.notifier().ready("listening on [::]:443")
        self.assertEqual(
            self.received(), [["READY=1", f"MAINPID={os.getpid()}", "STATUS=listening on [::]:443"]]
        )

    def test_socket_in_the_abstract_namespace(self):
        name = f"smartproxy-test-{os.getpid()}"
        manager = self.listening(f"\0{name}")
        self.notifier(NOTIFY_SOCKET=f"@{name}").ready("up")
        self.assertEqual(self.received(manager)[0][0], "READY=1")

    def test_reload_is_framed_by_reloading_with_its_time_and_ready(self):
        notifier = Notifier(self.path, monotonic=lambda: 1_234_567_890)
        notifier.ready("up")
        notifier.reloading()
        notifier.reloaded("reload refused: x.yaml:1: routes: is required")
        _, reloading, ready = self.received()
        self.assertEqual(reloading[:2], ["RELOADING=1", "MONOTONIC_USEC=1234567"])
        self.assertEqual(ready, ["READY=1", "STATUS=reload refused: x.yaml:1: routes: is required"])

    def test_reloads_at_the_same_time_end_with_the_last(self):
        notifier = self.notifier()
        notifier.ready("up")
        notifier.reloading()
        notifier.reloading()
        notifier.reloaded("first")
        notifier.reloaded("second")
        self.assertEqual([lines[0] for lines in self.received()], ["READY=1", "RELOADING=1", "READY=1"])

    def test_reload_that_ends_during_the_stop_is_not_announced_as_ready(self):
        notifier = self.notifier()
        notifier.ready("up")
        notifier.reloading()
        notifier.stopping("draining")
        notifier.reloaded("done")
        notifier.say("draining")
        self.assertEqual([lines[0] for lines in self.received()], ["READY=1", "RELOADING=1", "STOPPING=1"])

    def test_status_is_one_line_of_limited_length(self):
        """A second line would be a variable of its own."""
        self.notifier().say("a\nFDSTORE=1\n" + "x" * 5000)
        ((line,),) = self.received()
        self.assertTrue(line.startswith("STATUS=a FDSTORE=1 xxx"))
        self.assertEqual(len(line), len("STATUS=") + 500)

    def stored(self):
        """The messages with descriptors that have arrived: their lines, and how many descriptors each has."""
        found = []
        while True:
            try:
                message, descriptors, _, _ = socket.recv_fds(self.manager, 65536, 300)
            except BlockingIOError:
                return found
            for descriptor in descriptors:
                os.close(descriptor)
            found.append((message.decode().split("\n"), len(descriptors)))

    def test_sockets_are_stored_once_and_removed_when_they_are_gone(self):
        notifier, one = self.notifier(), self.manager.fileno()
        notifier.store({"_443": [one], "_80": [one, one]})
        self.assertEqual(self.stored(), [(["FDSTORE=1", "FDNAME=_443"], 1), (["FDSTORE=1", "FDNAME=_80"], 2)])
        notifier.store({"_80": [one, one], "_81": [one] * 600})
        self.assertEqual(
            self.stored(),
            [
                *((["FDSTORE=1", "FDNAME=_81"], count) for count in (250, 250, 100)),
                (["FDSTOREREMOVE=1", "FDNAME=_443"], 0),
            ],
        )
        notifier.store({})
        self.assertEqual(len(self.stored()), 2)

    def test_what_a_former_process_has_stored_is_replaced(self):
        """It had more workers, or other routes: systemd would keep sockets of which no connection is accepted."""
        notifier, one = self.notifier(), self.manager.fileno()
        notifier.follow_up(["_443", "_80"])
        notifier.store({"_443": [one]})
        expected = [
            (["FDSTOREREMOVE=1", "FDNAME=_443"], 0),
            (["FDSTOREREMOVE=1", "FDNAME=_80"], 0),
            (["FDSTORE=1", "FDNAME=_443"], 1),
        ]
        self.assertEqual(self.stored(), expected)
        notifier.store({"_443": [one]})
        self.assertEqual(self.stored(), [])

    def test_stored_sockets_are_kept_during_a_stop(self):
        notifier, one = self.notifier(), self.manager.fileno()
        notifier.store({"_443": [one]})
        notifier.stopping("stopping")
        self.stored()
        notifier.store({})
        self.assertEqual(self.stored(), [])

    def test_watchdog_is_sent_at_half_of_the_interval_until_it_is_stopped(self):
        clock = Clock()
        watchdog = self.notifier(WATCHDOG_USEC="3000000", WATCHDOG_PID=str(os.getpid())).watchdog(clock)
        clock.pump([0.5] * 6)
        self.assertEqual(self.received(), [["WATCHDOG=1"]] * 3)
        watchdog.stop()
        clock.advance(60)
        self.assertEqual(self.received(), [])

    def test_watchdog_waits_for_other_processes(self):
        clock, alive = Clock(), True
        usec = {"WATCHDOG_USEC": "8000000", "WATCHDOG_PID": str(os.getpid())}
        watchdog = self.notifier(**usec).watchdog(clock, lambda: alive)
        self.addCleanup(watchdog.stop)
        self.assertEqual(self.received(), [["WATCHDOG=1"]])
        alive = False
        clock.pump([1] * 3)
        self.assertEqual(self.received(), [])
        alive = True
        clock.advance(1)
        self.assertEqual(self.received(), [["WATCHDOG=1"]])

    def test_watchdog_is_sent_only_where_it_is_expected_of_this_process(self):
        own, other = str(os.getpid()), str(os.getpid() + 1)
        for usec, process, expected in (
            ("3000000", own, True), ("3000000", "", True), ("3000000", other, False),
            ("", own, False), ("0", own, False), ("-5", own, False), ("soon", own, False),
        ):  # fmt: skip
            watchdog = self.notifier(WATCHDOG_USEC=usec, WATCHDOG_PID=process).watchdog(Clock())
            self.assertEqual(watchdog is not None, expected, (usec, process))
        self.assertIsNone(Notifier.of({"WATCHDOG_USEC": "3000000"}).watchdog(Clock()))

    def test_nothing_is_sent_outside_of_systemd(self):
        notifier = Notifier.of({})
        with capturedLogs() as events:
            notifier.ready("up")
            notifier.reloading()
            notifier.reloaded("up")
            notifier.stopping("draining")
        self.assertEqual((self.received(), events), ([], []))

    def test_message_that_cannot_be_sent_is_logged_once_and_raises_nothing(self):
        """The proxy works without systemd knowing it."""
        Path(self.path).unlink()
        notifier = self.notifier()
        with capturedLogs() as events:
            for _ in range(3):
                notifier.say("up")
        self.assertEqual(len(events), 1)
        self.assertIn("systemd cannot be notified: ", formatEvent(events[0]))

    def test_full_queue_does_not_block(self):
        notifier = self.notifier()
        with capturedLogs() as events:
            for number in range(5000):  # net.unix.max_dgram_qlen is 512 at most by default
                notifier.say(str(number))
        self.assertEqual(len(events), 1)

    def test_address_that_is_none_is_logged(self):
        for address in ("relative", "/" + "x" * 200, "vsock:2:1"):
            with capturedLogs() as events:
                self.notifier(NOTIFY_SOCKET=address).ready("up")
            self.assertEqual(len(events), 1, address)
