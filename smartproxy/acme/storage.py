"""The directory in which accounts, keys, certificates and pending challenges are kept.

::

    storage = AcmeStorage("/var/lib/smartproxy/acme", "https://acme.example/directory")
    storage.prepare()                           # AcmeStoreUnusable: why it cannot be written
    lock = storage.lock(names)                  # None while another process orders these names
    storage.save(names, chain, key)
    storage.load(names)                         # the certificate for these names, or None

::

    STORE/                                      0700
        challenges/http-01/TOKEN                pending challenges: any process on the store answers them
        challenges/tls-alpn-01/NAME
        DIRECTORY/                              what one directory has issued: staging is kept apart from production
            account.json, account.key
            certificates/a.example.pem          chain and key in one file, as haproxy and nginx read it
            locks/                              with the last failed order of each certificate

Every file has mode 0600 and is replaced by ``rename``, so that a reader never sees half of one. A lock is one of the
kernel (``flock``), so that it ends with the process that holds it. Everything but :meth:`AcmeStorage.challenge` is called in a thread.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import re
import secrets
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from cryptography import x509

from smartproxy.acme.store_lock import StoreLock
from smartproxy.errors import AcmeStoreUnusable, InvalidCertificate
from smartproxy.model.plan import CertificatePlan
from smartproxy.tls.certificate import Certificate, names_of
from smartproxy.tls.certificate_files import certificate_from_pem

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Sequence

    from smartproxy.model.plan import ChallengeType

_FOLDER_MODE: Final = 0o700
_FILE_MODE: Final = 0o600
#: A token (RFC 8555, 8.3: base64url) or a server name, as a file may be called.
_CHALLENGE_NAME: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,254}")
#: Seconds after which a challenge is left over from a process that was killed: no authority takes so long.
_CHALLENGE_LIFE: Final = 3600.0
#: Bytes of a challenge's file: a key authorization has less than 200.
_CHALLENGE_SIZE: Final = 4096
#: What is written to see whether there is room for a certificate: a full disk still takes an empty file. A chain of three RSA
#: certificates with its key has 8 KB.
_PROBE: Final = bytes(16 * 1024)
#: Length of the part of a file name that tells sets of names with the same first name apart.
_DIGEST: Final = 8
#: Characters of a name in a file's name, which has up to 255 bytes with what is put before and behind it.
_LONGEST_NAME: Final = 190


class StoredAccount(NamedTuple):
    """An account of a directory.

    :ivar key: PEM.
    :ivar url: of the account; empty where it was not registered yet.
    :ivar email: that the directory knows; or ``None``.
    """

    key: bytes
    url: str = ""
    email: str | None = None

    def __repr__(self) -> str:
        """Without the key."""
        return f"<account {self.url}>"


class AcmeStorage:
    """The part of a store that belongs to one directory.

    :param path: of the store.
    :param directory: URL.
    """

    def __init__(self, path: str, directory: str) -> None:
        self.path = Path(path)
        self.directory = directory
        self._own = self.path / _folder_of(directory)
        self._certificates = self._own / "certificates"
        self._locks = self._own / "locks"
        self._challenges = self.path / "challenges"

    def prepare(self) -> None:
        """Make the folders, and remove challenges that a killed process has left.

        :raises AcmeStoreUnusable: if the store cannot be written, or has no room.
        """
        try:
            self.path.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
            for folder in (self._own, self._certificates, self._locks, self._challenges):
                _make_folder(folder)
            _write(self._own / ".writable", _PROBE)
            (self._own / ".writable").unlink(missing_ok=True)  # another one may just have done the same
        except OSError as problem:
            raise AcmeStoreUnusable(
                f"{self.path}: cannot be written: {problem.strerror or problem}"
            ) from None
        self._remove_old_challenges()

    # -- certificates --------------------------------------------------------------------------------

    def load(self, names: Sequence[str], *, exact: bool = False) -> CertificatePlan | None:
        """The certificate that was saved for ``names``, or else the valid one that has most of them; ``None`` without one.

        A file that cannot be used is as good as none.

        :param exact: whether others are not looked for: that reads the whole folder, which takes 10 ms with 10,000 certificates.
        :raises InvalidCertificate: if the file for exactly these names is damaged, and there is no other.
        """
        file = self._file_of(names)
        try:
            return _read(file)
        except OSError:
            return None if exact else self._most_similar(file, names)
        except InvalidCertificate:
            similar = None if exact else self._most_similar(file, names)
            if similar is None:
                raise
            return similar

    def _most_similar(self, exact: Path, names: Sequence[str]) -> CertificatePlan | None:
        """Of the other files, the certificate with most of ``names``."""
        wanted = set(names)
        found: list[tuple[int, float, CertificatePlan]] = []
        for file in self._similar(exact, {_file_name(name) for name in wanted}):
            try:
                plan = _read(file) if wanted.intersection(_names_in(file)) else None
            except (OSError, InvalidCertificate):
                continue
            if plan is None:
                continue
            certificate = Certificate(plan)
            shared = len(wanted.intersection(certificate.names))
            found.append((shared, certificate.not_after.timestamp(), plan))
        return max(found, key=lambda one: one[:2])[2] if found else None

    def _similar(self, exact: Path, first_names: Container[str]) -> Iterator[Path]:
        """The other files that may have one of some names: the first name of a file is known, and those of several have more."""
        try:
            entries = sorted(os.listdir(self._certificates))  # noqa: PTH208 - names only
        except OSError:
            return
        for entry in entries:
            first, several, _ = entry.removesuffix(".pem").partition("+")
            if (several or first in first_names) and entry != exact.name:
                yield self._certificates / entry

    def save(self, names: Sequence[str], chain: bytes, key: bytes) -> None:
        """Keep a certificate.

        :param chain: PEM, the leaf first.
        :param key: PEM.
        :raises AcmeStoreUnusable: if it cannot be written.
        """
        self._write(self._file_of(names), chain.rstrip(b"\n") + b"\n" + key)

    def _file_of(self, names: Sequence[str]) -> Path:
        first = min(names)
        if len(set(names)) == 1:
            return self._certificates / f"{_file_name(first)}.pem"
        digest = hashlib.sha256("\n".join(sorted(set(names))).encode()).hexdigest()[:_DIGEST]
        return self._certificates / f"{_file_name(first)}+{digest}.pem"

    # -- the account ---------------------------------------------------------------------------------

    def account(self) -> StoredAccount | None:
        """The account, if there is one.

        :raises AcmeStoreUnusable: if its key cannot be read.
        """
        file = self._own / "account.json"
        try:
            key = (self._own / "account.key").read_bytes()
        except FileNotFoundError:
            return None
        except OSError as problem:
            raise AcmeStoreUnusable(f"{self._own}/account.key: cannot be read: {problem.strerror}") from None
        try:
            known = json.loads(file.read_bytes())
            if not known["url"].startswith("https://"):  # empty before the account was registered, or damaged
                return StoredAccount(key)
            return StoredAccount(key, known["url"], known.get("email"))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return StoredAccount(key)  # the directory knows the account by its key

    def set_account_aside(self) -> None:
        """Rename the key of an account that cannot be used, so that a new one can be made and nothing is lost.

        :raises AcmeStoreUnusable: if it cannot be renamed.
        """
        key = self._own / "account.key"
        try:
            key.rename(key.with_suffix(f".key.damaged-{int(time.time())}"))
        except OSError as problem:
            raise AcmeStoreUnusable(f"{key}: cannot be renamed: {problem.strerror}") from None

    def save_account(self, account: StoredAccount) -> None:
        """Keep the account: its key first, so that an account without key cannot come to be.

        :raises AcmeStoreUnusable: if it cannot be written.
        """
        self._write(self._own / "account.key", account.key)
        known = {"url": account.url, "email": account.email, "directory": self.directory}
        self._write(self._own / "account.json", json.dumps(known, indent=2).encode() + b"\n")

    def keep_next_key(self, pem: bytes) -> None:
        """Keep a key that is about to become the account's, in case this process ends before it is saved as that.

        :raises AcmeStoreUnusable: if it cannot be written.
        """
        self._write(self._own / "account.key.next", pem)

    def next_key(self) -> bytes | None:
        """That key, if it is not known whether it has become the account's."""
        try:
            return (self._own / "account.key.next").read_bytes()
        except OSError:
            return None

    def forget_next_key(self) -> None:
        """It is known."""
        with suppress(OSError):
            (self._own / "account.key.next").unlink()

    # -- locks ---------------------------------------------------------------------------------------

    def lock(self, names: Sequence[str]) -> StoreLock | None:
        """The lock for orders of ``names``; ``None`` while another process holds it.

        :raises AcmeStoreUnusable: if it cannot be had for another reason.
        """
        return self._lock(self._file_of(names).name + ".lock")

    def lock_account(self) -> StoreLock | None:
        """The lock for changes of the account; likewise."""
        return self._lock("account.lock")

    def _lock(self, name: str) -> StoreLock | None:
        path = self._locks / name
        try:
            file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _FILE_MODE), "r+b")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.close()
                return None
        except OSError as problem:
            raise AcmeStoreUnusable(f"{path}: cannot be locked: {problem.strerror}") from None
        return StoreLock(file)

    # -- pending challenges --------------------------------------------------------------------------

    def save_challenge(self, kind: ChallengeType, name: str, content: str) -> None:
        """Keep what answers a challenge, for every process on the store.

        :param name: the token, or the server name that the authority sends.
        :raises AcmeStoreUnusable: if it cannot be written.
        """
        file = self._challenge_file(kind, name)
        if file is not None:
            with suppress(FileExistsError):
                file.parent.mkdir(mode=_FOLDER_MODE)
            self._write(file, content.encode())

    def remove_challenge(self, kind: ChallengeType, name: str) -> None:
        """Forget a challenge."""
        file = self._challenge_file(kind, name)
        if file is not None:
            with suppress(OSError):
                file.unlink()

    def challenge(self, kind: ChallengeType, name: str) -> str | None:
        """What answers the challenge ``name``; ``None`` where none is pending.

        It is called in the event loop, while a request or a hello that looks like an authority's waits. A file that is not
        there takes some 10 microseconds.
        """
        file = self._challenge_file(kind, name)
        if file is None:
            return None
        try:
            with file.open("rb") as opened:
                return opened.read(_CHALLENGE_SIZE).decode()
        except (OSError, ValueError):
            return None

    def _challenge_file(self, kind: ChallengeType, name: str) -> Path | None:
        return self._challenges / kind / name if _CHALLENGE_NAME.fullmatch(name) else None

    def _remove_old_challenges(self) -> None:
        oldest = time.time() - _CHALLENGE_LIFE
        for file in self._challenges.glob("*/*"):
            with suppress(OSError):
                if file.stat().st_mtime < oldest:
                    file.unlink()

    def _write(self, file: Path, content: bytes) -> None:
        try:
            _write(file, content)
        except OSError as problem:
            raise AcmeStoreUnusable(f"{file}: cannot be written: {problem.strerror or problem}") from None


def _make_folder(folder: Path) -> None:
    """Make a folder that only its owner may use, also where it is there already.

    :raises OSError: if it cannot be made, or is a link: in a store that others may write, it could lead anywhere.
    """
    if folder.is_symlink():
        raise OSError(errno.ELOOP, f"{folder.name} is a symbolic link")
    folder.mkdir(mode=_FOLDER_MODE, exist_ok=True)
    if folder.stat().st_mode & ~_FOLDER_MODE & 0o777:
        folder.chmod(_FOLDER_MODE)


def _write(file: Path, content: bytes) -> None:
    """Replace a file as a whole, so that its content is on the disk before its name."""
    # Random: another thread may write the same file, and so may a process in another container, which has the same pid.
    new = file.with_name(f".{file.name}.{secrets.token_hex(8)}.new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _FILE_MODE)
    try:
        with os.fdopen(descriptor, "wb") as opened:
            opened.write(content)
            opened.flush()
            os.fsync(opened.fileno())
        new.replace(file)
    except BaseException:
        with suppress(OSError):
            new.unlink()
        raise


def _read(file: Path) -> CertificatePlan:
    """The certificate in a file.

    :raises OSError: if it cannot be read.
    :raises InvalidCertificate: if clients would not accept it, or it is damaged.
    """
    pem = file.read_bytes()
    try:
        plan = certificate_from_pem(pem, pem)
    except InvalidCertificate as problem:
        raise InvalidCertificate(f"{file}: {problem}") from None
    return issued_plan(plan.chain, plan.key)


def _names_in(file: Path) -> tuple[str, ...]:
    """The names in the certificate of a file. Its key and its dates are not looked at, which takes most of the time.

    :raises OSError: if it cannot be read.
    """
    try:
        return names_of(x509.load_pem_x509_certificate(file.read_bytes()))
    except ValueError:
        return ()


def issued_plan(chain: bytes, key: bytes) -> CertificatePlan:
    """The plan of an issued certificate."""
    return CertificatePlan(source="acme", chain=chain, key=key)


def _folder_of(directory: str) -> str:
    """``acme-v02.api.letsencrypt.org-directory`` for a directory's URL."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", directory.partition("://")[2].rstrip("/")) or "directory"


def _file_name(name: str) -> str:
    """A name as part of a file's name: a wildcard is not one for a shell, and no host has an ``@``."""
    plain = name.replace("*.", "wildcard@").replace("*", "wildcard@").replace(":", "_").replace("/", "_")
    if len(plain) <= _LONGEST_NAME:
        return plain
    return f"{plain[:_LONGEST_NAME]}-{hashlib.sha256(name.encode()).hexdigest()[:_DIGEST]}"
