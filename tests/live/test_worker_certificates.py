"""Certificates that are replaced on disk while several workers serve: all of them show the new one."""

from __future__ import annotations

import ssl
from contextlib import suppress

from tests.live.certificates import Authority
from tests.live.ocsp import OcspCase
from tests.live.terminating import NAME, TlsCase
from tests.live.waiting import until
from tests.live.workers import WorkersCase, line

_WORKERS = 3
_OTHER = "other.example"


class RenewalTests(WorkersCase, TlsCase):
    def setUp(self):
        super().setUp()
        self.front = self.port()
        self.folder = self.directory / "certificates"
        self.folder.mkdir()
        self.in_folder = self.authority.writing_to(self.folder)
        self.in_folder.certificate(_OTHER)
        own = self.identifying("own", self.front)
        own["match"]["domains"] = [NAME]
        certificate = {"certFile": str(self.authority.certificate(NAME))}
        own["action"] = own["action"] | {"tls": {"mode": "terminate", "certificate": certificate}}
        shared = self.identifying("shared", self.front)
        shared["match"]["domains"] = [_OTHER]
        shared["action"] = shared["action"] | {"tls": {"mode": "terminate"}}
        self.proxied = self.proxy(own, shared, workers=_WORKERS, tls={"certificates": "certificates"})
        self.pids = set(self.serving(self.proxied, _WORKERS).values())

    def shown(self, name, connections=30):
        """The certificates that clients are shown now, each with the process that served them."""
        found = set()
        context = self.authority.client()
        for _ in range(connections):
            with self.secure(self.front, context=context, name=name) as client:
                pid = int(line(client))
                found.add((pid, client.getpeercert(binary_form=True)))
        return found

    def all_show(self, name, certificate):
        return {shown for _, shown in self.shown(name)} == {certificate}

    def counted(self, result):
        (value,) = (
            text.rpartition(" ")[2]
            for text in self.proxied.ask("/metrics")[1].decode().splitlines()
            if text.startswith(f'smartproxy_certificate_reloads_total{{result="{result}"}}')
        )
        return int(value)

    def test_every_worker_shows_a_renewed_one_and_one_of_them_reports_it(self):
        for name, authority in ((NAME, self.authority), (_OTHER, self.in_folder)):
            path = authority.certificate(name)
            renewed = _der(path)
            until(lambda name=name, renewed=renewed: self.all_show(name, renewed), f"the new one of {name}")
        self.assertEqual({pid for pid, _ in self.shown(NAME)}, self.pids)
        log = self.proxied.printed
        self.assertEqual(log.count("certificate renewed: "), 1)
        self.assertEqual(log.count("certificate directory reloaded: "), 1)
        self.assertEqual((self.counted("ok"), self.counted("failed")), (2, 0))

    def test_a_worker_that_is_started_later_begins_with_the_renewed_one(self):
        renewed = _der(self.authority.certificate(NAME))
        until(lambda: self.all_show(NAME, renewed), "the new one")
        victim = min(self.pids)
        self.kill(victim)
        after = self.serving(self.proxied, _WORKERS, without=[victim])
        found = self.shown(NAME, 60)
        self.assertEqual({shown for _, shown in found}, {renewed})
        self.assertEqual({pid for pid, _ in found}, set(after.values()))

    def test_one_that_cannot_be_used_is_reported_once_and_the_former_one_stays(self):
        before = _der(self.directory / f"{NAME}.pem")
        (self.directory / f"{NAME}.pem").write_text("none\n")
        until(lambda: "certificate not renewed" in self.proxied.printed, "the log line")
        self.assertTrue(self.all_show(NAME, before))
        self.assertEqual(self.proxied.printed.count("certificate not renewed"), 1)
        self.assertEqual((self.counted("ok"), self.counted("failed")), (0, 1))


class AuthorityTests(WorkersCase, TlsCase):
    def test_every_worker_uses_another_authority_of_clients(self):
        """It is compiled into the configuration, which is put in force again in all of them."""
        wanted = self.directory / "wanted.pem"
        other = self.directory / "other"
        other.mkdir()
        second = Authority(other)
        wanted.write_bytes(self.authority.file.read_bytes())
        first_client, second_client = (self.client(of) for of in (self.authority, second))
        front = self.port()
        route = self.identifying("secured", front)
        certificate = {"certFile": str(self.authority.certificate(NAME))}
        asked = {"mode": "require", "ca": str(wanted)}
        tls = {"mode": "terminate", "certificate": certificate}
        route["action"] |= {"tls": tls | {"clientAuth": asked}}
        proxied = self.proxy(route, workers=_WORKERS)
        self.assertEqual(self.served(front, first_client), self.served(front, first_client))
        self.assertFalse(self.served(front, second_client))
        wanted.write_bytes(second.file.read_bytes())
        until(lambda: len(self.served(front, second_client)) == _WORKERS, "all of them take the other one")
        self.assertFalse(self.served(front, first_client))
        self.assertEqual(proxied.printed.count(f"certificate renewed: {wanted}"), 1)

    def client(self, authority):
        context = self.authority.client()
        context.load_cert_chain(authority.certificate("robot"))
        return context

    def served(self, port, context):
        """The workers that serve a client."""
        found = set()
        for _ in range(20):
            with suppress(OSError), self.secure(port, context=context) as client:
                found.add(int(line(client)))
        return found


class StaplingTests(WorkersCase, OcspCase):
    def test_one_worker_asks_for_a_response_and_all_staple_it(self):
        """So does one that is started later, which need not ask."""
        file = self.issued()
        self.responder(file)
        front = self.port()
        route = self.identifying("secured", front)
        certificate = {"certFile": str(file)}
        route["action"] |= {"tls": {"mode": "terminate", "certificate": certificate}}
        self.running = self.proxy(route, workers=_WORKERS)
        victim = max(self.serving(self.running, _WORKERS).values())
        until(lambda: self.all_staple(front), "all of them staple")
        self.kill(victim)
        self.serving(self.running, _WORKERS, without=[victim])
        self.assertTrue(self.all_staple(front))
        self.assertEqual(self.counted("good"), 1)

    def all_staple(self, front):
        """Whether clients get a response; so many that each worker has had some."""
        return all("OCSP Response Status: successful" in self.asked(front) for _ in range(25))


def _der(path):
    return ssl.PEM_cert_to_DER_cert(path.read_text().partition("-----BEGIN PRIVATE")[0])
