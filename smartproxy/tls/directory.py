"""A directory of certificates: every certificate in it with the private key that belongs to it.

::

    directory = CertificateDirectory("certificates")
    plan = directory.read()             # InvalidCertificate if there is no such directory
    plan = directory.read()             # only files that have changed are read again

Files are paired by public key, whatever their names and layout: certbot's ``live/NAME/{fullchain,privkey}.pem``,
``NAME.crt`` beside ``NAME.key``, both in one file. CA certificates without a key are ignored.

A file that cannot be used is left out with the reason, and the others are used: one expired certificate must not
prevent a start or a reload. If several certificates have the same key and names, the last to expire of those that can
be used is used, in its most complete chain.
"""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from smartproxy.errors import InvalidCertificate
from smartproxy.files.states import has_settled, may_be_unchanged
from smartproxy.flow.pace import Pace
from smartproxy.model.plan import DirectoryPlan, LeftOut
from smartproxy.tls.certificate_files import CertificateFiles, plan_of
from smartproxy.tls.file_content import FileContent, read_content
from smartproxy.tls.folders import scan
from smartproxy.tls.validity import next_change

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cryptography import x509

    from smartproxy.model.plan import CertificatePlan, FileState
    from smartproxy.tls.folders import Scan

#: A public key, and the names of its certificate.
_ChainKey: TypeAlias = tuple[bytes, tuple[str, ...]]

_MISSING = "does not exist: create it, with a PEM file for each certificate and its key beside it or in it"


class _ReadFile(NamedTuple):
    """A file as it was read.

    :ivar state: before it was read.
    :ivar is_settled: whether any later change changes the state.
    """

    content: FileContent
    state: FileState | None
    is_settled: bool


class _Pair(NamedTuple):
    """A file with a chain, and the file with its key, if there is one."""

    file: str
    content: FileContent
    key_file: str | None
    key: bytes

    def is_as(self, other: _Pair) -> bool:
        """Whether nothing of it was read again."""
        return self.content is other.content and self.key is other.key and self.key_file == other.key_file


class _Made(NamedTuple):
    """The plan of a pair.

    :ivar until: when it has to be checked again, because a certificate in its chain expires or becomes valid.
    """

    pair: _Pair
    plan: CertificatePlan
    until: float


class CertificateDirectory:
    """A directory, and what its files contained when they were last read. It may be used in several threads.

    :param path: of the directory.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._lock = Lock()
        self._known: dict[str, _ReadFile] = {}
        self._made: dict[str, _Made] = {}
        self._pending: dict[str, float] = {}

    @property
    def files(self) -> list[str]:
        """Every file that was read."""
        return list(self._known)

    def read(self) -> DirectoryPlan:
        """Every pair in the directory, in the order of file names. Only files that have changed are read.

        :raises InvalidCertificate: if it is not a directory.
        """
        try:
            if not Path(self._path).is_dir():
                why = "is not a directory" if Path(self._path).exists() else _MISSING
                raise InvalidCertificate(f"{self._path}: {why}")
        except PermissionError:
            pass  # it is left out as a folder that cannot be read
        except OSError as problem:
            raise InvalidCertificate(f"{self._path}: cannot be read: {problem.strerror}") from None
        with self._lock:
            return self._read(Pace())

    def _read(self, pace: Pace) -> DirectoryPlan:
        found = scan(self._path, pace)
        self._known = {file: self._content(file, state) for file, state in pace.over(found.files.items())}
        left_out = [*found.unreadable]
        left_out += [
            LeftOut(file, one.content.problem)
            for file, one in pace.over(self._known.items())
            if one.content.problem
        ]
        contents = {file: one.content for file, one in pace.over(self._known.items())}
        groups = _groups(contents, left_out, pace)
        self._pending = {}
        used = [made for group in groups if (made := self._first_usable(group, left_out, pace)) is not None]
        self._made = {made.pair.file: made for made in pace.over(used)}
        return self._plan(found, used, left_out, pace)

    def _plan(self, found: Scan, used: list[_Made], left_out: list[LeftOut], pace: Pace) -> DirectoryPlan:
        reported = sorted(LeftOut(one.file, _printable(one.problem)) for one in left_out)
        return DirectoryPlan(
            path=self._path,
            certificates=tuple(made.plan for made in pace.over(used)),
            left_out=tuple(reported),
            pending=self._pending,
            names=frozenset(name for made in pace.over(used) for name in made.pair.content.names),
            files=found.files,
            folders=found.folders,
            reread=self.read,
        )

    def _content(self, file: str, state: FileState | None) -> _ReadFile:
        known = self._known.get(file)
        if known is not None and known.is_settled and known.state == state:
            return known
        settled = has_settled(state)
        content = read_content(file)
        if content.is_denied and known is not None and may_be_unchanged(known.state, state):
            return known
        return _ReadFile(content, state, settled)

    def _first_usable(self, group: Sequence[_Pair], left_out: list[LeftOut], pace: Pace) -> _Made | None:
        """The first pair that can be used, if there is one. Each other certificate is entered in ``left_out`` once."""
        used: _Made | None = None
        bad: dict[x509.Certificate, LeftOut] = {}
        for pair in group:
            pace()
            try:
                made = self._made_of(pair)
            except InvalidCertificate as problem:
                bad.setdefault(pair.content.chain[0], LeftOut(pair.file, str(problem)))
                if problem.valid_from is not None:
                    self._pending[pair.file] = problem.valid_from
            else:
                used = used or made
        if used is not None:
            bad.pop(used.pair.content.chain[0], None)  # the same certificate, in a chain that cannot be used
        left_out.extend(bad.values())
        return used

    def _made_of(self, pair: _Pair) -> _Made | None:
        """The plan of a pair; ``None`` for an authority without a key."""
        known = self._made.get(pair.file)
        if known is not None and known.pair.is_as(pair) and time.time() < known.until:
            return known
        if not pair.key:
            if pair.content.is_authority:
                return None
            raise InvalidCertificate(f"{pair.file}: there is no private key for it")
        plan = plan_of(pair.content.chain, pair.key, pair.file)
        files = CertificateFiles(pair.file, pair.key_file)
        states = tuple(self._known[name].state for name in files.names)
        plan = replace(plan, files=files.names, reread=files.read, states=states)
        return _Made(pair, plan, next_change(pair.content.chain))


def former_of_left_out(
    former: Iterable[CertificatePlan], found: DirectoryPlan
) -> tuple[CertificatePlan, ...]:
    """Those of ``former`` whose files are still in the directory and cannot be used now."""
    left_out = {one.file for one in found.left_out}
    folders = tuple(one + os.sep for one in left_out - found.files.keys())
    used = set(found.certificates) if left_out else ()

    def is_left_out(file: str) -> bool:
        return (file in left_out and found.files.get(file) is not None) or file.startswith(folders)

    def exists(file: str) -> bool:
        return found.files.get(file) is not None or file.startswith(folders)

    return tuple(
        plan
        for plan in (former if left_out else ())
        if any(map(is_left_out, plan.files)) and all(map(exists, plan.files)) and plan not in used
    )


def _groups(contents: dict[str, FileContent], left_out: list[LeftOut], pace: Pace) -> Iterable[list[_Pair]]:
    """The files with chains, by key and names; in each group the one to prefer first."""
    keys: dict[bytes, tuple[str, bytes]] = {}
    for file, content in pace.over(contents.items()):
        if content.key:
            keys.setdefault(content.key_public, (file, content.key))
    groups: dict[_ChainKey, list[_Pair]] = {}
    for file, content in pace.over(contents.items()):
        if content.chain:
            key_file, key = keys.get(content.public, (None, b""))
            pair = _Pair(file, content, None if key_file == file else key_file, key)
            groups.setdefault((content.public, content.names), []).append(pair)
    owned = {public for public, _ in groups}
    stray = [file for public, (file, _) in keys.items() if public not in owned]
    left_out.extend(LeftOut(file, f"{file}: there is no certificate for this key") for file in stray)
    # Nearly every group is of one, and the rank of that is not needed.
    return [
        sorted(group, key=lambda pair: pair.content.rank, reverse=True) if len(group) > 1 else group
        for group in pace.over(groups.values())
    ]


def _printable(line: str) -> str:
    """``line`` without what would break a line of a log: a file may have any name."""
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in line)
