"""Targets that are found while the proxy runs: by a real name server, and in files."""

from __future__ import annotations

import os
import time
from pathlib import Path

from tests.live.backends import Backend
from tests.live.case import LiveCase
from tests.live.dnsmasq import NameServer
from tests.live.waiting import until


class DiscoveryLiveCase(LiveCase):
    """A group called ``app`` before backends at several loopback addresses and one port."""

    def setUp(self):
        super().setUp()
        self.front = self.port()
        self.back = self.port()

    def backends(self, *hosts):
        """Servers that send the last number of their address, and wait."""
        for host in hosts:
            backend = Backend(_sends(host.rpartition(".")[2].encode()), host=host, port=self.back)
            self.addCleanup(backend.close)

    def group(self, *targets, before=(), **keys):
        self.running = self.starting_proxy(before, {"targets": list(targets), **keys} if targets else keys)

    def starting_proxy(self, before, group):
        return self.proxy(
            {"name": "front", "match": {"ports": [self.front]}, "action": {"group": "app"}},
            before=before,
            targetGroups={"app": group},
        )

    def shown(self):
        return {each["name"]: each for each in self.running.api("targets?group=app")["targets"]}

    def names(self):
        """The hosts of the targets that are not draining."""
        return {name.rpartition(":")[0] for name, each in self.shown().items() if each["state"] != "drain"}

    def follows(self, *hosts, within):
        until(lambda: self.names() == set(hosts), f"targets {hosts}, not {self.names()}", within)

    def answers(self, count=8):
        """What so many connections get, each closed before the next."""
        found = []
        for _ in range(count):
            sock = self.connect(self.front)
            found.append(self.read(sock, 1))
            sock.close()
        return found


def _sends(word):
    def serve(_backend, sock):
        sock.sendall(word)
        while sock.recv(100):
            pass

    return serve


class NameTests(DiscoveryLiveCase):
    def test_ttl_of_one_second_is_followed_and_a_session_drains(self):
        dns = NameServer(self)
        self.backends("127.0.0.2", "127.0.0.3", "127.0.0.4")
        dns.has(app=["127.0.0.2", "127.0.0.3"])
        self.group({"host": "app.test", "port": self.back, "addresses": "all"}, before=dns.environment)
        self.assertEqual(set(self.answers()), {b"2", b"3"})
        session = self.connect(self.front)
        host = f"127.0.0.{self.read(session, 1).decode()}"
        dns.has(app=["127.0.0.4"])
        self.follows("127.0.0.4", within=4)
        self.assertEqual(set(self.answers(4)), {b"4"})
        shown = self.shown()[f"{host}:{self.back}"]
        self.assertEqual((shown["state"], shown["connections"], shown["effectiveWeight"]), ("drain", 1, 0))
        session.sendall(b"still there")
        session.close()
        until(lambda: f"{host}:{self.back}" not in self.shown(), "the drained target not shown")

    def test_last_answer_is_kept_whatever_the_server_says(self):
        """NXDOMAIN first, and then nothing at all. A new answer is followed."""
        dns = NameServer(self)
        self.backends("127.0.0.2", "127.0.0.3")
        dns.has(app=["127.0.0.2"])
        self.group({"host": "app.test", "port": self.back, "addresses": "all"}, before=dns.environment)
        self.assertEqual(set(self.answers(2)), {b"2"})
        dns.has(other=["127.0.0.9"])
        until(lambda: "app.test is not found" in self.running.printed, "a log line")
        self.assertEqual(set(self.answers(2)), {b"2"})
        dns.stop()
        time.sleep(3)
        self.assertEqual(set(self.answers(2)), {b"2"})
        self.assertLessEqual(self.running.printed.count("app.test is not found"), 4)
        dns.start()
        dns.has(app=["127.0.0.3"])
        self.follows("127.0.0.3", within=20)

    def test_fifty_addresses_and_ipv6_only(self):
        """The answer with 50 addresses does not fit into the 512 bytes of a plain UDP answer."""
        dns = NameServer(self, "--edns-packet-max=512")
        many = [f"127.0.1.{number}" for number in range(50)]
        dns.has(app=many, six=["::1"])
        self.group(
            {"host": "app.test", "port": self.back, "addresses": "all"},
            {"host": "six.test", "port": self.back, "addresses": "all"},
            before=dns.environment,
        )
        self.follows(*many, "[::1]", within=10)

    def test_srv_records_with_priorities_and_weights(self):
        options = [
            f"--srv-host=_app._tcp.test,{name}.test,{self.back},{priority},{weight}"
            for name, priority, weight in (("a", 1, 30), ("b", 1, 10), ("c", 2, 0), ("none", 1, 5))
        ]
        dns = NameServer(self, *options)
        self.backends("127.0.0.2", "127.0.0.3", "127.0.0.4")
        dns.has(a=["127.0.0.2"], b=["127.0.0.3"], c=["127.0.0.4"])
        self.group({"srv": "_app._tcp.test"}, before=dns.environment)
        self.follows("127.0.0.2", "127.0.0.3", "127.0.0.4", within=10)
        found = {
            name.rpartition(":")[0]: (each["weight"], each["backup"]) for name, each in self.shown().items()
        }
        self.assertEqual(found, {"127.0.0.2": (30, False), "127.0.0.3": (10, False), "127.0.0.4": (1, True)})
        answers = self.answers(40)
        self.assertEqual((answers.count(b"2"), answers.count(b"3")), (30, 10))

    def test_no_target_while_a_name_was_never_found(self):
        dns = NameServer(self)
        self.group({"host": "app.test", "port": self.back, "addresses": "all"}, before=dns.environment)
        self.assert_refused(self.front)
        self.assertEqual(self.running.rejected("no_target"), 1)
        self.backends("127.0.0.2")
        dns.has(app=["127.0.0.2"])
        self.follows("127.0.0.2", within=10)
        self.assertEqual(self.answers(1), [b"2"])


class FileTests(DiscoveryLiveCase):
    def write(self, *hosts, name="db.yaml"):
        text = "".join(f"- {{host: {host}, port: {self.back}}}\n" for host in hosts)
        return self.file(name, text)

    def test_file_that_is_written_replaced_broken_or_removed(self):
        path = self.write("127.0.0.2")
        self.backends("127.0.0.2", "127.0.0.3", "127.0.0.4")
        self.group(targetsFile="db.yaml")
        session = self.connect(self.front)
        self.assertEqual(self.read(session, 1), b"2")
        self.write("127.0.0.3")
        self.follows("127.0.0.3", within=5)
        self.write("127.0.0.4", "127.0.0.3", name="new.yaml").replace(path)
        self.follows("127.0.0.3", "127.0.0.4", within=5)
        self.file("db.yaml", "- {host: 127.0.0.3, prot: 1}\n")
        line = f'{path}:1: targets[0].prot: unknown key; did you mean "port"?'
        until(lambda: line in self.running.printed, "a log line with file, line and key")
        path.unlink()
        until(lambda: "No such file or directory" in self.running.printed, "a log line")
        self.assertEqual(set(self.answers(4)), {b"3", b"4"})
        session.sendall(b"still there")

    def test_file_behind_links_as_in_a_config_map(self):
        """Kubernetes replaces the link ``..data`` and nothing else."""
        for version, host in (("one", "127.0.0.2"), ("two", "127.0.0.3")):
            (self.directory / version).mkdir()
            self.write(host, name=f"{version}/db.yaml")
        data = self.directory / "..data"
        data.symlink_to("one")
        (self.directory / "db.yaml").symlink_to("..data/db.yaml")
        self.group(targetsFile="db.yaml")
        self.follows("127.0.0.2", within=5)
        new = self.directory / "..new"
        new.symlink_to("two")
        new.replace(data)
        self.follows("127.0.0.3", within=5)

    def test_file_that_the_user_of_the_process_may_not_read(self):
        if os.geteuid() != 0:
            self.skipTest("only root may change the user")
        path = self.write("127.0.0.2")
        path.chmod(0o600)
        self.directory.chmod(0o755)
        self.running = self.starting_user({"targetsFile": "db.yaml"})
        self.assertEqual(self.names(), {"127.0.0.2"})
        until(lambda: "cannot read again" in self.running.printed, "a line about the file")
        self.write("127.0.0.3")
        path.chmod(0o600)
        until(lambda: "targets file not applied" in self.running.printed, "a log line")
        self.assertEqual(self.names(), {"127.0.0.2"})
        path.chmod(0o644)
        self.follows("127.0.0.3", within=10)

    def starting_user(self, group):
        """A proxy that becomes the user ``nobody``."""
        return self.proxy(
            {"name": "front", "match": {"ports": [self.front]}, "action": {"group": "app"}},
            options=("--uid=65534", "--gid=65534"),
            targetGroups={"app": group},
        )

    def test_reload_keeps_what_was_found_and_reads_the_file_again(self):
        path = self.write("127.0.0.2")
        self.group({"host": "localhost", "port": self.back, "addresses": "all"}, targetsFile="db.yaml")
        until(lambda: len(self.names()) > 1, "an answer for localhost")
        before = self.names()
        Path(path).write_text(f"- {{host: 127.0.0.3, port: {self.back}}}\n")
        status, body = self.running.ask("/api/v1/reload", "POST")
        self.assertEqual(status, 200, body)
        self.assertEqual(self.names(), before - {"127.0.0.2"} | {"127.0.0.3"})
