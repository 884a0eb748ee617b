"""A directory of certificates whose files change on disk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from smartproxy.tls.certificate_files import CertificateFiles
from smartproxy.tls.directory import CertificateDirectory
from tests.tls import talk
from tests.tls.made import DAY
from tests.tls.test_watcher import CA, NEW, OLD, WatchCase

if TYPE_CHECKING:
    from smartproxy.model.plan import RoutePlan


class DirectoryTests(WatchCase):
    def setUp(self) -> None:
        super().setUp()
        self.write("a.pem", OLD.pem + OLD.key_pem)
        self.route = talk.route()
        self.directory = CertificateDirectory(str(self.folder))
        found = self.directory.read()
        self.begin(self.route, certificates=found.certificates, directory=found)

    def shown(self, name: str) -> Any:
        found = self.in_force.contexts.certificates.find(self.route.tls, talk.hello(name))
        return None if found is None else found.leaf

    def test_added_certificate_is_shown_and_removed_one_is_not(self) -> None:
        other = CA.leaf("b.example", kind="rsa")
        self.write("b.pem", other.pem + other.key_pem)
        self.settle()
        self.assertEqual(self.shown("b.example"), other.certificate)
        (self.folder / "a.pem").unlink()
        self.settle()
        self.assertIsNone(self.shown("a.example"))
        self.assertEqual(self.reloads(), (2, 0))

    def test_broken_file_keeps_its_certificate_and_others_renew(self) -> None:
        other = CA.leaf("b.example", kind="rsa")
        self.write("b.pem", other.pem + other.key_pem)
        self.write("a.pem", b"-----BEGIN CERTIFICATE-----\n")
        self.settle()
        self.assertEqual(self.shown("a.example"), OLD.certificate)
        self.assertEqual(self.shown("b.example"), other.certificate)
        self.assertEqual(self.reloads(), (1, 1))

    def test_certificate_that_is_not_valid_yet_is_shown_once_it_is(self) -> None:
        """A machine without a clock of its own begins with a date long ago, and is set right later."""
        other = CA.leaf("b.example", kind="rsa", start=DAY)
        self.write("b.pem", other.pem + other.key_pem)
        self.settle()
        self.assertEqual((self.shown("b.example"), self.reloads()), (None, (0, 1)))
        self.reload()
        self.pass_day(1.1)
        for _ in range(3):
            self.settle()
        self.assertEqual((self.shown("b.example"), self.reloads()), (other.certificate, (1, 1)))

    def test_removed_directory_keeps_its_certificates(self) -> None:
        (self.folder / "a.pem").unlink()
        self.folder.rmdir()
        self.settle()
        self.assertEqual(self.shown("a.example"), OLD.certificate)
        self.folder.mkdir()

    def test_file_in_the_way_of_a_reload_keeps_its_certificate(self) -> None:
        """A reload may come while a renewed certificate is being written."""
        self.write("a.pem", b"-----BEGIN CERTIFICATE-----\n")
        self.reload()
        self.assertEqual(self.shown("a.example"), OLD.certificate)
        self.assertIn("the former one is kept", self.lines[-1])
        self.write("a.pem", NEW.pem + NEW.key_pem)
        self.settle()
        self.assertEqual(self.shown("a.example"), NEW.certificate)

    def test_certificate_that_is_removed_is_not_kept_by_a_reload(self) -> None:
        (self.folder / "a.pem").unlink()
        self.reload()
        self.assertIsNone(self.shown("a.example"))

    def test_file_that_is_left_out_is_logged_and_counted_once(self) -> None:
        self.write("b.pem", b"foreign")
        for _ in range(3):
            self.reload()
        self.settle()
        [line] = self.lines
        self.assertIn("b.pem: contains no PEM certificate and no PEM private key", line)
        self.assertEqual(self.reloads(), (0, 1))

    def test_renewal_beside_a_bad_file_is_not_counted_as_failed(self) -> None:
        """An alert for failed renewals must not fire for a stray file each time another is renewed."""
        self.write("b.pem", b"foreign")
        self.reload()
        self.write("a.pem", NEW.pem + NEW.key_pem)
        self.settle()
        self.assertEqual(self.shown("a.example"), NEW.certificate)
        self.assertEqual(self.reloads(), (1, 1))

    def test_file_that_is_bad_again_is_counted_again(self) -> None:
        other = CA.leaf("b.example", kind="rsa")
        for content in (b"foreign", other.pem + other.key_pem, b"foreign"):
            self.write("b.pem", content)
            self.settle()
        self.assertEqual(self.reloads()[1], 2)

    def test_route_with_a_file_of_the_directory_is_renewed_too(self) -> None:
        own = talk.route(CertificateFiles(str(self.folder / "a.pem")).read(), name="own")
        self.reload(own)
        self.write("a.pem", NEW.pem + NEW.key_pem)
        self.settle()
        for to in (own, self.route):
            found = self.in_force.contexts.certificates.find(to.tls, talk.hello())
            self.assertEqual(found.leaf, NEW.certificate)

    def reload(self, *more: RoutePlan) -> None:
        found = self.directory.read()
        plan = talk.proxy(self.route, *more, certificates=found.certificates, directory=found)
        self.in_force.reload(plan)
        self.watch.configure(plan.tls)
