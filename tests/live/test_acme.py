"""Certificates from a directory: a proxy and pebble, from a start without any to renewals under traffic."""

from __future__ import annotations

import json
import os
import socket
import ssl
import stat
import sys
import threading
import time
import urllib.parse
from contextlib import suppress

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from tests.live.case import LiveCase
from tests.live.pebble import Pebble
from tests.live.programs import environment, run
from tests.live.proxy import Proxy
from tests.live.waiting import until
from tests.live.web import Pages, serving

#: Seconds that an order may take on a busy machine.
PATIENT = 60.0
#: Seconds for which a certificate is valid that is renewed under traffic.
LIFETIME = int(os.environ.get("SMARTPROXY_CERTIFICATE_SECONDS", "15"))
_KEY = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"


class AcmeCase(LiveCase):
    def acme(self, pebble, **terms):
        store = self.directory / "store"
        return {
            "directory": pebble.directory,
            "ca": str(pebble.ca),
            "email": "operator@a.example",
            "store": str(store),
            "httpPort": pebble.http_port,
            **terms,
        }

    def routes(self, pebble, *names):
        """A redirect on the port for HTTP, and a route for each of ``names``, one name or several."""
        redirect = {"type": "redirect", "to": "https://{host}{path}"}
        match = {"ports": pebble.http_port, "address": "127.0.0.1"}
        yield {"name": "redirect", "match": match, "action": redirect}
        for number, one in enumerate(names):
            yield self.automatic(f"web{number}", pebble.tls_port, one)

    def automatic(self, name, port, domains):
        return {
            "name": name,
            "match": {"ports": port, "domains": domains},
            "action": {
                "type": "respond",
                "response": {"status": 200, "body": name},
                "tls": {"mode": "terminate", "certificate": "auto"},
            },
        }

    def shown(self, proxy, name):
        """What the API shows of the certificate for ``name``."""
        found = proxy.api("certificates")["certificates"]
        return next((one for one in found if name in one["names"]), None)

    def issued(self, proxy, *names, but=None):
        """Wait for certificates; the fingerprint of the last one. ``but`` is one that it must not be."""
        for name in names:

            def look(name=name):
                one = self.shown(proxy, name)
                return one is not None and one["fingerprint"] and one["fingerprint"] != but and one

            one = until(look, f"a certificate for {name}", within=PATIENT)
        return one["fingerprint"]

    def seen(self, port, name, root):
        """The certificate that a client which verifies it is shown."""
        context = ssl.create_default_context(cadata=root.decode())
        with (
            socket.create_connection(("127.0.0.1", port), PATIENT) as plain,
            context.wrap_socket(plain, server_hostname=name) as secured,
        ):
            return x509.load_der_x509_certificate(secured.getpeercert(binary_form=True))

    def assert_shown(self, pebble, name):
        names = self.seen(pebble.tls_port, name, pebble.root).extensions
        self.assertIn(
            name,
            names.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(
                x509.DNSName
            ),
        )

    def orders(self, pebble):
        """How many were made."""
        return pebble.printed.count("Added order ")  # without requests whose nonce was rejected


class ChallengeTests(AcmeCase):
    def test_http_01_is_answered_before_a_redirect(self):
        pebble = Pebble(self, PEBBLE_WFE_NONCEREJECT="20")
        routes = self.routes(pebble, ["a.example", "www.a.example"], "b.example")
        proxy = self.proxy(*routes, acme=self.acme(pebble, challenge="http-01"))
        self.issued(proxy, "a.example", "b.example")
        for name in ("a.example", "www.a.example", "b.example"):
            self.assert_shown(pebble, name)
        self.assertEqual(self.shown(proxy, "a.example")["names"], ["a.example", "www.a.example"])

    def test_proxy_listens_for_http_01_where_no_route_does(self):
        pebble = Pebble(self)
        proxy = self.proxy(
            self.automatic("web", pebble.tls_port, "a.example"), acme=self.acme(pebble, challenge="http-01")
        )
        self.issued(proxy, "a.example")

    def test_tls_alpn_01(self):
        pebble = Pebble(self, PEBBLE_WFE_NONCEREJECT="20")
        route = self.automatic("web", pebble.tls_port, ["a.example", "b.example"])
        proxy = self.proxy(route, acme=self.acme(pebble, challenge="tls-alpn-01", keyType="rsa-2048"))
        self.issued(proxy, "a.example")
        self.assert_shown(pebble, "b.example")
        self.assertEqual(self.shown(proxy, "a.example")["kind"], "RSA")

    def test_without_a_port_for_http_auto_uses_tls(self):
        pebble = Pebble(self)
        proxy = self.proxy(self.automatic("web", pebble.tls_port, "a.example"), acme=self.acme(pebble))
        self.issued(proxy, "a.example")

    def test_auto_tries_the_other_challenge_where_one_fails(self):
        """Port 80 leads to something else, and port 443 here."""
        pebble = Pebble(self)
        port = self.port()
        redirect = {"name": "other", "match": {"ports": port}, "action": {"type": "block"}}
        route = self.automatic("web", pebble.tls_port, "a.example")
        proxy = self.proxy(redirect, route, acme=self.acme(pebble, httpPort=port))
        self.issued(proxy, "a.example")
        self.assertIn("certificate not ordered: a.example: ", proxy.printed)

    def test_dns_01_by_a_command_for_a_wildcard(self):
        pebble = Pebble(self, PEBBLE_WFE_NONCEREJECT="20")
        command = self.file(
            "dns-change",
            "#!/bin/sh\n"
            'case "$1" in present) what="set-txt" ;; cleanup) what="clear-txt" ;; esac\n'
            f'exec curl -sf --noproxy "*" -d "{{\\"host\\": \\"$2\\", \\"value\\": \\"$3\\"}}" {pebble.names_url}/$what\n',
        )
        command.chmod(0o755)
        route = self.automatic("web", pebble.tls_port, ["*.a.example"])
        acme = self.acme(pebble, challenge="dns-01", dns={"command": str(command)})
        proxy = self.proxy(route, acme=acme)
        self.issued(proxy, "*.a.example")
        self.assertIsNotNone(self.seen(pebble.tls_port, "any.a.example", pebble.root))

    def test_external_account_is_required(self):
        pebble = Pebble(self, external={"kid-1": _KEY})
        routes = list(self.routes(pebble, "a.example"))
        proxy = self.proxy(*routes, acme=self.acme(pebble))
        failed = until(
            lambda: (one := self.shown(proxy, "a.example")) and one["acme"]["lastError"],
            "an order that fails",
            within=PATIENT,
        )
        self.assertIn("eab", failed)
        proxy.stop()
        other = self.proxy(*routes, acme=self.acme(pebble, eab={"keyId": "kid-1", "hmacKey": _KEY}))
        self.issued(other, "a.example")

    def test_challenge_that_fails_is_told_and_tried_again(self):
        pebble = Pebble(self)
        pebble.has("a.example", "127.0.0.77")
        proxy = self.proxy(*self.routes(pebble, "a.example"), acme=self.acme(pebble, challenge="http-01"))
        shown = until(
            lambda: (one := self.shown(proxy, "a.example")) and one["acme"]["state"] == "failed" and one,
            "an order that fails",
            within=PATIENT,
        )
        self.assertIn("a.example", shown["acme"]["lastError"])
        self.assertIn("certificate not ordered: a.example: ", proxy.printed)
        pebble.has("a.example", "127.0.0.1")
        self.issued(proxy, "a.example")


class LifeTests(AcmeCase):
    def test_directory_that_is_down_at_the_start_is_tried_again(self):
        pebble = Pebble(self)
        pebble.stop()
        proxy = self.proxy(*self.routes(pebble, "a.example"), acme=self.acme(pebble))
        until(
            lambda: (one := self.shown(proxy, "a.example")) and one["acme"]["failures"],
            "an order that fails",
            within=PATIENT,
        )
        pebble.start()
        self.issued(proxy, "a.example")

    def test_renewals_under_traffic_fail_no_handshake(self):
        """Each is renewed when a third of its time is left, while clients connect all the time: for 2.4 lifetimes."""
        pebble = Pebble(self, validity=LIFETIME)
        proxy = self.proxy(*self.routes(pebble, "a.example"), acme=self.acme(pebble))
        self.issued(proxy, "a.example")
        root, seen, failed = pebble.root, set(), []
        ends = time.monotonic() + 2.4 * LIFETIME

        def connect():
            while time.monotonic() < ends:
                try:
                    seen.add(self.seen(pebble.tls_port, "a.example", root).serial_number)
                except OSError as problem:
                    failed.append(problem)

        clients = [threading.Thread(target=connect) for _ in range(2)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        self.assertEqual(failed, [])
        self.assertGreaterEqual(len(seen), 3)

    def test_former_certificate_stays_while_the_directory_is_down(self):
        """The renewal is asked for, and not waited for: nothing depends on how long a busy machine takes."""
        pebble = Pebble(self)
        proxy = self.proxy(*self.routes(pebble, "a.example"), acme=self.acme(pebble))
        first, root = self.issued(proxy, "a.example"), pebble.root
        pebble.stop()
        self.assertEqual(proxy.ask("/api/v1/certificates/a.example/renew", "POST")[0], 202)
        until(
            lambda: self.shown(proxy, "a.example")["acme"]["failures"],
            "a renewal that fails",
            within=PATIENT,
        )
        self.assertEqual(self.shown(proxy, "a.example")["fingerprint"], first)
        shown = self.seen(pebble.tls_port, "a.example", root)
        self.assertEqual(shown.fingerprint(hashes.SHA256()).hex(), first)

    def test_fifty_certificates_at_once(self):
        pebble = Pebble(self, PEBBLE_WFE_NONCEREJECT="20")
        names = [f"{number}.example" for number in range(50)]
        proxy = self.proxy(*self.routes(pebble, *names), acme=self.acme(pebble))
        until(
            lambda: (
                sum(bool(one["fingerprint"]) for one in proxy.api("certificates")["certificates"])
                == len(names)
            ),
            "50 certificates",
            within=3 * PATIENT,
        )
        for name in (names[0], names[-1]):
            self.assert_shown(pebble, name)

    def test_restart_orders_nothing(self):
        pebble = Pebble(self)
        routes = list(self.routes(pebble, ["a.example", "b.example"]))
        proxy = self.proxy(*routes, acme=self.acme(pebble))
        first = self.issued(proxy, "a.example")
        proxy.stop()
        before = self.orders(pebble)
        again = self.proxy(*routes, acme=self.acme(pebble))
        # The certificate is there when the first client comes.
        shown = self.seen(pebble.tls_port, "a.example", pebble.root)
        self.assertEqual(shown.fingerprint(hashes.SHA256()).hex(), first)
        self.assertEqual(self.shown(again, "a.example")["acme"]["state"], "issued")
        self.assertEqual(self.orders(pebble), before)

    def test_sessions_are_resumed_in_any_worker_after_a_restart(self):
        """Workers share the contexts of certificates that were there when the proxy was started."""
        pebble = Pebble(self)
        routes = list(self.routes(pebble, "a.example"))
        proxy = self.proxy(*routes, acme=self.acme(pebble))
        self.issued(proxy, "a.example")
        proxy.stop()
        self.proxy(*routes, acme=self.acme(pebble), workers=3)
        context = ssl.create_default_context(cadata=pebble.root.decode())
        context.maximum_version = ssl.TLSVersion.TLSv1_2  # its session is there after the handshake
        session, resumed = None, []
        for _ in range(30):
            with (
                socket.create_connection(("127.0.0.1", pebble.tls_port), PATIENT) as plain,
                context.wrap_socket(plain, server_hostname="a.example", session=session) as secured,
            ):
                resumed.append(secured.session_reused)
                session = secured.session
        self.assertEqual(resumed, [False, *[True] * 29])

    def test_damaged_entry_is_ordered_anew(self):
        pebble = Pebble(self)
        routes = list(self.routes(pebble, "a.example"))
        proxy = self.proxy(*routes, acme=self.acme(pebble))
        first = self.issued(proxy, "a.example")
        proxy.stop()
        for file in (self.directory / "store").rglob("*.pem"):
            self.assertEqual(stat.S_IMODE(file.stat().st_mode), 0o600)
            file.write_text("damaged")
        again = self.proxy(*routes, acme=self.acme(pebble))
        self.issued(again, "a.example", but=first)

    def test_two_processes_on_a_store_make_one_order(self):
        """Whichever of them the directory reaches answers the challenge. So that one has to listen before the other orders."""
        pebble = Pebble(self)
        acme = self.acme(pebble)
        first = {"routes": list(self.routes(pebble, "a.example")), "acme": acme}
        one = self.starting(Proxy(self.directory, first))
        until(lambda: _listens(pebble.tls_port), "the port for challenges")
        other = self.proxy(self.automatic("web", self.port(), "a.example"), acme=acme)
        self.assertEqual(self.issued(one, "a.example"), self.issued(other, "a.example"))
        self.assertEqual(self.orders(pebble), 1)

    def test_renewal_on_request(self):
        pebble = Pebble(self)
        proxy = self.proxy(*self.routes(pebble, "a.example"), acme=self.acme(pebble))
        first = self.issued(proxy, "a.example")
        done = self.smartproxy(
            "certificates", "renew", "a.example", "--admin", f"127.0.0.1:{proxy.admin_port}"
        )
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertIn("a.example: renewed, valid until ", done.stdout)
        self.assertNotEqual(self.issued(proxy, "a.example"), first)

    def test_renewal_on_request_is_used_by_every_worker(self):
        """With one order. The former key may be stolen."""
        pebble = Pebble(self)
        proxy = self.proxy(*self.routes(pebble, "a.example"), acme=self.acme(pebble), workers=3)

        def used(wanted):
            with suppress(ssl.SSLError):  # of a worker that has none yet
                found = (self.seen(pebble.tls_port, "a.example", pebble.root) for _ in range(20))
                return {one.fingerprint(hashes.SHA256()).hex() for one in found} == {wanted}

        first = self.issued(proxy, "a.example")
        until(lambda: used(first), "the first one in every worker")
        proxy.ask("/api/v1/certificates/a.example/renew", "POST")
        second = self.issued(proxy, "a.example", but=first)
        until(lambda: used(second), "the second one in every worker")
        self.assertEqual(self.orders(pebble), 2)

    def smartproxy(self, *words):
        command = "import sys; from smartproxy.cli import main; sys.exit(main())"
        return run(sys.executable, "-c", command, *words, env=environment(), within=PATIENT)


class OnDemandTests(AcmeCase):
    def test_name_is_ordered_when_a_client_asks_and_the_program_approves(self):
        asked = []

        class Ask(Pages):
            def page(self):
                name = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)["domain"][0]
                asked.append(name)
                return (200 if name.endswith(".a.example") else 404), "text/plain", b""

        pebble = Pebble(self)
        target = serving(self, Ask)
        ask = f"http://127.0.0.1:{target['port']}/ask"
        route = self.automatic("web", pebble.tls_port, ["*.a.example", "*.b.example"])
        proxy = self.proxy(
            *self.routes(pebble), route, acme=self.acme(pebble, onDemand={"ask": ask, "maxPerHour": 5})
        )
        self.assertEqual(proxy.api("certificates")["certificates"], [])
        root = pebble.root
        first = self.seen(pebble.tls_port, "one.a.example", root)
        self.assertEqual(self.seen(pebble.tls_port, "one.a.example", root), first)
        self.assertRaises(ssl.SSLError, self.seen, pebble.tls_port, "two.b.example", root)
        self.assertEqual(asked, ["one.a.example", "two.b.example"])
        self.assertTrue(self.shown(proxy, "one.a.example")["acme"]["onDemand"])
        self.assertIn(
            'smartproxy_certificate_expiry_timestamp_seconds{name="one.a.example"}', self.scraped(proxy)
        )

    def scraped(self, proxy):
        return proxy.ask("/metrics")[1].decode()


class SeenTests(AcmeCase):
    def test_orders_and_next_renewal_are_metrics(self):
        pebble = Pebble(self)
        proxy = self.proxy(*self.routes(pebble, "a.example"), acme=self.acme(pebble))
        self.issued(proxy, "a.example")
        page = proxy.ask("/metrics")[1].decode()
        self.assertIn('smartproxy_acme_orders_total{result="ok"} 1', page)
        self.assertIn('smartproxy_acme_next_renewal_timestamp_seconds{name="a.example"}', page)
        self.assertIn("certificate issued by ACME: a.example, valid until ", proxy.printed)
        self.assertNotIn("Starting factory", proxy.printed)

    def test_account_is_kept_with_its_email(self):
        pebble = Pebble(self)
        proxy = self.proxy(*self.routes(pebble, "a.example"), acme=self.acme(pebble))
        self.issued(proxy, "a.example")
        (file,) = (self.directory / "store").glob("*/account.json")
        known = json.loads(file.read_text())
        self.assertEqual(known["email"], "operator@a.example")
        self.assertTrue(known["url"].startswith("https://"))


def _listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
