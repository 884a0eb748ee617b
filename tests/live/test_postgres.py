"""PostgreSQL's client and server with the proxy between them: TLS passed through, terminated and re-encrypted."""

from __future__ import annotations

import os
import re
import signal
import socket
import threading

from tests.live.backends import read_header, silent
from tests.live.case import route
from tests.live.postgres import CountedClient, cluster, program, psql
from tests.live.terminating import NAME, TlsCase
from tests.live.waiting import until

ACCELERATIONS = ("auto", "off")
#: Name of the server where it has TLS itself.
_SERVER = "db.test"
_HAS_TLS = "select ssl, version from pg_stat_ssl where pid = pg_backend_pid()"
_CHUNK = 1 << 16


class PostgresCase(TlsCase):
    def setUp(self):
        super().setUp()
        program("psql")
        self.cluster = cluster()

    def server(self, *, tls=False):
        """Start a server and return it as a target."""
        certificate = self.authority.certificate(_SERVER) if tls else None
        return {"host": "127.0.0.1", "port": self.cluster.start(self, certificate=certificate)}

    def psql(self, port, name, query=_HAS_TLS, **said):
        """Run psql; by default it verifies the certificate against ``name``."""
        return psql(
            query, **{"host": name, "port": port, "sslmode": "verify-full", "sslrootcert": self.authority.file, **said}
        )  # fmt: skip

    def assert_answers(self, done, words):
        self.assertEqual((done.stdout.strip(), done.returncode), (words, 0), done.stderr)

    def assert_fails(self, done, words):
        self.assertNotEqual(done.returncode, 0)
        self.assertIn(words, done.stderr)

    def both(self, *routes, **settings):
        """The same proxy with each kind of relay, and its ports by route name."""
        ports = {}
        asked = []
        for acceleration in ACCELERATIONS:
            own = {name: self.port() for name, _ in routes}
            ports[acceleration] = own
            made = [make(name, own[name]) for name, make in routes]
            asked.append({"routes": made, "acceleration": acceleration, **settings})
        return list(zip(self.proxies(*asked), ports.values(), strict=True))


class PsqlTests(PostgresCase):
    def test_psql_is_passed_through_by_sni(self):
        """It reaches the route of its name only, and verifies the server's certificate; an unknown name is refused."""
        target, other = self.server(tls=True), self.backend(silent)
        made = [
            {
                "routes": [
                    route("other", front, other, domains=["other.test"]),
                    route("db", front, target, domains=[_SERVER]),
                ],
                "acceleration": acceleration,
            }
            for acceleration, front in zip(ACCELERATIONS, (self.port(), self.port()), strict=True)
        ]
        for proxy, settings in zip(self.proxies(*made), made, strict=True):
            (front,) = settings["routes"][0]["match"]["ports"]
            self.assert_answers(self.psql(front, _SERVER), "t|TLSv1.3")
            self.assert_fails(self.psql(front, "third.test"), "unrecognized name")
            self.assertEqual((other.accepted, proxy.rejected("no_route")), (0, 1))

    def test_psql_over_terminated_tls_reaches_a_plain_server(self):
        """psql verifies the proxy's certificate; the server has no TLS."""
        target = self.server()
        for _, ports in self.both(("one", lambda name, port: self.ending(name, port, target))):
            self.assert_answers(self.psql(ports["one"], NAME), "f|")
            large = self.psql(ports["one"], NAME, "select repeat('x', 3000000)")
            self.assertEqual(len(large.stdout.strip()), 3_000_000, large.stderr)

    def test_psql_over_reencrypted_tls_verifies_both_certificates(self):
        """The proxy verifies the server's certificate, whose name differs from the one that psql verifies."""
        target = self.server(tls=True)
        upstream = {"ca": str(self.authority.file), "serverName": _SERVER}
        wrong = {**upstream, "serverName": "somebody.test"}

        def again(name, port):
            return self.ending(
                name, port, target, mode="terminate-and-reencrypt", upstream=wrong if name == "wrong" else upstream
            )  # fmt: skip

        for proxy, ports in self.both(("again", again), ("wrong", again)):
            self.assert_answers(self.psql(ports["again"], NAME), "t|TLSv1.3")
            self.assertNotEqual(self.psql(ports["wrong"], NAME).returncode, 0)
            self.assertEqual(proxy.rejected("tls_error"), 1)
            self.assertIn("is not for somebody.test", proxy.printed)

    def test_plain_route_leaves_tls_to_client_and_server(self):
        """Each of psql's modes behaves as without a proxy."""
        target, front = self.server(tls=True), self.port()
        self.proxy(route("plain", front, target))
        for mode, words in (("disable", "f|"), ("prefer", "t|TLSv1.3"), ("verify-full", "t|TLSv1.3")):
            self.assert_answers(self.psql(front, _SERVER, sslmode=mode), words)

    def test_plain_route_to_a_server_without_tls(self):
        """The server itself declines TLS, also where a route inspects first bytes but none involves TLS."""
        target, front, seen = self.server(), self.port(), self.port()
        pages = route("pages", seen, self.backend(silent), path="/pages/*")
        self.proxy(route("plain", front, target), pages, route("rest", seen, target))
        for port in (front, seen):
            self.assert_answers(self.psql(port, _SERVER, sslmode="prefer"), "f|")
            self.assert_fails(self.psql(port, _SERVER, sslmode="require"), "server does not support SSL")

    def test_server_without_tls_fails_for_passed_through_tls(self):
        """The client is refused, and the log has the reason."""
        target, front, mixed = self.server(), self.port(), self.port()
        proxy = self.proxy(
            route("db", front, target, domains=[_SERVER]),
            route("plain", mixed, target, protocol="tcp"),
            route("named", mixed, target, domains=[_SERVER]),
        )
        self.assert_fails(self.psql(front, _SERVER), "SSL error")
        self.assertEqual(proxy.rejected("tls_error"), 1)
        self.assertIn("it does not support TLS", proxy.printed)
        # Where plain clients have a route, a client that only prefers TLS connects again without it.
        self.assert_answers(self.psql(mixed, _SERVER, sslmode="prefer"), "f|")
        self.assert_answers(self.psql(mixed, _SERVER, sslmode="disable"), "f|")


class CancelTests(PostgresCase):
    """Ctrl-C in psql cancels the query over a connection of its own, in plain text and without a name."""

    def interrupted(self, port, name):
        """What psql prints whose query was interrupted."""
        where = {
            "host": name, "hostaddr": "127.0.0.1", "port": port, "user": "postgres", "dbname": "postgres",
            "sslmode": "verify-full", "sslrootcert": self.authority.file,
        }  # fmt: skip
        words = " ".join(f"{key}={value}" for key, value in where.items())
        query = "select pg_sleep(600)"
        running = self.program(
            program("psql"), "-XAtw", "-c", query, words, env={"PATH": os.defpath, "HOME": "/nonexistent"}
        )
        active = (
            "select count(*) from pg_stat_activity where query like 'select pg_sleep%' and state = 'active'"
        )
        until(lambda: self.psql(port, name, active).stdout.strip() == "1", "the query being executed")
        running.signal(signal.SIGINT)
        self.assertEqual(running.wait(), 1)
        return running.printed

    def test_query_is_cancelled_on_a_port_with_routes_by_name(self):
        """TLS passes through, so the proxy has seen neither process nor key; web servers are not asked."""
        target, web, fronts = self.server(tls=True), self.backend(silent), (self.port(), self.port())
        made = [
            {
                "routes": [
                    route("web", front, web, domains=["web.test"]),
                    route("db", front, target, domains=[_SERVER]),
                ],
                "acceleration": acceleration,
            }
            for acceleration, front in zip(ACCELERATIONS, fronts, strict=True)
        ]
        for proxy, front in zip(self.proxies(*made), fronts, strict=True):
            printed = self.interrupted(front, _SERVER)
            self.assertIn("canceling statement due to user request", printed)
            self.assertEqual(self.cancels(proxy), (1.0, 0.0, 0.0))
        self.assertEqual(web.accepted, 0)

    def test_query_is_cancelled_where_tls_is_terminated(self):
        target = self.server()
        for proxy, ports in self.both(("one", lambda name, port: self.ending(name, port, target))):
            printed = self.interrupted(ports["one"], NAME)
            self.assertIn("canceling statement due to user request", printed)
            self.assertEqual(self.cancels(proxy), (1.0, 0.0, 0.0))

    def cancels(self, proxy):
        """Number of requests by result: ok, failed, dropped."""
        _, page = proxy.ask("/metrics")
        found = re.findall(rb'smartproxy_postgres_cancels_total{result="(\w+)"} (\S+)', page)
        counts = {result.decode(): float(count) for result, count in found}
        return tuple(counts[result] for result in ("ok", "failed", "dropped"))


class Counter:
    """A backend that relays to a server, and counts the bytes it reads and writes."""

    def __init__(self, target):
        self._to = target["host"], target["port"]
        self.announced = 0

    def __call__(self, backend, sock):
        header, _, held = read_header(sock)
        self.announced += header is not None
        with socket.create_connection(self._to) as server:
            server.sendall(held)
            counts = [len(held), 0]
            answering = threading.Thread(target=self._carry, args=(server, sock, counts, 1))
            answering.start()
            self._carry(sock, server, counts, 0)
            answering.join()
        backend.seen.append(tuple(counts))

    def _carry(self, source, sink, counts, way):
        while data := source.recv(_CHUNK):
            counts[way] += len(data)
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


class CountTests(PostgresCase):
    """After a clean end, ``received`` equals the bytes read by the backend, and ``sent`` those it wrote."""

    def talk(self, port, context, name, *, in_order):
        """Run a session of about 300 kB."""
        client = CountedClient(self.connect(port))
        client.start_tls(context, name)
        client.start()
        client.query("select repeat('x', 300000)")
        client.query("select length('" + "y" * 20000 + "')")
        client.end(in_order=in_order)
        return client

    def ended(self, proxy, backend, count):
        proxy.emptied()
        until(lambda: len(backend.seen) == count, "the backend having counted")
        self.assertEqual(proxy.closed("normal"), count)
        return tuple(map(sum, zip(*backend.seen, strict=True)))

    def test_passed_through_ssl_request_is_counted(self):
        """The SSLRequest and its answer are payload; a PROXY header before them is not."""
        context = self.authority.client()
        counter = Counter(self.server(tls=True))
        backends = []

        def named(name, port):
            backends.append(self.backend(counter))
            return route(name, port, backends[-1], domains=[_SERVER], action={"sendProxyProtocol": 2})

        for number, (proxy, ports) in enumerate(self.both(("db", named))):
            client = self.talk(ports["db"], context, _SERVER, in_order=False)
            read, wrote = self.ended(proxy, backends[number], 1)
            self.assertEqual(proxy.moved, (read, wrote))
            self.assertGreater(read, client.said + 8)
            self.assertGreater(wrote, client.heard + 1)
        self.assertEqual(counter.announced, 2)

    def test_terminated_tls_counts_plaintext_only(self):
        """The SSLRequest and its answer are not counted where the proxy terminates TLS."""
        context = self.authority.client()
        counter = Counter(self.server())
        backends = []

        def one(name, port):
            backends.append(self.backend(counter))
            return self.ending(name, port, backends[-1])

        for number, (proxy, ports) in enumerate(self.both(("one", one))):
            client = self.talk(ports["one"], context, NAME, in_order=True)
            counts = self.ended(proxy, backends[number], 1)
            self.assertEqual((proxy.moved, counts), ((client.said, client.heard),) * 2)
