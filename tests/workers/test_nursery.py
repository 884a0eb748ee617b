"""The process that forks workers, as the supervisor sees it."""

from __future__ import annotations

import json
import os

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.errors import WorkerFailed
from smartproxy.settings import Settings
from smartproxy.workers.forking import Forking
from smartproxy.workers.memory import LimitsMemory
from smartproxy.workers.passed_settings import settings_file
from smartproxy.workers.worker_log import log_sockets
from tests.settings.formats import folder


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
            return self.forking.ask_now({"do": "load"}, descriptor)

    def test_it_loads_a_configuration(self):
        self.assertIsNone(self.load(self.settings()))

    def test_it_says_what_it_cannot_do(self):
        with self.assertRaises(WorkerFailed) as caught:
            self.forking.ask_now({"do": "fork", "slot": 1, "generation": 1, "reactor": ""})
        self.assertEqual(str(caught.exception), "no configuration was loaded")
        descriptor = os.open(os.devnull, os.O_RDONLY)
        self.addCleanup(os.close, descriptor)
        with self.assertRaises(WorkerFailed) as caught:
            self.forking.ask_now({"do": "load"}, descriptor)
        self.assertIn("Error: ", str(caught.exception))

    def test_it_stays_the_user_that_it_is(self):
        mine = {"user": os.getuid(), "group": os.getgid(), "groups": os.getgroups()}
        self.assertIsNone(self.forking.ask_now({"do": "become", **mine}))

    def test_it_ends_with_the_supervisor(self):
        process = self.forking._process
        self.forking.connected = 1
        self.forking.close()
        self.assertEqual(process.returncode, 0)

    def test_a_process_that_was_killed(self):
        self.forking._process.kill()
        with self.assertRaises(WorkerFailed):
            self.load(self.settings())
