"""The supervisor's end of the control channel to a worker."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.errors import WorkerFailed
from smartproxy.proxy.given import ListeningSocket
from smartproxy.settings import Settings
from smartproxy.workers.passed_values import as_file
from smartproxy.workers.worker_link import WorkerLink

_ROUTE = {"name": "r", "match": {"ports": 1000}, "action": {"type": "block"}}


class RecordedLink(WorkerLink):
    """Records what it tells the worker, which answers when the test fires ``answer``."""

    def __init__(self):
        self.clock = Clock()
        super().__init__(1, 1, None, None, None, self.clock)
        self.told = []
        self.answer = Deferred()

    async def tell(self, command, **arguments):
        self.told.append((command, arguments))
        return await self.answer


class WorkerLinkCase(SynchronousTestCase):
    def setUp(self):
        self.link = RecordedLink()

    def later(self, coroutine):
        return Deferred.fromCoroutine(coroutine)


class PrepareTests(WorkerLinkCase):
    def test_a_worker_that_hangs_is_ended_and_the_change_refused(self):
        """A file system does not answer, for instance: the event loop runs, so nothing else finds it."""
        killed = []
        self.link.kill = killed.append
        preparing = self.later(self.link.prepare(Settings.of({"routes": [_ROUTE]})))
        self.link.clock.advance(119)
        self.assertNoResult(preparing)
        self.link.clock.advance(1)
        self.assertIn("has not prepared it", str(self.failureResultOf(preparing, WorkerFailed).value))
        self.assertEqual(killed, [signal.SIGKILL])

    def test_so_is_one_that_hangs_when_certificates_have_changed(self):
        killed = []
        self.link.kill = killed.append
        renewing = self.later(self.link.renew(0))
        self.link.clock.advance(120)
        failed = str(self.failureResultOf(renewing, WorkerFailed).value)
        self.assertIn("has not read changed certificates", failed)
        self.assertEqual(killed, [signal.SIGKILL])


class SocketTests(WorkerLinkCase):
    def held(self):
        opened = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(opened.close)
        return opened

    def test_a_socket_that_is_closed_before_it_is_sent_ends_no_channel(self):
        """Descriptors are sent in the next iteration of the event loop: one that is closed until then is an error."""
        first, second = self.held(), self.held()
        taking = self.later(
            self.link.take({ListeningSocket(("", 1), 1): first, ListeningSocket(("", 2), 1): second})
        )
        first.close()
        second.close()
        [(_, arguments)] = self.link.told
        os.fstat(arguments["opened"])
        self.link.answer.callback({})
        self.successResultOf(taking)
        self.assertEqual(len(self.link.told), 1)
        self.assertRaises(OSError, os.fstat, arguments["opened"])


class QuestionTests(WorkerLinkCase):
    def answered(self, number):
        with as_file(("", "known")) as descriptor:
            self.link.on_answer(number, os.dup(descriptor))

    def test_an_answer_is_that_of_its_question(self):
        asking = self.later(self.link.ask("status", {}))
        self.answered(1)
        self.link.answer.callback({})
        self.assertEqual(self.successResultOf(asking), ("", "known"))

    def test_an_answer_of_a_worker_that_then_exits_is_used(self):
        """One that drains exits with its last connection, which the question may have ended."""
        asking = self.later(self.link.ask("end_connection", {"number": 1}))
        self.answered(1)
        self.link.answer.errback(WorkerFailed("the other process has ended"))
        self.assertEqual(self.successResultOf(asking), ("", "known"))
        self.assertEqual(self.link._answers, {})

    def test_a_worker_that_exits_before_its_answer_has_failed(self):
        asking = self.later(self.link.ask("status", {}))
        self.link.answer.errback(WorkerFailed("the other process has ended"))
        self.failureResultOf(asking, WorkerFailed)

    def test_an_answer_that_is_too_late_is_not_kept(self):
        """A worker that answers slowly is asked each second: what nobody waits for any more would fill the memory."""
        asking = self.later(self.link.ask("snapshot", {}))
        asking.cancel()
        self.failureResultOf(asking)
        self.answered(1)
        self.assertEqual(self.link._answers, {})


class KillTests(WorkerLinkCase):
    def test_a_process_that_is_there_no_more(self):
        """The timer that finds stuck workers would end with the exception."""
        process = subprocess.Popen([sys.executable, "-c", ""])
        process.wait()
        self.link.process = process.pid
        self.link.kill(9)
