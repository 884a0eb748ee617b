"""A configuration on its way to another process."""

from __future__ import annotations

import json
import os

from twisted.trial.unittest import SynchronousTestCase

from smartproxy.errors import ConfigurationError, WorkerFailed
from smartproxy.settings import Settings
from smartproxy.workers import passed_settings
from smartproxy.workers.passed_settings import settings_file, taken_settings
from tests.settings.formats import folder
from tests.tls.made import Authority

_TARGETS = [{"host": "127.0.0.1", "port": 9000}]
_ROUTES = [
    *({"name": f"r{number}", "match": {"ports": 1000 + number}, "action": {"targets": _TARGETS}} for number in range(57)),
    {"name": "there", "match": {"ports": 2000}, "action": {"type": "redirect", "to": "https://{host}{path}"}},
    {"name": "blocked", "match": {"ports": 2001}, "action": {"type": "block", "mode": "reset"}},
    {"name": "answered", "match": {"ports": 2002}, "action": {"type": "respond", "response": {"body": "hello"}}},
    {"name": "handled", "match": {"ports": 2003}, "action": {"type": "handler", "handler": "smartproxy.serving.ready:echo"}},
    {
        "name": "limited",
        "match": {"ports": 2004, "path": "/x/:id"},
        "action": {"targets": _TARGETS, "headers": {"request": {"set": {"X-Id": "{id} of {client.ip}"}}}},
        "security": {"ipAllowList": ["192.0.2.0/24", "file:list.txt"]},
    },
    {"name": "found", "match": {"ports": 2005}, "action": {"group": "found"}},
]  # fmt: skip
_GROUPS = {"found": {"targetsFile": "found.json", "targets": [{"srv": "_pg._tcp.example"}]}}


class PassedSettingsTests(SynchronousTestCase):
    def setUp(self):
        self.folder = folder(self)
        (self.folder / "list.txt").write_text("198.51.100.7\n")
        (self.folder / "found.json").write_text(json.dumps(_TARGETS))

    def settings(self, routes=_ROUTES, suffix="json", **more):
        file = self.folder / f"smartproxy.{suffix}"
        file.write_text(json.dumps({"routes": routes, **more}))
        settings = Settings.load(file)
        settings.compile()
        return settings

    def passed(self, settings, before=None):
        with settings_file(settings) as descriptor:
            return taken_settings(os.dup(descriptor), before)

    def test_everything_that_was_written_arrives(self):
        for suffix in ("json", "yaml"):
            settings = self.settings(suffix=suffix, targetGroups=_GROUPS)
            passed = self.passed(settings)
            self.assertEqual(passed.model_dump(), settings.model_dump())
            self.assertEqual((passed.file, passed.directory), (settings.file, settings.directory))
            plan, expected = passed.compile(), settings.compile()
            self.assertEqual([route.name for route in plan.routes], [route.name for route in expected.routes])
            self.assertIs(plan.routes[60].handler, expected.routes[60].handler)
            self.assertIn("198.51.100.7", plan.routes[61].allow)

    def test_problems_have_their_lines(self):
        settings = self.settings(_ROUTES[:2])
        routes = [_ROUTES[0], _ROUTES[1] | {"name": "r0"}]
        settings.file.write_text(json.dumps({"routes": routes}, indent=1))
        with self.assertRaises(ConfigurationError) as expected:
            Settings.load(settings.file).compile()
        with self.assertRaises(ConfigurationError) as caught:
            self.passed(Settings.load(settings.file)).compile()
        self.assertEqual(caught.exception.problems, expected.exception.problems)

    def test_a_key_that_cannot_be_read_again_is_used_as_it_was(self):
        """As in one process: root has read it, and the worker is another user."""
        leaf = Authority().leaf("a.example")
        for name, content in (("a.pem", leaf.plan().chain), ("a.key", leaf.plan().key)):
            (self.folder / name).write_bytes(content)
        certificate = {"certFile": "a.pem", "keyFile": "a.key"}
        tls = {"mode": "terminate", "certificate": certificate}
        route = {"name": "tls", "match": {"ports": 443}, "action": {"targets": _TARGETS, "tls": tls}}
        before = self.settings([route])
        content = before._content.certificates
        passed = self.passed(self.settings([route, _ROUTES[0]]), before)
        self.assertIs(passed._content.certificates, content)

    def passed_to_another_version(self, settings):
        self.patch(passed_settings, "__version__", "before")
        with settings_file(settings) as descriptor:
            self.patch(passed_settings, "__version__", "after")
            return taken_settings(os.dup(descriptor))

    def test_another_version_reads_the_file(self):
        written = self.settings([_ROUTES[0]])
        written.file.write_text(json.dumps({"routes": [_ROUTES[1]]}))
        passed = self.passed_to_another_version(written)
        self.assertEqual([route.name for route in passed.routes], ["r1"])

    def test_another_version_without_a_file(self):
        with self.assertRaises(WorkerFailed) as caught:
            self.passed_to_another_version(Settings.of({"routes": [_ROUTES[0]]}))
        self.assertIn("what before has read", str(caught.exception))

    def test_another_version_does_not_lose_routes_that_were_replaced(self):
        """Those of the file would be in force instead, though the request was answered with 200."""
        with self.assertRaises(WorkerFailed):
            self.passed_to_another_version(self.settings([_ROUTES[0]]).with_routes([_ROUTES[1]]))

    def test_the_descriptor_is_closed(self):
        with settings_file(self.settings([_ROUTES[0]])) as descriptor:
            copy = os.dup(descriptor)
            taken_settings(copy)
        for closed in (copy, descriptor):
            self.assertRaises(OSError, os.fstat, closed)
