"""What was parsed, remembered by the bytes that it was parsed from: most heads of a client, and of a target, are repeated.

A head that is known costs a look-up in place of several regular expressions. What is remembered is immutable, so it can be
shared by connections. Heads hold cookies and credentials: they stay in the memory of the process, are never logged, and
are forgotten all at once when there are too many. ``http.rememberHeads: false`` turns it off.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from smartproxy.wire.http_answer import parse_head
from smartproxy.wire.http_head import parse_authority, parse_block, parse_line

if TYPE_CHECKING:
    from collections.abc import Callable

K = TypeVar("K", bound="bytes | str")
T = TypeVar("T")

#: How many heads are remembered, and of how many bytes at the most: 2 MiB in all, and what was found in them.
MOST: Final = 1024
LONGEST: Final = 2048
#: How many heads are known to have been asked for once.
_MOST_ASKED: Final = 8192


class Memo(dict[K, T], Generic[K, T]):
    """A function of bytes, or of a string, that remembers what it has returned: a dict, because a look-up then costs no call of Python code.

    Only what is asked for a second time is remembered. Heads that are all different would else fill it, and to drop them again
    costs more than to parse them.

    :param parse: the function; it always returns the same for the same bytes, and nothing that anyone changes.
    """

    __slots__ = ("_asked", "_parse")

    def __init__(self, parse: Callable[[K], T]) -> None:
        super().__init__()
        self._parse = parse
        self._asked: set[int] = set()  # hashes of what was asked for once

    def __missing__(self, data: K) -> T:
        value, mark = self._parse(data), hash(data)
        if mark in self._asked:
            if len(data) <= LONGEST:
                if len(self) >= MOST:
                    self.clear()
                self[data] = value
        else:
            if len(self._asked) >= _MOST_ASKED:
                self._asked.clear()
            self._asked.add(mark)
        return value


class RememberedHeads:
    """Those of all connections.

    :ivar block_of: :func:`~smartproxy.wire.http_head.parse_block` of requests.
    :ivar line_of: :func:`~smartproxy.wire.http_head.parse_line` of requests.
    :ivar head_of: :func:`~smartproxy.wire.http_answer.parse_head` of answers.
    """

    def __init__(self) -> None:
        authority_of = Memo(
            parse_authority
        ).__getitem__  # heads that all differ, by a cookie, still have few hosts
        self.block_of = Memo(partial(parse_block, authority_of=authority_of)).__getitem__
        self.line_of = Memo(parse_line).__getitem__
        self.head_of = Memo(parse_head).__getitem__
