"""``twistd smartproxy`` as a command: its output, exit codes, signals, and the user it switches to."""

from __future__ import annotations

import json
import os
import pwd
import signal
import socket
import unittest
from pathlib import Path

from tests.live.backends import echo
from tests.live.case import LiveCase, route
from tests.live.certificates import Authority
from tests.live.programs import environment, run
from tests.live.proxy import Proxy, twistd
from tests.live.waiting import until


class ExitCodeTests(LiveCase):
    def twistd(self, file, *options):
        """Run the command until it exits."""
        return run(
            *twistd(), "-n", "--pidfile=", "smartproxy", "--config", file, *options,
            env=environment(), cwd=self.directory,
        )  # fmt: skip

    def test_invalid_configuration_exits_2_with_file_and_line(self):
        """Every problem has its line, and nothing is started."""
        text = (
            "routes:\n"
            "- name: web\n"
            "  match: {ports: [8080]}\n"
            "  action:\n"
            "    targets: [{host: 127.0.0.1, port: 70000}]\n"
            "  prioritty: 1\n"
        )
        file = self.file("bad.yaml", text)
        done = self.twistd(file)
        self.assertEqual(done.returncode, 2)
        where = f"{file}:5: routes[0].action.targets[0].port: "
        self.assertIn(f'{where}must be 1..65535 or "preserve" (got 70000)', done.stderr)
        self.assertIn(f'{file}:6: routes[0].prioritty: unknown key; did you mean "priority"?', done.stderr)
        self.assertEqual(len(done.stderr.splitlines()), 2, done.stderr)

    def test_missing_file_exits_2(self):
        done = self.twistd(self.directory / "none.yaml")
        self.assertEqual(done.returncode, 2)
        self.assertIn("none.yaml: cannot be read", done.stderr)

    def test_wrong_usage_exits_2_with_a_message(self):
        for wrong, words in ((["--bogus"], "--bogus"), ([], "--config FILE is required")):
            done = run(
                *twistd(), "-n", "--pidfile=", "smartproxy", *wrong, env=environment(), cwd=self.directory
            )  # fmt: skip
            self.assertEqual(done.returncode, 2)
            self.assertIn(words, done.stderr)

    def test_check_validates_without_binding_ports(self):
        """0 for a valid one, though its port is taken; 2 for an invalid one."""
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            file = self.file(
                "good.json", json.dumps({"routes": [route("a", port, {"host": "h", "port": 1})]})
            )
            done = self.twistd(file, "--check")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(done.stdout.strip(), f"{file}: ok (1 routes, ports {port})")
        self.assertEqual(self.twistd(self.file("bad.json", "{}"), "--check").returncode, 2)

    def test_port_in_use_exits_3_with_the_address(self):
        """For a route and for the admin listener; no other port stays bound."""
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port, free = taken.getsockname()[1], self.port()
            local = {"match": {"ports": [port], "address": "127.0.0.1"}}
            as_route = {"routes": [{**route("a", port, {"host": "127.0.0.1", "port": 1}), **local}]}
            as_admin = {
                "routes": [route("a", free, {"host": "127.0.0.1", "port": 1})],
                "admin": {"port": port},
            }
            for settings in (as_route, as_admin):
                with self.subTest(settings=settings):
                    done = self.twistd(self.file("taken.json", json.dumps(settings)))
                    self.assertEqual(done.returncode, 3, done.stdout + done.stderr)
                    said = done.stdout + done.stderr
                    self.assertRegex(said, rf"cannot listen on 127\.0\.0\.1:{port}: .*Address already in use")
                    self.assertNotIn("Traceback", said)


class HangUpTests(LiveCase):
    def test_sighup_reloads_the_configuration(self):
        """A new route is served, an open connection continues, and an invalid file changes nothing."""
        front, second = self.port(), self.port()
        backend = self.backend(echo)
        proxy = self.proxy(route("one", front, backend))
        client = self.connect(front)
        self.assert_echoes(client)
        settings = json.loads(proxy.file.read_text())
        settings["routes"].append(route("two", second, backend))
        proxy.file.write_text(json.dumps(settings))
        proxy.signal(signal.SIGHUP)
        until(lambda: "configuration reloaded" in proxy.printed, "the reload")
        self.assert_echoes(self.connect(second))
        proxy.file.write_text("{")
        proxy.signal(signal.SIGHUP)
        until(
            lambda: "reload failed, the current configuration stays in force" in proxy.printed, "the refusal"
        )
        self.assert_echoes(self.connect(second))
        self.assert_echoes(client)

    def test_sighup_and_the_api_name_a_port_in_use(self):
        """No traceback, nothing changes, and the metrics say so."""
        front = self.port()
        backend = self.backend(echo)
        proxy = self.proxy(route("one", front, backend))
        settings = json.loads(proxy.file.read_text())
        settings["routes"].append(route("two", backend.port, backend))
        proxy.file.write_text(json.dumps(settings))
        proxy.signal(signal.SIGHUP)
        why = f"cannot listen on [::]:{backend.port}: [Errno 98] Address already in use"
        until(lambda: f"stays in force: {why}" in proxy.printed, "the refusal")
        status, body = proxy.ask("/api/v1/reload", "POST")
        self.assertEqual((status, json.loads(body)), (409, {"error": why}))
        page = proxy.ask("/metrics")[1].decode()
        self.assertIn('\nsmartproxy_config_reloads_total{result="failed"} 2\n', page)
        self.assertIn("\nsmartproxy_config_last_reload_successful 0\n", page)
        self.assertNotIn("Traceback", proxy.printed)
        self.assert_echoes(self.connect(front))


@unittest.skipIf(os.geteuid() != 0, "only root can bind a low port and then switch to another user")
class PrivilegesTests(LiveCase):
    def test_low_port_is_bound_before_privileges_are_dropped(self):
        """``twistd -u nobody``: bound as root, run as nobody, and traffic flows."""
        nobody = pwd.getpwnam("nobody").pw_uid
        front = self.low_port()
        backend = self.backend(echo)
        os.chown(self.directory, nobody, -1)
        listening = {"match": {"ports": [front], "address": "127.0.0.1"}}
        settings = {"routes": [{**route("low", front, backend), **listening}]}
        proxy = self.starting(Proxy(self.directory, settings, options=["-u", "nobody", "-g", "nogroup"]))
        proxy.ready()
        status = Path(f"/proc/{proxy.pid}/status").read_text()
        (uids,) = (line.split()[1:] for line in status.splitlines() if line.startswith("Uid:"))
        self.assertEqual(set(uids), {str(nobody)})
        for words in (b"words", bytes(1_000_000)):
            client = self.connect(front)
            client.sendall(words)
            self.assertEqual(self.read(client, len(words)), words)

    def test_it_reloads_with_a_key_that_only_root_may_read(self):
        """What was read and has not changed is kept; the start warns of it."""
        nobody = pwd.getpwnam("nobody").pw_uid
        front, second = self.port(), self.port()
        backend = self.backend(echo)
        os.chown(self.directory, nobody, -1)
        folder = self.directory / "private"
        folder.mkdir(mode=0o700)
        files = {"certFile": str(Authority(folder).certificate("live.test"))}
        one = route("one", front, backend)
        one["action"]["tls"] = {"mode": "terminate", "certificate": files}
        proxy = self.starting(
            Proxy(self.directory, {"routes": [one]}, options=["-u", "nobody", "-g", "nogroup"])
        )
        proxy.ready()
        self.assertIn(f"files that this user cannot read again: {folder}/", proxy.printed)
        settings = json.loads(proxy.file.read_text())
        settings["routes"].append(route("two", second, backend))
        proxy.file.write_text(json.dumps(settings))
        status, body = proxy.ask("/api/v1/reload", "POST")
        self.assertEqual((status, json.loads(body)["routes"]), (200, 2))
        self.assert_echoes(self.connect(second))
        self.assertEqual([one["names"] for one in proxy.api("certificates")["certificates"]], [["live.test"]])
