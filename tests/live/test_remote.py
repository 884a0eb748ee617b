"""The remote commands against proxies with each kind of admin listener, as ``ExecReload`` of a unit runs them."""

from __future__ import annotations

import json
import socket
import sys

from tests.live.backends import echo
from tests.live.case import LiveCase
from tests.live.programs import environment, run
from tests.live.proxy import Proxy
from tests.live.waiting import until


class AdminListenerTests(LiveCase):
    def command(self, *arguments):
        words = [sys.executable, "-c", "from smartproxy.cli import main; main()", *arguments]
        env = {name: value for name, value in environment().items() if name != "COLUMNS"}  # as in a pipe
        return run(*words, env=env, cwd="/")

    def listens(self, port):
        with socket.socket() as sock:
            return sock.connect_ex(("127.0.0.1", port)) == 0

    def test_reload_finds_every_admin_listener_by_its_configuration(self):
        front, other = self.port(), self.port()
        admins = [
            {"port": self.port(), "token": "s3cret"},
            {"unix": "admin.sock"},
            {"address": "::1", "port": self.port()},
            {"address": "", "port": self.port(), "token": "s3cret"},
        ]
        block = {"type": "block"}
        for admin in admins:
            with self.subTest(admin):
                routes = [{"name": "a", "match": {"ports": front}, "action": block}]
                proxy = Proxy(self.directory, {"routes": routes, "admin": admin})
                self.addCleanup(proxy.stop)
                until(lambda: self.listens(front), "the first port")
                settings = json.loads(proxy.file.read_text())
                settings["routes"].append({"name": "b", "match": {"ports": other}, "action": block})
                proxy.file.write_text(json.dumps(settings))
                done = self.command("reload", "--config", proxy.file)
                self.assertEqual((done.returncode, done.stderr), (0, ""))
                self.assertEqual(done.stdout, "reloaded; routes in force: 2\n")
                self.assertTrue(self.listens(other))
                proxy.stop()

    def test_reload_that_fails_says_why_and_has_its_exit_code(self):
        front = self.port()
        routes = [{"name": "a", "match": {"ports": front}, "action": {"type": "block"}}]
        proxy = Proxy(self.directory, {"routes": routes, "admin": {"unix": "admin.sock"}})
        self.addCleanup(proxy.stop)
        until(lambda: self.listens(front), "the port")
        settings = json.loads(proxy.file.read_text())
        proxy.file.write_text(json.dumps({**settings, "routes": [{}]}))
        done = self.command("reload", "--config", proxy.file)
        self.assertEqual(done.returncode, 2)
        self.assertIn("routes[0].name: is required", done.stderr)
        proxy.stop()
        done = self.command("reload", "--config", proxy.file)
        self.assertEqual(done.returncode, 1)
        self.assertIn("is the proxy running with this configuration?", done.stderr)

    def test_targets_are_listed_and_set_by_hand(self):
        """Over a unix socket, and with a name that has to be encoded in a URL."""
        front, backend = self.port(), self.backend(echo)
        group = {"targets": [{**backend.target, "name": "a/b c:1"}]}
        routes = [{"name": "web", "match": {"ports": front}, "action": {"group": "app"}}]
        settings = {"targetGroups": {"app": group}, "routes": routes, "admin": {"unix": "admin.sock"}}
        proxy = Proxy(self.directory, settings)
        self.addCleanup(proxy.stop)
        until(lambda: self.listens(front), "the port")
        self.assert_echoes(self.connect(front))
        done = self.command("targets", "app", "--config", proxy.file)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertRegex(done.stdout, r"\napp +a/b c:1 +127\.0\.0\.1:\d+ +up +1 +1 +1 +0 ")
        done = self.command("target", "app", "a/b c:1", "drain", "--config", proxy.file)
        self.assertEqual(
            (done.returncode, done.stdout), (0, "app/a/b c:1: drain by hand, weight 1, connections 1\n")
        )
        self.assert_refused(front)
        self.assertIn("no_target", proxy.printed)
        self.assertEqual(self.command("target", "app", "a/b c:1", "up", "--config", proxy.file).returncode, 0)
        self.assert_echoes(self.connect(front))
        done = self.command("target", "app", "other", "up", "--config", proxy.file)
        self.assertEqual(done.returncode, 1)
        self.assertIn("there is no target 'other' in group 'app'; it has a/b c:1", done.stderr)
