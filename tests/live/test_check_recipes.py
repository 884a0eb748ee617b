"""The checks of ``docs/recipes.rst`` against the servers that they are for."""

from __future__ import annotations

import pwd
import shutil
from contextlib import closing
from unittest import SkipTest

from tests.live import postgres
from tests.live.case import LiveCase
from tests.live.mariadb import MariaDb
from tests.live.migrating import blocks, settings
from tests.live.programs import needed
from tests.live.waiting import until

#: A local address of clients and checks: MariaDB never blocks 127.0.0.1.
_ELSEWHERE = "127.0.0.2"
_FAST = {"interval": "100ms", "fall": 1, "rise": 1}
_EXIM = """
primary_hostname = mail.test
spool_directory = {spool}
log_file_path = {spool}/%slog
keep_environment =
tls_advertise_hosts =
acl_smtp_rcpt = denying
begin acl
denying:
  deny
begin routers
begin transports
"""


class CheckRecipeCase(LiveCase):
    """A proxy with one group of the page."""

    def group(self, name, *ports, check=(), target=()):
        """The group of the page, with ``ports`` in place of its targets, checked faster.

        :param check: keys of the check that differ from the page.
        :param target: likewise of the targets.
        """
        (text,) = blocks("recipes", "Checks of databases and mail servers")
        group = settings(text, {})["targetGroups"][name]
        group["targets"] = [
            {"host": "127.0.0.1", "port": port, "name": str(port), **dict(target)} for port in ports
        ]
        group["healthCheck"] |= {**_FAST, **dict(check)}
        if group["healthCheck"]["type"] == "connect":
            del group["healthCheck"]["steps"]
        self.front = self.port()
        route = {"name": name, "match": {"ports": [self.front]}, "action": {"group": name}}
        self.running = self.proxy(route, targetGroups={name: group})
        return self.running

    def found(self):
        """Whether each target passed its last check, and what was found."""
        shown = self.running.api("targets")["targets"]
        return {
            int(one["name"]): one["lastCheck"] and (one["lastCheck"]["ok"], one["lastCheck"]["detail"])
            for one in shown
        }

    def until_found(self, **wanted):
        ports = {int(name[1:]): ok for name, ok in wanted.items()}

        def as_wanted():
            found = self.found()
            return (
                all(found[port] is not None and found[port][0] is ok for port, ok in ports.items()) and found
            )

        return until(as_wanted, f"checks finding {ports}: {self.found()}")

    def checked(self, result):
        """How many checks have had this result."""
        _, page = self.running.ask("/metrics")
        lines = [
            line for line in page.decode().splitlines() if line.startswith("smartproxy_target_checks_total{")
        ]
        return sum(int(float(line.rsplit(" ", 1)[1])) for line in lines if f'result="{result}"' in line)


class RedisTests(CheckRecipeCase):
    def redis(self, *options):
        port = self.port()
        self.program(
            needed("redis-server"), "--port", port, "--bind", "127.0.0.1", "--save", "", *options
        ).listens(port)
        return port

    def ask(self, port, words):
        with closing(self.connect(port)) as sock:
            sock.sendall(words.encode() + b"\r\nQUIT\r\n")
            received = b""
            while data := sock.recv(65536):
                received += data
            return received

    def test_clients_are_connected_to_the_primary_and_follow_it(self):
        first = self.redis()
        second = self.redis("--replicaof", "127.0.0.1", str(first))
        self.group("redis", first, second)
        found = self.until_found(**{f"p{first}": True, f"p{second}": False})
        self.assertEqual(found[first][1], "step 3: '+OK'")
        self.assertIn("role:slave", found[second][1])
        self.assertIn("it closed the connection", found[second][1])
        held = self.connect(self.front)
        held.sendall(b"INFO replication\r\n")
        self.assertIn(b"role:master", held.recv(65536))
        self.ask(second, "REPLICAOF NO ONE")
        self.ask(first, f"REPLICAOF 127.0.0.1 {second}")
        self.until_found(**{f"p{first}": False, f"p{second}": True})
        self.assert_gone(held)
        self.assertIn(b"+OK", self.ask(self.front, "SET a b"))
        self.assertEqual(self.running.closed("target_down"), 1)


class MariaDbTests(CheckRecipeCase):
    def test_hundreds_of_checks_do_not_block_the_host(self):
        """Also with max_connect_errors far below their number. A check by connect does, even one that ends in order."""
        server = MariaDb(self, "--max-connect-errors=3")
        server.administer("create user smartproxy@'%'; create user app@'%'")
        self.group(
            "mysql",
            server.port,
            target={"bind": _ELSEWHERE},
            check={"interval": "20ms", "fastInterval": "20ms"},
        )
        self.until_found(**{f"p{server.port}": True})
        until(lambda: self.checked("ok") > 200, "two hundred checks")
        self.assertEqual(self.checked("failed"), 0)
        self.assertEqual(server.query(self.front, "select user()", "app"), f"app@{_ELSEWHERE}\n")
        aborted = server.administer("show status like 'Aborted_%'").split()
        self.assertEqual(set(aborted[1::2]), {"0"}, aborted)
        self.running.stop()
        self.group("mysql", server.port, target={"bind": _ELSEWHERE}, check={"type": "connect"})
        until(lambda: self.checked("ok") > 5, "some checks by connect")
        self.assertIn(
            "is blocked because of many connection errors", server.query(self.front, "select 1", "app")
        )

    def test_without_its_user_the_check_fails(self):
        server = MariaDb(self)
        self.group("mysql", server.port)
        found = self.until_found(**{f"p{server.port}": False})
        self.assertIn("Access denied for user 'smartproxy'", found[server.port][1])


class PostgresTests(CheckRecipeCase):
    def test_a_server_that_serves_passes(self):
        port, dead = postgres.cluster().start(self), self.port()
        postgres.psql("drop role if exists smartproxy", port=port)
        postgres.psql("create role smartproxy login", port=port)
        self.addCleanup(postgres.psql, "drop role smartproxy", port=port)
        self.group("postgres", port, dead)
        found = self.until_found(**{f"p{port}": True, f"p{dead}": False})
        self.assertEqual(found[port][1], "step 2: 'R'")
        answer = postgres.psql("select 42", port=self.front)
        self.assertEqual(answer.stdout.strip(), "42", answer.stderr)
        until(lambda: self.checked("ok") > 20, "some checks")
        log = (self.directory / "postgres.log").read_text()
        self.assertNotIn("unexpected EOF", log)
        self.assertNotIn("could not receive", log)


class SmtpTests(CheckRecipeCase):
    def exim(self):
        """A mail server that takes no mail."""
        program, port = needed("exim4"), self.port()
        spool = self.directory / "exim"
        spool.mkdir()
        try:
            account = pwd.getpwnam("Debian-exim")
            shutil.chown(spool, account.pw_uid, account.pw_gid)
        except (KeyError, PermissionError):
            raise SkipTest("exim4 needs to be root, and a user Debian-exim") from None
        file = self.file("exim.conf", _EXIM.format(spool=spool))
        self.program(
            program, "-C", file, "-bdf", "-oX", f"127.0.0.1.{port}", "-oP", self.directory / "exim.pid"
        ).listens(port)
        return port, spool / "mainlog"

    def test_a_mail_server_passes_and_logs_no_broken_connection(self):
        port, log = self.exim()
        self.group("smtp", port)
        found = self.until_found(**{f"p{port}": True})
        self.assertIn("221", found[port][1])
        until(lambda: self.checked("ok") > 10, "some checks")
        self.assertEqual(self.checked("failed"), 0)
        text = log.read_text()
        for complaint in ("unexpected disconnection", "lost", "protocol error", "synchronization"):
            self.assertNotIn(complaint, text)
        with closing(self.connect(self.front)) as client:
            self.assertTrue(client.recv(100).startswith(b"220 mail.test"))


class PageTests(CheckRecipeCase):
    def test_each_group_of_the_page_is_tested(self):
        (text,) = blocks("recipes", "Checks of databases and mail servers")
        self.assertEqual(set(settings(text, {})["targetGroups"]), {"redis", "mysql", "postgres", "smtp"})
