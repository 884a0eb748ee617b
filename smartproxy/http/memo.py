"""What was parsed, remembered by the bytes that it was parsed from: most heads of a client, and of a target, are repeated.

A head that is known costs a look-up in place of several regular expressions. What is remembered is immutable, so it can be
shared by connections. Heads hold cookies and credentials: they stay in the memory of the process, are never logged, and
are forgotten all at once when there are too many. ``http.rememberHeads: false`` turns it off.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Generic, TypeVar

from smartproxy.wire.http_answer import parse_head
from smartproxy.wire.http_head import parse_block

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

#: How many heads are remembered, and of how many bytes at the most: 2 MiB in all, and what was found in them.
MOST: Final = 1024
LONGEST: Final = 2048


class Memo(Generic[T]):
    """A function of bytes that remembers what it has returned.

    :param parse: the function; it always returns the same for the same bytes, and nothing that anyone changes.
    """

    __slots__ = ("_known", "_parse")

    def __init__(self, parse: Callable[[bytes], T]) -> None:
        self._parse = parse
        self._known: dict[bytes, T] = {}

    def __call__(self, data: bytes) -> T:
        """The value of the function."""
        known = self._known.get(data)
        return self._learn(data) if known is None else known

    def __len__(self) -> int:
        return len(self._known)

    def _learn(self, data: bytes) -> T:
        value = self._parse(data)
        if len(data) <= LONGEST:
            if len(self._known) >= MOST:
                self._known.clear()
            self._known[data] = value
        return value


class RememberedHeads:
    """Those of all connections.

    :ivar block_of: :func:`~smartproxy.wire.http_head.parse_block` of requests.
    :ivar head_of: :func:`~smartproxy.wire.http_answer.parse_head` of answers.
    """

    def __init__(self) -> None:
        self.block_of = Memo(parse_block)
        self.head_of = Memo(parse_head)
