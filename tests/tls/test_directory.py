"""A directory of certificates: what is used, what is left out and why, and what is read again."""

from __future__ import annotations

import datetime as dt
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives import serialization
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.errors import InvalidCertificate
from smartproxy.tls import directory as directory_module
from smartproxy.tls.certificate import Certificate
from smartproxy.tls.directory import CertificateDirectory
from tests.tls.made import DAY, PEM, Authority, Leaf, as_pss, key, key_pem

if TYPE_CHECKING:
    from smartproxy.model.plan import DirectoryPlan

CA = Authority()
GOOD = CA.leaf("a.example")
OLD = dt.timedelta(days=9)


class DirectoryCase(SynchronousTestCase):
    def setUp(self) -> None:
        made = TemporaryDirectory()
        self.addCleanup(made.cleanup)
        self.folder = Path(made.name) / "certs"
        self.folder.mkdir()
        self.directory = CertificateDirectory(str(self.folder))

    def write(self, name: str, content: bytes | Leaf) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.pem + content.key_pem if isinstance(content, Leaf) else content)
        return path

    def used(self) -> list[str]:
        """The files of the certificates that are used."""
        return [os.path.relpath(one.source, self.folder) for one in self.directory.read().certificates]

    def left_out(self) -> list[str]:
        found = self.directory.read()
        return [one.problem.removeprefix(f"{self.folder}/") for one in found.left_out]


class LeftOutTests(DirectoryCase):
    """One file that cannot be used must not prevent a start: the others are used, and it is named."""

    def setUp(self) -> None:
        super().setUp()
        self.write("good.pem", GOOD)

    def assert_left_out(self, *problems: str) -> None:
        self.assertEqual(self.used(), ["good.pem"])
        self.assertEqual(self.left_out(), list(problems))

    def test_good_files_leave_nothing_out(self) -> None:
        self.write("ca.pem", CA.pem)
        self.write("README.txt", b"anything")
        self.assert_left_out()

    def test_expired_and_future_certificates(self) -> None:
        expired = CA.leaf("a.example", kind="rsa", start=-OLD, end=-DAY)
        self.write("expired.pem", expired)
        future = CA.leaf("b.example", kind="p384", start=DAY)
        self.write("future.pem", future)
        until, since = expired.certificate.not_valid_after_utc, future.certificate.not_valid_before_utc
        self.assert_left_out(
            f"expired.pem: expired on {until:%Y-%m-%d %H:%M} UTC",
            f"future.pem: is not valid before {since:%Y-%m-%d %H:%M} UTC",
        )

    def test_expired_certificate_with_the_key_and_names_of_a_good_one(self) -> None:
        self.write("before.pem", CA.leaf("a.example", start=-OLD, end=-DAY).pem)
        [problem] = self.left_out()
        self.assertTrue(problem.startswith("before.pem: expired on"), problem)
        self.assertEqual(self.used(), ["good.pem"])

    def test_future_certificate_with_the_key_and_names_of_a_good_one(self) -> None:
        """It is the last to expire, so it would be preferred if it could be used."""
        self.write("next.pem", CA.leaf("a.example", start=DAY, end=90 * DAY).pem)
        [problem] = self.left_out()
        self.assertTrue(problem.startswith("next.pem: is not valid before"), problem)
        self.assertEqual(self.used(), ["good.pem"])

    def test_certificate_without_key_and_key_without_certificate(self) -> None:
        self.write("keyless.pem", CA.leaf("b.example", kind="rsa").pem)
        self.write("stray.key", key_pem(key("ec", 7)))
        self.assert_left_out(
            "keyless.pem: there is no private key for it",
            "stray.key: there is no certificate for this key",
        )

    def test_keys_that_cannot_be_read(self) -> None:
        ssh = key("ed25519", 3).private_bytes(
            PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
        )
        self.write("encrypted.key", key_pem(key("ec", 7), b"secret"))
        self.write("id_ed25519.key", ssh)
        self.write("torn.key", key_pem(key("ec", 7))[:90])
        self.assert_left_out(
            "encrypted.key: is encrypted; configure it with its passphrase in the certificate of a route",
            "id_ed25519.key: is an OpenSSH key; TLS needs a key in PKCS#8 or the older PEM formats",
            "torn.key: contains a private key that cannot be used",
        )

    def test_foreign_half_written_and_empty_files(self) -> None:
        self.write("binary.crt", GOOD.certificate.public_bytes(serialization.Encoding.DER))
        self.write("empty.pem", b"")
        self.write("torn.pem", GOOD.pem[:200])
        nothing = "contains no PEM certificate and no PEM private key"
        self.assert_left_out(
            f"binary.crt: {nothing}",
            f"empty.pem: {nothing}",
            "torn.pem: contains no PEM certificate, or a malformed one",
        )

    def test_links_to_nothing_and_in_circles(self) -> None:
        (self.folder / "dangling.pem").symlink_to("no-such.pem")
        (self.folder / "circle.pem").symlink_to("circle.pem")
        self.assert_left_out(
            "circle.pem: cannot be read: Too many levels of symbolic links",
            "dangling.pem: cannot be read: No such file or directory",
        )

    def test_named_pipe_is_not_waited_for(self) -> None:
        os.mkfifo(self.folder / "pipe.pem")
        self.assert_left_out("pipe.pem: is not a regular file")

    def test_name_of_a_file_cannot_break_a_log_line(self) -> None:
        self.write("two\nlines.pem", b"")
        self.assert_left_out("two\\nlines.pem: contains no PEM certificate and no PEM private key")

    def test_weak_certificates_and_unsupported_keys(self) -> None:
        self.write("weak.pem", CA.leaf("b.example", kind="weak"))
        self.write("curve.pem", CA.leaf("b.example", kind="k1"))
        plain = CA.leaf("b.example", kind="rsa")
        self.write("pss.pem", as_pss(plain.certificate) + plain.key_pem)
        self.assert_left_out(
            "curve.pem: has a key of a type that TLS does not use",
            "pss.pem: has an RSA-PSS key, which is not supported; use an RSA or an ECDSA key",
            "weak.pem: has an RSA key of 1024 bits; the minimum is 2048",
        )

    def test_missing_directory_is_an_error(self) -> None:
        missing = CertificateDirectory("/no/such/directory")
        self.assertRaises(InvalidCertificate, missing.read)


class ChainEndTests(DirectoryCase):
    """An expired certificate at the end of a chain must not refuse it: clients trust the one before, or a newer root."""

    def expired(self, name: str, above: Authority | None) -> Authority:
        made = Authority(name, above)
        signer = above or made
        made.certificate = signer.leaf(name, start=-OLD, end=-DAY).certificate
        return made

    def chain(self, *above: Authority) -> DirectoryPlan:
        pem = GOOD.pem + b"".join(one.pem for one in above)
        self.write("a.pem", pem + GOOD.key_pem)
        return self.directory.read()

    def test_expired_cross_signed_root_is_not_sent(self) -> None:
        [plan] = self.chain(CA, self.expired("cross", Authority("older root"))).certificates
        self.assertEqual(Certificate(plan).chain, [GOOD.certificate, CA.certificate])
        [remark] = plan.remarks
        self.assertIn("its chain: CN=cross expired on ", remark)

    def test_expired_roots_are_not_sent(self) -> None:
        [plan] = self.chain(
            CA, self.expired("cross", Authority("x")), self.expired("root", None)
        ).certificates
        self.assertEqual(len(Certificate(plan).chain), 2)
        self.assertEqual(len(plan.remarks), 2)

    def test_expired_certificate_within_a_chain_is_left_out(self) -> None:
        found = self.chain(self.expired("middle", CA), CA)
        self.assertEqual(found.certificates, ())
        self.assertIn("its chain: CN=middle expired on ", found.left_out[0].problem)


class FolderTests(DirectoryCase):
    def setUp(self) -> None:
        super().setUp()
        self.beside = self.folder.parent / "beside"
        self.beside.mkdir()
        (self.beside / "a.pem").write_bytes(GOOD.pem + GOOD.key_pem)

    def test_linked_folder_is_read(self) -> None:
        (self.folder / "link").symlink_to(self.beside)
        self.assertEqual(self.used(), ["link/a.pem"])

    def test_link_to_a_folder_above_is_no_loop(self) -> None:
        (self.beside / "up").symlink_to(self.folder.parent)
        (self.folder / "link").symlink_to(self.beside)
        self.assertEqual(self.used(), ["link/a.pem"])
        self.assertEqual(self.left_out(), [])

    def test_directory_may_be_a_link_itself(self) -> None:
        link = self.folder.parent / "current"
        link.symlink_to(self.beside)
        found = CertificateDirectory(str(link)).read()
        self.assertEqual(len(found.certificates), 1)
        self.assertIn(str(self.folder.parent), found.folders)

    def test_secret_of_kubernetes_is_read(self) -> None:
        versions = self.folder / "..2026"
        versions.mkdir()
        (versions / "tls.crt").write_bytes(GOOD.pem)
        (versions / "tls.key").write_bytes(GOOD.key_pem)
        (self.folder / "..data").symlink_to("..2026")
        for name in ("tls.crt", "tls.key"):
            (self.folder / name).symlink_to(f"..data/{name}")
        found = self.directory.read()
        self.assertEqual((self.used(), found.left_out), (["tls.crt"], ()))
        self.assertIn(str(versions), found.folders)


class ReadAgainTests(DirectoryCase):
    """Only what has changed is read again: with thousands of certificates the rest takes seconds."""

    def setUp(self) -> None:
        super().setUp()
        self.read: list[str] = []
        real = directory_module.read_content

        def counting(file: str) -> Any:
            self.read.append(Path(file).name)
            return real(file)

        self.patch(directory_module, "read_content", counting)
        self.aged("a.pem", GOOD)
        self.aged("b.pem", CA.leaf("b.example", kind="rsa"))
        self.before = self.directory.read().certificates
        self.read.clear()

    def aged(self, name: str, content: bytes | Leaf) -> None:
        """Write a file whose times say that it was written a while ago."""
        os.utime(self.write(name, content), (1_000_000, 1_000_000))

    def test_unchanged_files_are_not_read(self) -> None:
        after = self.directory.read().certificates
        self.assertEqual(self.read, [])
        self.assertTrue(all(one is other for one, other in zip(self.before, after, strict=True)))

    def test_only_the_changed_file_is_read(self) -> None:
        self.aged("b.pem", CA.leaf("c.example", kind="rsa"))
        self.aged("new.pem", CA.leaf("d.example", kind="p384"))
        self.assertEqual(self.used(), ["a.pem", "b.pem", "new.pem"])
        self.assertEqual(self.read, ["b.pem", "new.pem"])

    def test_file_that_was_written_just_now_is_read_again(self) -> None:
        """It may be written once more with the same size before the clock of the file system moves on."""
        self.write("b.pem", CA.leaf("c.example", kind="rsa"))
        self.directory.read()
        self.directory.read()
        self.assertEqual(self.read, ["b.pem", "b.pem"])

    def test_certificate_that_expires_meanwhile_is_left_out(self) -> None:
        late = (GOOD.certificate.not_valid_after_utc + DAY).timestamp()
        self.patch(directory_module.time, "time", lambda: late)
        self.patch(directory_module, "plan_of", _expired)
        self.assertEqual(self.used(), [])

    def test_key_that_is_added_later_is_paired(self) -> None:
        other = CA.leaf("d.example", kind="p384")
        self.aged("d.pem", other.pem)
        self.assertIn("d.pem: there is no private key for it", self.left_out())
        self.aged("d.key", other.key_pem)
        self.assertIn("d.pem", self.used())


def _expired(*_: object) -> Any:
    raise InvalidCertificate("expired")
