"""The query of a request, as ``match.query`` compares it: ``?debug=1&name=J%C3%BCrgen``.

Names and values are compared percent-decoded as UTF-8, and ``+`` is a blank, as in the query that a browser makes of a form. A name
without ``=`` has the empty value. Where a name is there several times, each of its values is compared. Only ``&`` separates: a
backend that takes ``;`` for a separator sees other names.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_plus

if TYPE_CHECKING:
    from collections.abc import Mapping

#: In place of a value: any, the empty one included.
ANY_VALUE: Final = "*"


@lru_cache(maxsize=16)
def parameters(query: str) -> Mapping[str, list[str]]:
    """Names and values of a query, without its ``?``.

    It is remembered because each route with such a condition asks again, and a client may send thousands of names.
    """
    found: dict[str, list[str]] = {}
    for piece in query.split("&"):
        name, _, value = piece.partition("=")
        if piece:
            found.setdefault(_decoded(name), []).append(_decoded(value))
    return found


def _decoded(text: str) -> str:
    # Bytes that are not UTF-8 become what no configuration can have written.
    return unquote_plus(text, errors="surrogateescape")
