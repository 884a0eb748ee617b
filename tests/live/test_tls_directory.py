"""A directory of certificates, with a proxy that runs: bad files in it, and every way in which it is replaced."""

from __future__ import annotations

import time

from cryptography import x509

from tests.live.backends import echo
from tests.live.case import route
from tests.live.terminating import NAME, TlsCase
from tests.live.waiting import until

#: Seconds in which a change must be seen. The poll, which sees every change in the end, comes every 10 s.
SOON = 6.0


class DirectoryCase(TlsCase):
    def setUp(self):
        super().setUp()
        self.backend_at, self.front = self.backend(echo), self.port()

    def start(self, directory):
        made = route("one", self.front, self.backend_at, action={"tls": {"mode": "terminate"}})
        made["match"] |= {"address": "127.0.0.1", "protocol": "tls"}
        self.running = self.proxy(made, tls={"certificates": str(directory)})

    def written(self, folder, name=NAME):
        """Write a new certificate into ``folder``, which is made: its file and its serial number."""
        folder.mkdir(parents=True, exist_ok=True)
        file = self.authority.writing_to(folder).certificate(name)
        return file, x509.load_pem_x509_certificate(file.read_bytes()).serial_number

    def shown(self):
        client = self.secure(self.front)
        der = client.getpeercert(binary_form=True)
        client.close()
        return x509.load_der_x509_certificate(der).serial_number

    def assert_shown_soon(self, serial):
        began = time.monotonic()
        until(lambda: self.shown() == serial, "the new certificate, shown")
        self.assertLess(time.monotonic() - began, SOON)


class BadFileTests(DirectoryCase):
    def test_bad_files_are_named_and_counted_and_the_others_are_served(self):
        folder = self.directory / "certs"
        _, serial = self.written(folder)
        (folder / "foreign.pem").write_bytes(b"not a certificate")
        (folder / "dangling.pem").symlink_to("no-such-file.pem")
        self.start(folder)
        self.assertEqual(self.shown(), serial)
        for name in ("foreign.pem", "dangling.pem"):
            self.assertIn(f"certificate left out: {folder}/{name}: ", self.running.printed)
        counted = b'smartproxy_certificate_reloads_total{result="failed"} 2'
        self.assertIn(counted, self.running.ask("/metrics")[1].replace(b".0\n", b"\n"))
        self.assertEqual(self.running.ask("/api/v1/reload", "POST")[0], 200)
        self.assertEqual(self.shown(), serial)


class ReplacedTests(DirectoryCase):
    """Twice each: after the first time, the kernel's notifications may be for folders that are no longer in use."""

    def test_versions_behind_a_link_as_in_kubernetes(self):
        folder = self.directory / "certs"
        file, serial = self.written(folder / "..1")
        (folder / "..data").symlink_to("..1")
        (folder / "tls.pem").symlink_to(f"..data/{file.name}")
        self.start(folder)
        self.assertEqual(self.shown(), serial)
        for number in (2, 3, 4):
            _, serial = self.written(folder / f"..{number}")
            (folder / "..data_tmp").symlink_to(f"..{number}")
            (folder / "..data_tmp").replace(folder / "..data")
            (folder / f"..{number - 1}" / file.name).unlink()
            (folder / f"..{number - 1}").rmdir()
            self.assert_shown_soon(serial)

    def test_directory_that_another_is_renamed_to(self):
        folder = self.directory / "certs"
        self.written(folder)
        self.start(folder)
        for number in (1, 2, 3):
            _, serial = self.written(self.directory / f"new-{number}")
            folder.rename(self.directory / f"old-{number}")
            (self.directory / f"new-{number}").rename(folder)
            self.assert_shown_soon(serial)
        _, serial = self.written(folder)
        self.assert_shown_soon(serial)

    def test_directory_that_is_a_link(self):
        link = self.directory / "current"
        self.written(self.directory / "release-0")
        link.symlink_to("release-0")
        self.start(link)
        for number in (1, 2):
            _, serial = self.written(self.directory / f"release-{number}")
            (self.directory / "next").symlink_to(f"release-{number}")
            (self.directory / "next").replace(link)
            self.assert_shown_soon(serial)

    def test_folder_behind_a_link_in_the_directory(self):
        folder, beside = self.directory / "certs", self.directory / "beside"
        folder.mkdir()
        self.written(beside)
        (folder / "link").symlink_to(beside)
        self.start(folder)
        for _ in range(2):
            _, serial = self.written(beside)
            self.assert_shown_soon(serial)
