"""The process that forks workers, as the supervisor sees it."""

from __future__ import annotations

import json
import os
import pickle
import socket
from io import BytesIO
from pathlib import Path

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.errors import WorkerFailed
from smartproxy.files.states import state_of
from smartproxy.settings import Settings
from smartproxy.workers.forking import Forking
from smartproxy.workers.memory import LimitsMemory
from smartproxy.workers.passed_settings import settings_file
from smartproxy.workers.passed_values import as_file, memory_file
from smartproxy.workers.shared_configuration import LOAD
from smartproxy.workers.worker_log import log_sockets
from tests.settings.formats import folder
from tests.tls.made import Authority

CA = Authority()
OLD, NEW = CA.leaf("a.example"), CA.leaf("a.example")


class NurseryTests(SynchronousTestCase):
    def setUp(self):
        ours, theirs = log_sockets()
        for end in (ours, theirs):
            self.addCleanup(end.close)
        self.log = ours
        clock = Clock()
        clock.removeReader = clock.removeWriter = lambda _descriptor: None
        memory = LimitsMemory.create(2)
        self.addCleanup(memory.close)
        self.forking = Forking(clock, (theirs, memory), None, None)
        self.forking.start()
        self.addCleanup(self.forking.close)

    def settings(self, **more):
        file = folder(self) / "smartproxy.json"
        route = {"name": "r", "match": {"ports": 1000}, "action": {"type": "block"}}
        file.write_text(json.dumps({"routes": [route], **more}))
        return Settings.load(file)

    def load(self, settings):
        with settings_file(settings) as descriptor:
            return self.forking.ask_now(LOAD, descriptor)

    def test_it_loads_a_configuration(self):
        self.assertIsNone(self.load(self.settings()))

    def test_it_says_what_it_cannot_do(self):
        with self.assertRaises(WorkerFailed) as caught:
            self.forking.ask_now({"do": "fork", "slot": 1, "generation": 1, "reactor": ""})
        self.assertEqual(str(caught.exception), "no configuration was loaded")
        descriptor = os.open(os.devnull, os.O_RDONLY)
        self.addCleanup(os.close, descriptor)
        with self.assertRaises(WorkerFailed) as caught:
            self.forking.ask_now(LOAD, descriptor)
        self.assertIn("Error: ", str(caught.exception))

    def test_a_reason_that_is_too_long_for_a_message_is_cut(self):
        """The answer could not be sent, and the supervisor would wait for it for ever."""
        file = folder(self) / "smartproxy.json"
        file.write_text(json.dumps({"routes": [{"name": "\U0001f600" * 20, "wrong": 1}] * 3000}))
        of_another_version = BytesIO(pickle.dumps(("0.0", str(file), "json")))
        with memory_file(of_another_version) as descriptor, self.assertRaises(WorkerFailed) as caught:
            self.forking.ask_now(LOAD, descriptor)
        self.assertTrue(4_000 < len(str(caught.exception)) < 6_000)
        self.assertIn("... and more", str(caught.exception))

    def test_it_does_not_run_under_a_supervisor_that_it_does_not_understand(self):
        """At SIGUSR2 after an update: workers whose answers the supervisor cannot read would be ended again and again."""
        with settings_file(self.settings()) as descriptor, self.assertRaises(WorkerFailed) as caught:
            self.forking.ask_now(LOAD | {"protocol": 0}, descriptor)
        self.assertIn("restart the proxy", str(caught.exception))

    def test_it_keeps_no_descriptor_of_a_fork_that_failed(self):
        """The supervisor sees the end of a worker when nobody has the other end of its control channel."""
        ours, theirs = socket.socketpair()
        self.addCleanup(ours.close)
        with self.assertRaises(WorkerFailed):
            self.forking.ask_now({"do": "fork", "slot": 1, "generation": 1}, theirs.fileno())
        theirs.close()
        ours.settimeout(5)
        self.assertEqual(ours.recv(1), b"")

    def test_it_imports_nothing_from_the_working_directory(self):
        """twistd may be started by root in a directory that others write to."""
        where = folder(self)
        (where / "random.py").write_text("raise SystemExit(3)")
        former = Path.cwd()
        self.addCleanup(os.chdir, former)
        os.chdir(where)
        again = Forking(self.forking.reactor, self.forking._inherited, None, None)
        again.start()
        self.addCleanup(again.close)
        with settings_file(self.settings()) as descriptor:
            self.assertIsNone(again.ask_now(LOAD, descriptor))

    def test_it_reads_certificates_that_have_changed(self):
        """A broken one is left to the workers to report; both leave it able to answer."""
        certificate = {"certFile": "a.pem"}
        settings = self.settings()
        path = settings.file.parent / "a.pem"
        path.write_bytes(OLD.pem + OLD.key_pem)
        written = json.loads(settings.file.read_text())
        secured = {
            "type": "respond",
            "response": {"body": "x"},
            "tls": {"mode": "terminate", "certificate": certificate},
        }
        written["routes"][0]["action"] = secured
        settings.file.write_text(json.dumps(written))
        self.load(Settings.load(settings.file))
        for content in (NEW.pem + NEW.key_pem, b"none", OLD.pem + OLD.key_pem):
            before = {str(path): state_of(str(path))}
            path.write_bytes(content)
            with as_file((before, {str(path): state_of(str(path))})) as descriptor:
                self.assertIsNone(self.forking.ask_now({"do": "renew"}, descriptor))

    def test_it_stays_the_user_that_it_is(self):
        mine = {"user": os.getuid(), "group": os.getgid(), "groups": os.getgroups()}
        self.assertIsNone(self.forking.ask_now({"do": "become", **mine}))

    def test_it_ends_with_the_supervisor(self):
        process = self.forking._process
        self.forking.connected = 1
        self.forking.close()
        self.assertEqual(process.wait(60), 0)  # where the machine is busy, the end is not awaited by close()

    def test_a_process_that_was_killed(self):
        self.forking._process.kill()
        with self.assertRaises(WorkerFailed):
            self.load(self.settings())
