"""Address lists in files: one entry a line, with comments; read when a configuration is, and again when the file changes.

::

    blocklist.txt:
        # scanners
        198.51.100.0/24
        2001:db8::/32       # or a range, or a single address

    file = read_address_file("blocklist.txt")
    "198.51.100.7" in file                  # True

:mod:`smartproxy.security.address_file_watch` replaces the content when the file changes. An empty file is a list without addresses; it does not turn the
list off.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from smartproxy.errors import InvalidAddressFile
from smartproxy.files.bounded import read_bounded
from smartproxy.files.states import state_of
from smartproxy.flow.pace import Pace
from smartproxy.model.plan import AddressFile
from smartproxy.security.address_set import AddressSet, networks_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


#: Bytes of a file: a million addresses have less.
_MAX_SIZE: Final = 64 << 20
#: Broken lines that are reported of one file.
_REPORTED: Final = 5
_QUOTED: Final = 60


def read_address_file(path: str) -> AddressFile:
    """Read a file.

    :raises InvalidAddressFile: with ``FILE:LINE: ...`` for each line that is no entry, or why the file cannot be read.
    """
    state = state_of(path)
    return AddressFile(path, state, AddressSet(_entries(path, _text(path))))


class AddressLists:
    """The union of several lists: entries of the configuration, and files.

    :param lists: each has its addresses.
    """

    __slots__ = ("_lists",)

    def __init__(self, lists: Iterable[AddressSet | AddressFile]) -> None:
        self._lists = tuple(lists)

    def __contains__(self, address: object) -> bool:
        return any(address in one for one in self._lists)

    def entry(self, address: str) -> str | None:
        """The narrowest network that contains ``address``, with its file if it is in one; ``None`` where there is none."""
        return next((found for one in self._lists if (found := entry_of(one, address))), None)

    def __str__(self) -> str:
        return ", ".join(text for one in self._lists if (text := str(one)))


def entry_of(addresses: object, address: str) -> str | None:
    """The entry of an address list that has ``address``; ``None`` where none has, or an embedder's list does not say."""
    if isinstance(addresses, AddressFile):
        found = entry_of(addresses.current, address)
        return found and f"{found} in {addresses.path}"
    return addresses.entry(address) if isinstance(addresses, AddressSet | AddressLists) else None


def _text(path: str) -> str:
    try:
        content = read_bounded(path, _MAX_SIZE)
        if len(content) > _MAX_SIZE:
            raise InvalidAddressFile([f"{path}: is larger than {_MAX_SIZE >> 20} MiB"])
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        line = problem.object.count(b"\n", 0, problem.start) + 1
        raise InvalidAddressFile([f"{path}:{line}: is not UTF-8"]) from None
    except OSError as problem:
        denied = isinstance(problem, PermissionError)
        raise InvalidAddressFile([f"{path}: cannot be read: {problem.strerror}"], is_denied=denied) from None


def _entries(path: str, text: str) -> Iterator[str]:
    pace, problems = Pace(), []
    for number, line in enumerate(text.splitlines(), 1):
        pace()
        entry = line.partition("#")[0].strip()
        if not entry:
            continue
        try:
            for _ in networks_of(entry):
                break
        except ValueError:
            problems.append(
                f"{path}:{number}: must be an IP address, a CIDR or a range a-b (got {_quoted(entry)})"
            )
        else:
            yield entry
    if problems:
        more = (
            [f"{path}: {len(problems) - _REPORTED} more lines like these"]
            if len(problems) > _REPORTED
            else []
        )
        raise InvalidAddressFile([*problems[:_REPORTED], *more])


def _quoted(entry: str) -> str:
    return ascii(entry if len(entry) <= _QUOTED else f"{entry[:_QUOTED]}...").replace("'", '"')
