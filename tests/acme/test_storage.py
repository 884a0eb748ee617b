"""The directory of accounts, certificates and pending challenges."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from smartproxy.acme.storage import AcmeStorage, StoredAccount
from smartproxy.errors import AcmeStoreUnusable, InvalidCertificate
from smartproxy.model.plan import ChallengeType
from smartproxy.tls.certificate import Certificate
from tests.tls.made import DAY, Authority

URL = "https://acme.example:14000/dir"
CA = Authority()
HTTP, TLS = ChallengeType.HTTP_01, ChallengeType.TLS_ALPN_01


class StorageTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.storage = AcmeStorage(str(self.path), URL)
        self.storage.prepare()

    def save(self, *names: str, saved_for: tuple[str, ...] = (), **more: object) -> None:
        leaf = CA.leaf(*names, **more)
        self.storage.save(saved_for or names, leaf.pem, leaf.key_pem)

    def loaded(self, *names: str) -> set[str] | None:
        plan = self.storage.load(names)
        return None if plan is None else set(Certificate(plan).names)

    @property
    def files(self) -> list[Path]:
        return sorted(self.path.glob("*/certificates/*"))


class CertificateTests(StorageTestCase):
    def test_is_found_by_its_names_in_any_order(self) -> None:
        self.save("a.example", "b.example")
        for names in (("a.example", "b.example"), ("b.example", "a.example")):
            self.assertEqual(self.loaded(*names), {"a.example", "b.example"})

    def test_is_found_by_another_process(self) -> None:
        self.save("a.example")
        again = AcmeStorage(str(self.path), URL).load(("a.example",))
        self.assertIsNotNone(again)
        self.assertEqual(again.source, "acme")

    def test_that_of_another_directory_is_not_found(self) -> None:
        """A certificate for trials must not be taken for a real one."""
        self.save("a.example")
        self.assertIsNone(AcmeStorage(str(self.path), "https://staging.example/dir").load(("a.example",)))

    def test_that_of_fewer_names_is_better_than_none(self) -> None:
        """A name that is added to a route must not take the certificate from the others."""
        self.save("b.example")
        self.save("b.example", "c.example")
        self.assertEqual(self.loaded("a.example", "b.example", "c.example"), {"b.example", "c.example"})

    def test_that_of_more_names_is_used_whatever_its_file_is_called(self) -> None:
        """A name that is removed from a route, or moved to another one, must not be without a certificate."""
        self.save("a.example", "b.example", "c.example")
        for names in (("b.example",), ("c.example", "b.example"), ("a.example",)):
            self.assertEqual(self.loaded(*names), {"a.example", "b.example", "c.example"})
        self.assertIsNone(self.loaded("d.example"))

    def test_that_of_other_names_is_none(self) -> None:
        self.save("other.example")
        self.assertIsNone(self.loaded("a.example", "b.example"))

    def test_wildcard_and_address_are_kept_too(self) -> None:
        for name in ("*.a.example", "2001:db8::1", "192.0.2.1"):
            self.save(name)
            self.assertEqual(self.loaded(name), {name})

    def test_damaged_file_is_reported(self) -> None:
        for content in (b"", b"\0" * 1000, b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"):
            self.save("a.example")
            self.files[0].write_bytes(content)
            problem = self.assertRaises(InvalidCertificate, self.storage.load, ("a.example",))
            self.assertIn("a.example.pem", str(problem))

    def test_key_of_another_certificate_is_reported(self) -> None:
        self.storage.save(("a.example",), CA.leaf("a.example").pem, CA.leaf("b.example", kind="p384").key_pem)
        self.assertRaises(InvalidCertificate, self.storage.load, ("a.example",))

    def test_expired_one_is_not_used(self) -> None:
        self.save("a.example", start=-3 * DAY, end=-DAY)
        self.assertRaises(InvalidCertificate, self.storage.load, ("a.example",))

    def test_only_its_owner_may_read(self) -> None:
        self.save("a.example")
        self.storage.save_account(StoredAccount(b"key", "https://acme.example/1"))
        self.storage.save_challenge(HTTP, "token", "token.thumb")
        self.storage.lock(("a.example",))
        for found in (self.path, *self.path.rglob("*")):
            self.assertEqual(found.stat().st_mode & 0o777, 0o700 if found.is_dir() else 0o600, found)

    def test_nothing_is_left_of_a_write(self) -> None:
        self.save("a.example")
        self.save("a.example")
        self.assertEqual([file.name for file in self.files], ["a.example.pem"])

    def test_name_cannot_leave_the_store(self) -> None:
        self.save("a.example", saved_for=("../../../outside",))
        self.assertEqual(len(self.files), 1)


class AccountTests(StorageTestCase):
    def test_is_found_again(self) -> None:
        self.assertIsNone(self.storage.account())
        account = StoredAccount(b"a key", "https://acme.example/acct/1", "a@b.example")
        self.storage.save_account(account)
        self.assertEqual(AcmeStorage(str(self.path), URL).account(), account)

    def test_key_is_found_without_the_rest(self) -> None:
        """The directory knows the account by its key."""
        self.storage.save_account(StoredAccount(b"a key", "https://acme.example/acct/1"))
        (file,) = self.path.glob("*/account.json")
        for damaged in (
            b"",
            b"[]",
            b"{}",
            b"\xff",
            b'{"url',
            b'{"url": 5}',
            b'{"url": "http://a.example/1"}',
        ):
            file.write_bytes(damaged)
            self.assertEqual(self.storage.account(), StoredAccount(b"a key"))
        file.unlink()
        self.assertEqual(self.storage.account(), StoredAccount(b"a key"))

    def test_unusable_key_is_set_aside(self) -> None:
        self.storage.save_account(StoredAccount(b"damaged", "https://acme.example/acct/1"))
        self.storage.set_account_aside()
        self.assertIsNone(self.storage.account())
        (kept,) = self.path.glob("*/account.key.damaged-*")
        self.assertEqual(kept.read_bytes(), b"damaged")


class UnusableTests(SynchronousTestCase):
    def test_store_that_cannot_be_made_says_why(self) -> None:
        file = Path(self.mktemp())
        file.write_text("a file")
        problem = self.assertRaises(AcmeStoreUnusable, AcmeStorage(str(file / "acme"), URL).prepare)
        self.assertIn(str(file), str(problem))
        self.assertIn("cannot be written", str(problem))

    def test_folder_that_others_may_read_is_made_ours(self) -> None:
        """A store that was copied, or made with ``mkdir -p`` by hand."""
        path = Path(self.mktemp())
        storage = AcmeStorage(str(path), URL)
        storage.prepare()
        for folder in (path, *path.rglob("*")):
            folder.chmod(0o755)
        storage.prepare()
        self.assertEqual(path.stat().st_mode & 0o777, 0o755, "it may hold more than ours")
        for folder in path.rglob("*"):
            self.assertEqual(folder.stat().st_mode & 0o777, 0o700, folder)

    def test_folder_that_is_a_link_is_not_used(self) -> None:
        """Whoever may write the store could have files elsewhere removed as old challenges."""
        path, elsewhere = Path(self.mktemp()), Path(self.mktemp())
        for folder in (path, elsewhere):
            folder.mkdir()
        (path / "challenges").symlink_to(elsewhere.absolute())
        problem = self.assertRaises(AcmeStoreUnusable, AcmeStorage(str(path), URL).prepare)
        self.assertIn("challenges is a symbolic link", str(problem))


class LockTests(StorageTestCase):
    def test_second_one_is_not_had_until_the_first_is_released(self) -> None:
        first = self.storage.lock(("a.example",))
        self.assertIsNotNone(first)
        self.assertIsNone(self.storage.lock(("a.example",)))
        self.assertIsNotNone(self.storage.lock(("b.example",)))
        first.release()
        self.assertIsNotNone(self.storage.lock(("a.example",)))

    def test_lock_of_a_killed_process_is_free(self) -> None:
        program = (
            "import os, sys; from smartproxy.acme.storage import AcmeStorage\n"
            "assert AcmeStorage(*sys.argv[1:]).lock(('a.example',)) is not None; os.kill(os.getpid(), 9)"
        )
        ended = subprocess.run([sys.executable, "-c", program, str(self.path.absolute()), URL], check=False)
        self.assertEqual(ended.returncode, -9)
        self.assertIsNotNone(self.storage.lock(("a.example",)))


class ChallengeTests(StorageTestCase):
    def test_is_answered_by_another_process_until_it_is_removed(self) -> None:
        other = AcmeStorage(str(self.path), "https://another.example/dir")
        for kind, name in ((HTTP, "a-Token_1"), (TLS, "a.example"), (TLS, "4.2.0.192.in-addr.arpa")):
            self.storage.save_challenge(kind, name, "content")
            self.assertEqual(other.challenge(kind, name), "content")
            self.storage.remove_challenge(kind, name)
            self.assertIsNone(other.challenge(kind, name))

    def test_other_tokens_have_no_answer(self) -> None:
        (self.path / "secret").write_text("secret")
        for token in ("", "unknown", "../../secret", "..", ".", "a/b", "\0", "x" * 300, "\n", "é"):
            self.assertIsNone(self.storage.challenge(HTTP, token))

    def test_what_a_killed_process_left_is_removed(self) -> None:
        self.storage.save_challenge(HTTP, "old", "content")
        self.storage.save_challenge(HTTP, "new", "content")
        os.utime(self.path / "challenges" / "http-01" / "old", (0, 0))
        self.storage.prepare()
        self.assertIsNone(self.storage.challenge(HTTP, "old"))
        self.assertEqual(self.storage.challenge(HTTP, "new"), "content")


class SharedTests(StorageTestCase):
    """Several threads, processes and machines use one store at the same time; in containers all have the same pid."""

    def meanwhile(self, call: Any) -> None:
        """Have ``call`` made once, while the next file is written."""
        pending, sync = [call], os.fsync

        def synced(descriptor: int) -> None:
            sync(descriptor)
            if pending:
                pending.pop()()

        self.patch(os, "fsync", synced)

    def test_two_prepare_it(self) -> None:
        """Each order prepares it, and several are begun at once."""
        self.meanwhile(self.storage.prepare)
        self.storage.prepare()

    def test_two_write_the_same_file(self) -> None:
        """Two orders may have the same challenge."""
        self.meanwhile(lambda: self.storage.save_challenge(HTTP, "token", "a"))
        self.storage.save_challenge(HTTP, "token", "b")
        self.assertEqual(self.storage.challenge(HTTP, "token"), "b")
        self.assertEqual([file.name for file in self.path.rglob("token*")], ["token"])

    def test_one_has_removed_the_probe_of_another(self) -> None:
        unlink = Path.unlink

        def removed(file: Path, missing_ok: bool = False) -> None:
            if file.name == ".writable":
                unlink(file)
            unlink(file, missing_ok=missing_ok)

        self.patch(Path, "unlink", removed)
        self.storage.prepare()

    def test_key_of_the_account_is_not_shown(self) -> None:
        """A repr may get into a log."""
        self.assertNotIn("secret", repr(StoredAccount(b"secret", "https://acme.example/1")))


class FileNameTests(StorageTestCase):
    def test_wildcard_and_a_host_of_that_name_have_files_of_their_own(self) -> None:
        self.save("*.a.example")
        self.save("wildcard.a.example")
        self.assertEqual(self.loaded("*.a.example"), {"*.a.example"})
        self.assertEqual(self.loaded("wildcard.a.example"), {"wildcard.a.example"})

    def test_longest_name_can_be_locked_and_saved(self) -> None:
        """A name has up to 253 characters, and a file's name 255."""
        name = ".".join(["a" * 62] * 4)
        other = f"{name[:-1]}b"
        self.assertIsNotNone(self.storage.lock((name,)))
        self.save("a.example", saved_for=(name,))
        self.save("b.example", saved_for=(other,))
        self.assertEqual((self.loaded(name), self.loaded(other)), ({"a.example"}, {"b.example"}))
