"""The pages of ``docs/migrating/nginx.rst``: the same clients at nginx and at ours get the same answers."""

from __future__ import annotations

from pathlib import Path
from unittest import SkipTest

from smartproxy.wire import proxy_v1
from tests.live.certificates import Authority
from tests.live.migrating import REFUSED, MigrationCase, folder, pair, replaced
from tests.live.programs import needed
from tests.live.waiting import until

_MODULE = Path("/usr/lib/nginx/modules/ngx_stream_module.so")
_FRAME = """\
load_module {module};
daemon off;
pid {directory}/nginx.pid;
error_log stderr;
worker_processes 1;
events {{}}
"""
ALLOWED, DENIED = "127.0.0.9", "127.0.0.66"


class NginxMigrationTests(MigrationCase):
    def started(self, title, targets, ports, changes=(), files=()):
        """nginx and ours with the configurations of a section; the ports of each by the port on the page.

        :param changes: to both.
        :param files: by their names on the page.
        """
        program = needed("nginx")
        if not _MODULE.exists():
            raise SkipTest("nginx has no stream module (libnginx-mod-stream)")
        original, configuration = pair("nginx", title)
        at_theirs = {port: self.port() for port in ports}
        at_ours = {port: self.port() for port in ports}
        written = {f"listen {port}": f"listen 127.0.0.1:{at_theirs[port]}" for port in ports}
        written |= {
            f"{host}:{port}": f"127.0.0.1:{backend.port}" for (host, port), backend in targets.items()
        }
        written |= {f"/etc/nginx/{name}": path for name, path in dict(files).items()}
        frame = _FRAME.format(module=_MODULE, directory=self.directory)
        file = self.file("nginx.conf", frame + replaced(original, {**written, **dict(changes)}))
        self.program(program, "-c", file, "-p", self.directory).listens(at_theirs[ports[0]])
        self.ours(configuration, at_ours, targets, {**dict(changes), **dict(files)})
        return at_theirs, at_ours

    def test_tls_by_name_is_passed_through(self):
        one, two = (self.named(name, header=True, tls=f"{name}.test") for name in ("shop1", "shop2"))
        git = self.named("git", header=True, tls="git.test")
        web = self.named("web", header=True, tls="web.test")
        theirs, ours = self.started(
            "TLS by name, passed through",
            {
                ("10.1.0.11", 8443): one,
                ("10.1.0.12", 8443): two,
                ("10.1.0.21", 443): git,
                ("10.1.0.31", 443): web,
            },
            [443],
        )
        git_answers, web_answers = ("git.test", b"git:words"), ("web.test", b"web:words")
        self.same(
            theirs[443],
            ours[443],
            {
                "name": (
                    self.announces(self.over_tls("git.example.com"), git),
                    (1, "127.0.0.1", "front", git_answers),
                ),
                "name in capitals": (self.over_tls("GIT.Example.Com"), git_answers),
                "another name": (self.over_tls("other.example"), web_answers),
                "no name": (self.over_tls(None), web_answers),
                "turns by weight": (self.turns, ["shop1.test"] * 4 + ["shop2.test"] * 2),
                "wildcard": (self.wildcards, {"shop"}),
                "no TLS": (
                    self.announces(self.over_plain(b"SSH-2.0-client\r\n"), web),
                    (1, "127.0.0.1", "front", REFUSED),
                ),
            },
        )

    def turns(self, port):
        return sorted(self.over_tls("shop.example.com")(port)[0] for _ in range(6))

    def wildcards(self, port):
        names = ("a.shop.example.com", "a.b.shop.example.com")
        return {self.over_tls(name)(port)[0][:4] for name in names}

    def test_database_and_cache_for_some_clients(self):
        database, cache = self.named("database", greeting=b"hello "), self.named("cache")
        backup = self.named("backup", greeting=b"hello ")
        changes = {"192.0.2.0/24": f"{ALLOWED}/32", "203.0.113.0/24": f"{DENIED}/32"}
        targets = {("10.4.0.11", 5432): database, ("10.4.0.12", 5432): backup, ("10.4.0.21", 6379): cache}
        at_theirs, at_ours = self.started(
            "Database and cache for some clients", targets, [5432, 6379], changes
        )
        self.same(
            at_theirs[5432],
            at_ours[5432],
            {
                "allowed, and the server speaks first": (self.once(b"", ALLOWED, b"hello "), b"hello "),
                "answer": (self.once(b"words", ALLOWED, b"hello database:words"), b"hello database:words"),
                "everyone else": (self.once(b"words", DENIED), REFUSED),
                "at once": (self.at_once(4, source=ALLOWED), [b"hello "] * 3 + [REFUSED]),
            },
        )
        self.same(
            at_theirs[6379],
            at_ours[6379],
            {
                "allowed": (self.once(b"PING\r\n", ALLOWED), b"cache:PING\r\n"),
                "denied": (self.once(b"PING\r\n", DENIED), REFUSED),
            },
        )
        database.close()
        self.same(
            at_theirs[5432],
            at_ours[5432],
            {
                "the first target is down": (
                    self.once(b"words", ALLOWED, b"hello backup:words"),
                    b"hello backup:words",
                )
            },
        )

    def once(self, data, source, answer=None):
        """A client from ``source``, when the connections before it have ended at the targets, too."""

        def act(port):
            until(lambda: not self.open_at_targets(), "no connection left")
            return self.over_plain(data, source=source, answer=answer)(port)

        return act

    def test_tls_is_terminated_and_begun_again(self):
        clients = Authority(folder(self, "clients"))
        queue, directory = self.named("queue"), self.named("ldap", tls="ldap.internal")
        robot = clients.certificate("robot")
        shop = self.authority.certificate("shop.example.com")
        files = {
            "shop-rsa.pem": shop,
            "shop-rsa.key": shop,
            "clients-ca.pem": clients.file,
            "targets-ca.pem": self.authority.file,
        }
        at_theirs, at_ours = self.started(
            "TLS terminated, and begun again",
            {("10.5.0.11", 1883): queue, ("10.5.0.21", 636): directory},
            [8883, 636],
            {"10.0.0.10": "127.0.0.1"},
            files,
        )
        answers = ("shop.example.com", b"queue:words")
        stranger = self.authority.certificate("stranger")
        self.same(
            at_theirs[8883],
            at_ours[8883],
            {
                "with a certificate": (self.over_tls("shop.example.com", certificate=robot), answers),
                "another name": (self.over_tls("other.example", certificate=robot), answers),
                "without": (self.over_tls("shop.example.com"), REFUSED),
                "of another authority": (self.over_tls("shop.example.com", certificate=stranger), REFUSED),
                "no TLS": (self.over_plain(b"\x10\x0c\0\4MQTT\4\2\0<\0\0"), REFUSED),
            },
        )
        answers = ("shop.example.com", b"ldap:words")
        self.same(
            at_theirs[636],
            at_ours[636],
            {
                "announced": (self.over_tls("shop.example.com", header=v1("198.51.100.7")), answers),
                "denied by what is announced": (
                    self.over_tls("shop.example.com", header=v1("203.0.113.9")),
                    REFUSED,
                ),
            },
        )


def v1(client):
    """A PROXY header of version 1 that announces ``client``."""
    return proxy_v1.build((client, 40000), ("192.0.2.1", 636))
