"""Files that root has read at the start, and that the user of the running process may not read again."""

from __future__ import annotations

import json
import os
import pwd
import unittest
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from twisted.logger import globalLogPublisher

from smartproxy import Settings, SmartProxy
from smartproxy.errors import ConfigurationError
from tests.on_network import HOST, NetworkTestCase
from tests.tls.made import DAY, Authority

CA = Authority()
LEAF = CA.leaf("a.example")


@contextmanager
def as_nobody():
    """Run as a user who may not read what only root may."""
    os.seteuid(pwd.getpwnam("nobody").pw_uid)
    try:
        yield
    finally:
        os.seteuid(0)


@unittest.skipIf(os.geteuid() != 0, "only root can become a user who may not read a file")
class DeniedTests(NetworkTestCase):
    def setUp(self):
        super().setUp()
        made = TemporaryDirectory()
        self.addCleanup(made.cleanup)
        self.directory = Path(made.name)
        self.directory.chmod(0o755)
        self.events = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)
        self.put("a.pem", LEAF.pem)
        self.put("a.key", LEAF.key_pem, 0o600)
        self.put("ca.pem", CA.pem, 0o600)
        self.put("ca.crl", CA.crl(), 0o600)

    def put(self, name, content, mode=0o644, at=1_000_000):
        path = self.directory / name
        path.parent.mkdir(mode=0o755, exist_ok=True)
        path.write_bytes(content)
        path.chmod(mode)
        os.utime(path, (at, at))

    def write(self, *others, tls=None, certificates=None):
        action = {"targets": [{"host": HOST, "port": 9000}]}
        routes = [{"name": "tls", "match": {"ports": 443}, "action": action | {"tls": tls or self.tls()}}]
        routes += [{"name": f"other {port}", "match": {"ports": port}, "action": action} for port in others]
        file = self.directory / "proxy.json"
        top = {} if certificates is None else {"tls": {"certificates": certificates}}
        file.write_text(json.dumps({"acceleration": "off", "routes": routes} | top))
        return file

    def tls(self, folder=""):
        given = {"certFile": f"{folder}a.pem", "keyFile": f"{folder}a.key"}
        return {"mode": "terminate", "certificate": given}

    def start_file(self, **written):
        self.written = written
        self.proxy = self.network.start(Settings.load(self.write(**written)))
        self.addCleanup(lambda: self.network.stop(self.proxy))
        # Python imports what a reload needs as root: it may be installed where nobody else may read.
        self.network.result(self.proxy.reload())

    def reload(self, *others):
        self.write(*others, **self.written)
        with as_nobody():
            self.network.result(self.proxy.reload())

    def names(self):
        return {name for one in self.proxy.certificates() for name in one.names}

    def check_reloads(self, **written):
        """An unrelated change is put in force, several times, and the certificate is kept."""
        self.start_file(**written)
        for ports in ([81], [81, 82], [83]):
            self.reload(*ports)
            self.assertEqual(sorted(port for _, port in self.proxy.addresses()), [*ports, 443])
            self.assertEqual(self.names(), {"a.example"})

    def check_refused(self, problem):
        failed = self.assertRaises(ConfigurationError, self.reload, 81)
        self.assertIn(problem, failed.problems[0])
        self.assertEqual([port for _, port in self.proxy.addresses()], [443])

    def test_a_key_that_only_root_may_read(self):
        self.check_reloads()

    def test_a_key_written_just_before_the_start(self):
        """Its state cannot prove that it has not changed since; nor does it show a change."""
        os.utime(self.directory / "a.key")
        self.check_reloads()

    def test_a_folder_that_only_root_may_enter(self):
        """As certbot's ``live``, and ``/etc/ssl/private``: not even a change can be seen."""
        self.put("private/a.pem", LEAF.pem)
        self.put("private/a.key", LEAF.key_pem)
        (self.directory / "private").chmod(0o700)
        self.check_reloads(tls=self.tls("private/"))

    def test_a_folder_that_may_not_be_entered_is_no_failed_renewal(self):
        """Its files look removed since the start, and an alert on failed renewals must not fire."""
        self.put("private/a.pem", LEAF.pem)
        self.put("private/a.key", LEAF.key_pem)
        (self.directory / "private").chmod(0o700)
        self.start_file(tls=self.tls("private/"))
        with as_nobody():
            self.network.run(30)
        self.assertEqual(self.proxy.counters.certificate_reloads, {"ok": 0, "failed": 0})
        self.put("private/a.pem", CA.leaf("a.example", end=60 * DAY).pem, at=1_000_001)
        self.network.run(30)  # as root
        self.assertEqual(self.proxy.counters.certificate_reloads, {"ok": 1, "failed": 0})

    def test_authorities_and_revocation_lists(self):
        auth = {"mode": "require", "ca": "ca.pem", "crl": "ca.crl"}
        self.check_reloads(tls=self.tls() | {"clientAuth": auth})

    def test_a_passphrase(self):
        plain = self.tls()
        self.put("a.pass", b"never needed", 0o600)
        plain["certificate"]["passphraseFile"] = "a.pass"
        self.check_reloads(tls=plain)

    def test_the_passphrase_of_a_key_in_the_configuration(self):
        self.put("a.pass", b"never needed", 0o600)
        given = {"cert": LEAF.pem.decode(), "key": LEAF.key_pem.decode(), "passphraseFile": "a.pass"}
        self.check_reloads(tls={"mode": "terminate", "certificate": given})

    def check_directory(self, mode):
        self.put("all/a.pem", LEAF.pem)
        self.put("all/a.key", LEAF.key_pem, 0o600)
        (self.directory / "all").chmod(mode)
        self.check_reloads(tls={"mode": "terminate"}, certificates="all")

    def test_a_key_in_a_directory_of_certificates(self):
        self.check_directory(0o755)

    def test_a_directory_that_may_be_listed_and_not_entered(self):
        self.check_directory(0o744)

    def test_a_directory_that_only_root_may_read(self):
        self.check_directory(0o700)

    def test_a_directory_in_a_folder_that_only_root_may_enter(self):
        self.put("private/x.txt", b"")
        (self.directory / "private" / "all").mkdir()
        for name, content in (("a.pem", LEAF.pem), ("a.key", LEAF.key_pem)):
            self.put(f"private/all/{name}", content)
        (self.directory / "private").chmod(0o700)
        self.check_reloads(tls={"mode": "terminate"}, certificates="private/all")

    def test_a_key_that_has_changed_refuses_the_reload(self):
        newer = CA.leaf("a.example", end=60 * DAY)
        self.start_file()
        self.put("a.pem", newer.pem, at=1_000_001)
        self.put("a.key", newer.key_pem, 0o600, at=1_000_001)
        self.check_refused("a.key: cannot be read: Permission denied")

    def test_a_removed_key_refuses_the_reload(self):
        self.start_file()
        (self.directory / "a.key").unlink()
        self.check_refused("a.key: cannot be read: No such file or directory")

    def test_a_key_that_was_never_read_refuses_the_reload(self):
        self.start_file()
        self.put("b.pem", LEAF.pem)
        self.put("b.key", LEAF.key_pem, 0o600)
        self.written = {
            "tls": {"mode": "terminate", "certificate": {"certFile": "b.pem", "keyFile": "b.key"}}
        }
        self.check_refused("b.key: cannot be read: Permission denied")

    def test_the_start_warns_once_of_what_cannot_be_read_again(self):
        file = self.write()
        file.chmod(0o600)
        self.proxy = SmartProxy(Settings.load(file), self.network)
        self.proxy.privilegedStartService()
        with as_nobody():
            self.proxy.startService()
        self.addCleanup(lambda: self.network.stop(self.proxy))
        denied = [file, self.directory / "a.key"]
        self.assertEqual(self.warned(), [f"files that this user cannot read again: {denied[0]}, {denied[1]}"])
        self.written = {}
        self.assertRaises(ConfigurationError, self.reload)
        file.chmod(0o644)
        self.reload(81)
        self.reload(82)
        self.assertEqual(len(self.warned()), 2)  # the list has changed once

    def warned(self):
        return [
            event["log_format"].format(**event)
            for event in self.events
            if "cannot read" in (event.get("log_format") or "")
        ]
