"""The pages of ``docs/migrating/haproxy.rst``: the same clients at HAProxy and at ours get the same answers."""

from __future__ import annotations

from smartproxy.wire import proxy_tlv, proxy_v1, proxy_v2
from smartproxy.wire.proxy_tlv import SslClient
from tests.live.certificates import Authority
from tests.live.migrating import REFUSED, MigrationCase, folder, pair, replaced
from tests.live.programs import needed
from tests.live.waiting import until

GREETING = b"220 mx1 ready\r\n"


class HaproxyMigrationTests(MigrationCase):
    def started(self, title, targets, ports, theirs=(), ours=()):
        """HAProxy and ours with the configurations of a section; the ports of each by the port on the page."""
        program = needed("haproxy")
        original, configuration = pair("haproxy", title)
        at_theirs = {port: self.port() for port in ports}
        at_ours = {port: self.port() for port in ports}
        changes = {f"*:{port}": f"127.0.0.1:{at_theirs[port]}" for port in ports}
        changes |= {
            f"{host}:{port}": f"127.0.0.1:{backend.port}" for (host, port), backend in targets.items()
        }
        file = self.file("haproxy.cfg", replaced(original, {**changes, **dict(theirs)}))
        self.program(program, "-db", "-f", file).listens(at_theirs[ports[0]])
        self.ours(configuration, at_ours, targets, ours)
        return at_theirs, at_ours

    def test_tls_by_name_is_passed_through(self):
        one, two = (self.named(name, header=True, tls=f"{name}.test") for name in ("shop1", "shop2"))
        git = self.named("git", tls="git.test")
        web = self.named("web", header=True, tls="web.test")
        targets = {
            ("10.1.0.11", 8443): one,
            ("10.1.0.12", 8443): two,
            ("10.1.0.21", 443): git,
            ("10.1.0.31", 443): web,
        }
        small = {"maxconn 20000": "maxconn 100"}  # HAProxy wants descriptors for all of them
        theirs, ours = self.started("TLS by name, passed through", targets, [443], small)
        git_answers, web_answers = ("git.test", b"git:words"), ("web.test", b"web:words")
        self.same(
            theirs[443],
            ours[443],
            {
                "name": (self.over_tls("git.example.com"), git_answers),
                "name in capitals": (self.over_tls("GIT.Example.Com"), git_answers),
                "another name": (
                    self.announces(self.over_tls("other.example"), web),
                    (1, "127.0.0.1", "front", web_answers),
                ),
                "no name": (self.announces(self.over_tls(None), web), (1, "127.0.0.1", "front", web_answers)),
                "name below another": (self.over_tls("a.git.example.com"), web_answers),
                "no TLS": (self.over_plain(b"SSH-2.0-client\r\n"), REFUSED),
                "turns by weight": (self.turns, ["shop1.test"] * 4 + ["shop2.test"] * 2),
                "wildcard": (self.over_wildcard, True),
            },
        )
        headers = {(header.version, header.source[0]) for backend in (one, two) for header in backend.seen}
        self.assertEqual(headers, {(2, "127.0.0.1")})

    def turns(self, port):
        return sorted(self.over_tls("shop.example.com")(port)[0] for _ in range(6))

    def over_wildcard(self, port):
        return all(
            self.over_tls(name)(port)[0].startswith("shop")
            for name in ("a.shop.example.com", "a.b.shop.example.com")
        )

    def mail(self, ours=()):
        """The section about mail, with this machine as the load balancer; the backend, and both ports."""
        mail = self.named("mx1", header=True, greeting=GREETING)
        theirs, ours = self.started(
            "Mail behind another load balancer",
            {("10.2.0.25", 25): mail},
            [25],
            theirs={"gt 60": "gt 5"},
            ours={"10.0.0.10, 10.0.0.11": "127.0.0.1", "PerMinute: 60": "PerMinute: 5"},
        )
        return mail, theirs[25], ours[25]

    def test_mail_behind_a_load_balancer(self):
        mail, theirs, ours = self.mail()
        said = b"EHLO a\r\n"
        answer = GREETING + b"mx1:" + said
        announced = {
            version: self.announces(
                self.over_plain(said, header=build(f"198.51.100.{version}"), answer=answer), mail
            )
            for version, build in ((1, v1), (2, v2))
        }
        self.same(
            theirs,
            ours,
            {
                "version 1": (announced[1], (2, "198.51.100.1", 25, answer)),
                "version 2": (announced[2], (2, "198.51.100.2", 25, answer)),
                "blocked by what is announced": (self.over_plain(said, header=v1("203.0.113.5")), REFUSED),
                "not a header": (self.over_plain(said), REFUSED),
                "malformed header": (
                    self.over_plain(b"", header=b"PROXY TCP4 1.2.3.4 nowhere 1 2\r\n"),
                    REFUSED,
                ),
                "at once": (self.at_once(4, v1("198.51.100.20")), [GREETING] * 3 + [REFUSED]),
                "in a minute": (self.one_by_one(7, "198.51.100.21"), [GREETING] * 5 + [REFUSED] * 2),
            },
        )

    def one_by_one(self, count, client):
        """So many connections, each after the one before has ended at the target, too."""

        def act(port):
            saw = []
            for _ in range(count):
                saw.append(self.over_plain(b"", header=v1(client))(port))
                until(lambda: not self.open_at_targets(), "no connection left")
            return saw

        return act

    def test_tls_is_terminated(self):
        clients = Authority(folder(self, "clients"))
        targets = self.authority
        certificates = folder(self, "certificates")
        here = targets.writing_to(certificates)
        for name in ("www.example.com", "imap.example.com"):
            here.certificate(name)
        imap = self.named("imap", header=True)
        robots = self.named("robots", tls="robots.internal")
        robot = clients.certificate("robot")
        files = {"clients-ca.pem": clients.file, "targets-ca.pem": targets.file}
        at_theirs, at_ours = self.started(
            "TLS terminated",
            {("10.3.0.11", 143): imap, ("10.3.0.21", 8443): robots},
            [993, 8443],
            theirs={
                "/etc/haproxy/certs": certificates,
                **{f"/etc/haproxy/{name}": file for name, file in files.items()},
            },
            ours={"certificates: certificates": f"certificates: {certificates}", **files},
        )
        plain = (self.over_plain(b"a1 LOGIN x y\r\n"), REFUSED)
        self.same(
            at_theirs[993],
            at_ours[993],
            {
                "name": (self.over_tls("imap.example.com"), ("imap.example.com", b"imap:words")),
                "announced": (self.announced_tls(imap), (2, "127.0.0.1", "TLSv1.3", True)),
                "no TLS": plain,
            },
        )
        self.same(
            at_theirs[8443],
            at_ours[8443],
            {
                "with a certificate": (
                    self.over_tls("www.example.com", certificate=robot),
                    ("www.example.com", b"robots:words"),
                ),
                "without": (self.over_tls("www.example.com"), REFUSED),
                "of another authority": (
                    self.over_tls("www.example.com", certificate=here.certificate("stranger.example")),
                    REFUSED,
                ),
                "no TLS": plain,
            },
        )

    def announced_tls(self, backend):
        """What the TLV ``ssl`` says of a client: version of the header, client, version of TLS, and that it used TLS."""

        def act(port):
            self.over_tls("imap.example.com")(port)
            header = backend.seen[-1]
            told = proxy_tlv.parse_ssl(dict(header.tlvs)[proxy_tlv.PP2_TYPE_SSL])
            return header.version, header.source[0], told.version.decode(), SslClient.SSL in told.client

        return act


def v1(client):
    """A PROXY header of version 1 that announces ``client``."""
    return proxy_v1.build((client, 40000), ("192.0.2.1", 25))


def v2(client):
    """The same in version 2."""
    return proxy_v2.build((client, 40000), ("192.0.2.1", 25))
