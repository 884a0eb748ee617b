"""The message about an unknown key: the key that was meant, or the place where it belongs.

The guesses, from the surest to the least sure: the same key in another spelling (``proxy_ips``), the same key in
another table, a word of another proxy, a key with nearly the same letters.
"""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import TYPE_CHECKING, Final, NamedTuple

from smartproxy.settings.checks import foreign_words
from smartproxy.settings.checks.foreign_words import plain
from smartproxy.settings.checks.known_keys import KnownKey, known_keys

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic import BaseModel

    from smartproxy.settings.reading.locations import KeyPath

_WITHOUT_BLANK = re.compile(r"-?([A-Za-z]\w*):\S.*", re.DOTALL)


#: Tables in place of which ``true`` or ``false`` may stand.
_SWITCHES: Final = frozenset(
    {"admin", "accessLog", "metrics", "zombieDetection", "healthCheck", "passiveHealth"}
)
#: The table of groups. Keys in it are not what is meant elsewhere: a route has the same.
_GROUPS: Final = ("targetGroups",)


class Unknown(NamedTuple):
    """An unknown key.

    :ivar meant: the key of the same table that was meant, if that is known.
    """

    message: str
    meant: str | None = None


def unknown_key(path: KeyPath, root: type[BaseModel]) -> Unknown:
    """What to say about the key at ``path``, which its table does not have."""
    key = str(path[-1])
    table = tuple(step for step in path[:-1] if isinstance(step, str))
    if table[:1] == _GROUPS:
        table = _GROUPS + table[2:]  # the name of a group is no key
    for guess in (_switch, _in_another_form, _of_this_table, _from_elsewhere, _nearest):
        found = guess(key, table, root)
        if found is not None:
            return found
    return Unknown("unknown key")


def _switch(key: str, table: tuple[str, ...], _root: type[BaseModel]) -> Unknown | None:
    """``enabled`` in a table that may be ``true`` or ``false`` itself."""
    if plain(key) != "enabled" or not table or table[-1] not in _SWITCHES:
        return None
    name = table[-1]
    return Unknown(f'unknown key; leave it out: a mapping turns "{name}" on, and "{name}: false" off')


def _in_another_form(key: str, table: tuple[str, ...], root: type[BaseModel]) -> Unknown | None:
    here = {plain(known.name): known.name for known in known_keys(root) if known.table == table}
    if plain(key) in here:
        return _did_you_mean(here[plain(key)])
    if key.startswith("-") and plain(key.lstrip("-")) in here:
        return Unknown(f'unknown key; a blank is missing after the - before "{key.lstrip("-")}"')
    if (pair := _WITHOUT_BLANK.fullmatch(key)) and plain(pair[1]) in here:
        name = here[plain(pair[1])]
        return Unknown(f'no blank after the colon: write "{name}: VALUE"', name)
    if key.lower().startswith("x-") and table[-1:] != ("headers",):
        return Unknown("unknown key; keys that begin with x- may stand at the top level and in a route")
    return None


def _of_this_table(key: str, table: tuple[str, ...], _root: type[BaseModel]) -> Unknown | None:
    found = foreign_words.meant_in(table[-1], key) if table else None
    if found is None:
        return None
    inner, dot, _ = found.rpartition(".")
    return Unknown(f'unknown key; it belongs in "{inner}"') if dot else _did_you_mean(found)


def _from_elsewhere(key: str, table: tuple[str, ...], root: type[BaseModel]) -> Unknown | None:
    """The same key in another table, or the key that a foreign word means."""
    note = foreign_words.note(key) or _among_headers(key, table)
    if note is not None:
        return Unknown(f"unknown key; {note}")
    words = [KnownKey(place[:-1], place[-1]) for place in foreign_words.meant(key)]
    own = [
        known
        for known in known_keys(root)
        if plain(known.name) == plain(key) and (known.table[:1] != _GROUPS or table[:1] == _GROUPS)
    ]
    # A foreign word may be a key of ours with another meaning: the nearer of the two was meant.
    here = {known.name for known in known_keys(root) if known.table == table}
    in_reach = [KnownKey(table, one.name) for one in words if one.name in here]
    best = _closest(in_reach or [*own, *words], table)
    if best is not None:
        return (
            _did_you_mean(best.name)
            if best.table == table
            else Unknown(f"unknown key; {_said(best, key, table)}{_or_in_defaults(best, table, root)}")
        )
    option = foreign_words.option(key) if not table else None
    return Unknown(f"unknown key; it is the option {option} of twistd") if option else None


def _among_headers(key: str, table: tuple[str, ...]) -> str | None:
    """For the two tables called ``headers``: rules, and conditions."""
    if table == ("routes",) and plain(key) == "headers":
        return 'it belongs in "action"; as a condition it belongs in "match"'
    if table in (("routes", "action", "headers"), ("defaults", "headers")):
        if key in {"set", "add", "remove"}:
            return 'it belongs in "request" or "response"'
        return f"write {{request: {{set: {{{key}: VALUE}}}}}}, or response in place of request"
    return None


def _did_you_mean(name: str) -> Unknown:
    return Unknown(f'unknown key; did you mean "{name}"?', name)


def _closest(candidates: Iterable[KnownKey], table: tuple[str, ...]) -> KnownKey | None:
    """The one whose table is the fewest steps from ``table``, and of these the one below it."""

    def steps(one: KnownKey) -> tuple[int, int]:
        shared = _shared(one.table, table)
        return len(one.table) + len(table) - 2 * shared, -shared

    return min(candidates, key=steps, default=None)


def _shared(one: tuple[str, ...], other: tuple[str, ...]) -> int:
    count = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        count += 1
    return count


def _said(found: KnownKey, key: str, table: tuple[str, ...]) -> str:
    if plain(found.name) == plain(key):
        return _belongs(found.table, table)
    return f'write "{found.name}" {_place(found.table, table)}'


def _or_in_defaults(found: KnownKey, table: tuple[str, ...], root: type[BaseModel]) -> str:
    """The other place of a key of routes, for a table outside of them, where ``defaults`` has the key, too."""
    if found.table != ("routes",) or table[:1] == ("routes",):
        return ""
    shared = {known.name for known in known_keys(root) if known.table == ("defaults",)}
    return ', or in "defaults" for all of them' if found.name in shared else ""


def _belongs(place: tuple[str, ...], table: tuple[str, ...]) -> str:
    return f"it belongs {_place(place, table)}"


def _place(place: tuple[str, ...], table: tuple[str, ...]) -> str:
    """Where a table is, seen from another one: ``in "match"``, ``in "match" of a route``, ``at the top level``."""
    if not place:
        return "at the top level"
    below = place[_shared(place, table) :]
    is_in_route = table[:1] == ("routes",)
    if place == ("routes",):
        return "in the route itself" if is_in_route else "in a route"
    if below and place[: len(table)] == table and table:
        return f'in "{".".join(below)}"'
    if place[0] == "routes":
        return f'in "{".".join(place[1:])}" of {"the" if is_in_route else "a"} route'
    return f'in "{".".join(place)}"'


def _nearest(key: str, table: tuple[str, ...], root: type[BaseModel]) -> Unknown | None:
    by_plain = {plain(known.name): known.name for known in known_keys(root) if known.table == table}
    found = get_close_matches(plain(key), by_plain, n=1)
    return _did_you_mean(by_plain[found[0]]) if found else None
