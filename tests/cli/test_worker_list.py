"""The command ``workers``."""

from __future__ import annotations

import json

from smartproxy.cli.worker_list import workers
from tests.cli.test_remote import RemoteCase


class WorkersCommandTests(RemoteCase):
    def setUp(self):
        super().setUp()
        self.control.status = lambda: {"pid": 4711, "connections": 12, "uptimeSeconds": 61.44}

    def test_it_prints_a_table(self):
        result = self.run_command(workers)
        lines = [line.split() for line in result.output.splitlines() if line.strip()]
        self.assertEqual(lines[0], ["slot", "state", "pid", "connections", "uptime"])
        self.assertEqual(lines[2:], [["1", "serving", "4711", "12", "61", "s"]])

    def test_one_that_drains(self):
        self.control.draining = True
        self.assertIn(" draining ", self.run_command(workers).output)

    def test_it_prints_the_reply(self):
        [shown] = json.loads(self.run_command(workers, "--json").output)["workers"]
        self.assertEqual((shown["pid"], shown["state"], shown["connections"]), (4711, "serving", 12))
