"""Files that a configuration names end, whatever is at their paths."""

from __future__ import annotations

import json
import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from smartproxy import ConfigurationError, Settings
from smartproxy.files.bounded import read_bounded

_PIPE = "is a pipe, and no file"


class ReadBoundedTests(SynchronousTestCase):
    def test_a_file_is_read_up_to_one_byte_more_than_the_limit(self):
        file = Path(self.mktemp())
        file.write_bytes(b"content")
        self.assertEqual([read_bounded(str(file), most) for most in (7, 3)], [b"content", b"cont"])

    def test_a_device_without_end_is_read_up_to_the_limit(self):
        self.assertEqual(len(read_bounded("/dev/zero", 1000)), 1001)

    def test_a_pipe_is_refused_without_a_wait_for_its_writer(self):
        pipe = self.mktemp()
        os.mkfifo(pipe)
        with self.assertRaises(OSError) as refused:
            read_bounded(pipe, 1000)
        self.assertEqual(refused.exception.strerror, _PIPE)


class ConfiguredFileTests(SynchronousTestCase):
    """A start that waits for a pipe does not end, and neither does a reload, nor any reload after it."""

    def setUp(self):
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        for name in ("pipe", "pipe.yaml"):
            os.mkfifo(self.directory / name)

    def refused(self, name, *, action=None, **keys):
        """Whether a configuration with one route, and these keys, is refused for the pipe of that name."""
        route = {
            "name": "web",
            "match": {"ports": 80},
            "action": {"targets": [{"host": "a.test", "port": 80}]},
        }
        route["action"].update(action or {})
        include = {"include": keys.pop("include")} if "include" in keys else {}
        text = json.dumps({**include, "routes": [{**route, **keys}]})
        with self.assertRaises(ConfigurationError) as refused:
            Settings.parse(text, "json", str(self.directory / "proxy.json"))
        return any(
            f"{self.directory / name}: cannot be read: {_PIPE}" in one for one in refused.exception.problems
        )

    def test_each_kind_of_file_is_refused_and_named(self):
        terminating = {"mode": "terminate", "certificate": {"certFile": "pipe", "keyFile": "pipe"}}
        authorities = [{"host": "a.test", "port": 443, "tls": {"ca": "pipe"}}]
        self.assertTrue(self.refused("pipe", security={"ipBlockList": ["file:pipe"]}))
        self.assertTrue(self.refused("pipe", action={"protocol": "http", "errorPages": {502: "pipe"}}))
        self.assertTrue(self.refused("pipe", action={"tls": terminating}))
        self.assertTrue(self.refused("pipe", action={"targets": authorities}))
        self.assertTrue(self.refused("pipe.yaml", action={"targetsFile": "pipe.yaml"}))
        self.assertTrue(self.refused("pipe.yaml", include=["pipe.yaml"]))
