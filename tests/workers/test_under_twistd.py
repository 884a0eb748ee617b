"""A proxy with worker processes, as twistd runs it: its life, changes, and workers that end."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.live.proxy import twistd
from tests.live.waiting import until
from tests.ports import free_ports
from tests.settings.formats import folder

_ECHO = {"type": "handler", "handler": "smartproxy.serving.ready:echo"}


class SupervisorTests(SynchronousTestCase):
    def setUp(self):
        self.folder = folder(self)
        self.port, self.other, self.target, self.admin = free_ports(4)
        self.file = self.folder / "smartproxy.json"
        self.write(self.route("web", self.port))
        log = (self.folder / "log").open("wb")
        self.addCleanup(log.close)
        command = [*twistd(), "-n", "--pidfile=", "smartproxy", "--config", self.file]
        self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=Path(__file__).parents[2])
        self.addCleanup(self.stop)
        until(lambda: "2 workers" in self.log or self.process.poll() is not None, "the start")

    @property
    def log(self):
        return (self.folder / "log").read_text()

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.assertEqual(self.process.wait(60), 0, self.log)
        self.assertNotIn("Traceback", self.log)

    def route(self, name, port, **action):
        return {"name": name, "match": {"ports": port, "address": "127.0.0.1"}, "action": action or _ECHO}

    def write(self, *routes, **more):
        settings = {
            "workers": 2,
            "admin": {"port": self.admin},
            "gracefulShutdownTimeout": "1s",
            "routes": routes,
        }
        self.file.write_text(json.dumps(settings | more))

    def ask(self, method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.admin, timeout=60)
        try:
            connection.request(method, path, None if body is None else json.dumps(body))
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def api(self, path):
        return json.loads(self.ask("GET", f"/api/v1/{path}")[1])

    def connect(self, port=None):
        client = socket.create_connection(("127.0.0.1", port or self.port), timeout=60)
        self.addCleanup(client.close)
        client.sendall(b"hello")
        self.assertEqual(client.recv(5), b"hello")
        return client

    def is_open(self, port):
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", port)) == 0

    def workers(self):
        return [one for one in self.api("workers")["workers"] if one["state"] == "serving"]

    def until_replaced(self, former):
        pids = {one["pid"] for one in former}
        until(
            lambda: len(new := self.workers()) == 2 and not pids & {one["pid"] for one in new}, "new workers"
        )

    def test_connections_and_counts_of_all_workers_are_those_of_one_proxy(self):
        self.assertEqual(self.ask("GET", "/readyz")[0], 200)
        clients = [self.connect() for _ in range(12)]
        shown = self.api("connections")
        self.assertEqual(shown["total"], 12)
        self.assertEqual(len({one["id"] // 10**11 for one in shown["connections"]}), 2)
        self.assertEqual(self.api("status")["connections"], 12)
        ended = shown["connections"][3]["id"]
        self.assertEqual(self.ask("DELETE", f"/api/v1/connections/{ended}")[0], 200)
        for client in clients:
            client.close()
        until(lambda: self.api("metrics")["connections"]["active"] == 0, "no connection left")
        metrics = self.api("metrics")
        self.assertEqual((metrics["closed"]["normal"], metrics["closed"]["admin"]), (11, 1))
        self.assertEqual(metrics["totals"], {"bytesReceived": 60, "bytesSent": 60, "connections": 12})
        self.assertIn('smartproxy_workers{state="serving"} 2', self.ask("GET", "/metrics")[1])

    def test_a_change_is_made_in_every_worker_or_in_none(self):
        self.write(self.route("web", self.port), self.route("more", self.other))
        self.assertEqual(self.ask("POST", "/api/v1/reload")[0], 200)
        for _ in range(8):
            self.connect(self.other)
        self.write()
        self.assertEqual(self.ask("POST", "/api/v1/reload")[0], 422)
        with socket.create_server(("127.0.0.1", self.target)):
            self.write(self.route("web", self.port), self.route("taken", self.target))
            self.assertEqual(self.ask("POST", "/api/v1/reload")[0], 409)
        self.assertEqual(len(self.api("routes")["routes"]), 2)
        self.connect(self.other)
        self.assertEqual(self.ask("PUT", "/api/v1/routes", [self.route("only", self.port)])[0], 200)
        with self.assertRaises(ConnectionRefusedError):
            self.connect(self.other)
        self.write(self.route("web", self.port), workers=3)
        status, answer = self.ask("POST", "/api/v1/reload")
        self.assertEqual((status, json.loads(answer)["waitingForRestart"]), (200, ["workers"]))

    def test_workers_are_replaced_when_they_end_and_on_demand(self):
        target = {"name": "t", "host": "127.0.0.1", "port": self.port}
        self.write(
            self.route("web", self.port),
            self.route("to", self.other, group="g"),
            targetGroups={"g": {"targets": [target]}},
        )
        self.process.send_signal(signal.SIGHUP)
        until(lambda: len(self.api("routes")["routes"]) == 2, "the reload")
        self.assertEqual(self.ask("PUT", "/api/v1/targets/g/t", {"state": "drain"})[0], 200)
        first = self.workers()
        os.kill(first[0]["pid"], signal.SIGKILL)
        until(
            lambda: (
                first[0]["pid"] not in {one["pid"] for one in self.workers()} and len(self.workers()) == 2
            ),
            "a new one",
        )
        self.connect()
        former = self.workers()
        self.process.send_signal(signal.SIGUSR2)
        self.until_replaced(former)
        self.assertEqual([one["state"] for one in self.api("targets")["targets"]], ["drain"])
        self.process.send_signal(signal.SIGUSR1)
        self.connect()
        self.assertEqual(self.ask("POST", "/api/v1/drain")[0], 202)
        self.assertEqual(self.ask("GET", "/readyz")[0], 503)
        until(lambda: not self.is_open(self.port), "no listener left")
