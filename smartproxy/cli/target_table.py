"""The table of targets, for ``smartproxy targets`` and the view of targets in ``smartproxy top``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.cells import cell_len
from rich.text import Text

from smartproxy.cli.admin_client import printable
from smartproxy.cli.screen import Column, cut_end, number, size, table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from smartproxy.cli.admin_client import JsonObject

#: The width of a pipe: every column is shown, and none is cut.
UNLIMITED: Final = 1 << 20
#: Characters of the names of groups and of addresses in a terminal.
_GROUP, _ADDRESS = 14, 21
#: Terminals of fewer columns have no room for addresses.
_WIDE = 130
#: Style of a state. Red needs an operator; yellow was set by one, or passes by itself.
_STYLES = {"up": "green", "drain": "yellow", "ejected": "red", "down": "bold red"}


def state_of(target: JsonObject) -> str:
    """The state, and whether it was set by hand."""
    state: str = target["state"]
    return f"{state} by hand" if _is_state_by_hand(target) else state


def _is_state_by_hand(target: JsonObject) -> bool:
    return bool(target["why"] == "set by hand")


def _weight(target: JsonObject) -> str:
    """The weight, marked where it was set by hand."""
    by_hand = target["setByHand"] and not _is_state_by_hand(target)
    return f"{target['weight']}{'*' * by_hand}"


def _check(target: JsonObject) -> str:
    last = target["lastCheck"]
    if last is None:
        return "-"
    return f"{'ok' if last['ok'] else 'failed'} {last['at']} {last['detail']}".rstrip()


def _check_result(target: JsonObject) -> str:
    last = target["lastCheck"]
    return "-" if last is None else "ok" if last["ok"] else "failed"


def style_of(target: JsonObject) -> str:
    """The style of the state of a target."""
    return _STYLES.get(target["state"], "")


_STATE = Column("state", state_of, 13, is_text=True, style=style_of)
_NUMBERS = (
    Column("weight", _weight, 6),
    Column("now", lambda row: f"{row['effectiveWeight']:g}", 6, shown_from=100),
    Column("backup", lambda row: "backup" if row["backup"] else "", 6, shown_from=80, is_text=True),
    Column("active", lambda row: number(row["connections"]), 6),
    Column("queued", lambda row: number(row["queued"]), 6, shown_from=100),
    Column("received", lambda row: size(row["bytesReceived"]), 8, shown_from=110),
    Column("sent", lambda row: size(row["bytesSent"]), 6, shown_from=110),
)


def columns_of(targets: Sequence[JsonObject], width: int, heading: str = "target") -> list[Column]:
    """The columns for these targets in a terminal of ``width``."""
    group = Column("group", lambda row: row["group"], _widest(targets, "group", _GROUP, width), is_text=True)
    name = Column(heading, lambda row: row["name"], is_text=True)
    if width >= UNLIMITED:
        name = name._replace(width=_widest(targets, "name", 0, width))
    address = Column(
        "address",
        lambda row: row["address"],
        _widest(targets, "address", _ADDRESS, width),
        _WIDE,
        is_text=True,
    )
    unnamed = width < UNLIMITED and all(row["name"] == row["address"] for row in targets)
    check = Column("check", _check_result, 6, _WIDE, is_text=True)
    if width >= UNLIMITED:
        longest = max(len(check.heading), *(cell_len(printable(_check(row))) for row in targets), 0)
        check = check._replace(cell=_check, width=longest)
    return [group, name, *([] if unnamed else [address]), _STATE, *_NUMBERS, check]


def _widest(targets: Sequence[JsonObject], key: str, most: int, width: int) -> int:
    """The width of a column: of its longest text, and in a terminal ``most``."""
    longest = max((cell_len(printable(row[key])) for row in targets), default=0)
    longest = max(longest, len(key))
    return longest if width >= UNLIMITED else min(longest, most)


def target_lines(targets: Sequence[JsonObject], width: int) -> list[Text]:
    """The table, and why each target is not up, in lines of ``width`` characters at most."""
    return [*table(columns_of(targets, width), targets, width), *trouble_lines(targets, width)]


def trouble_lines(targets: Sequence[JsonObject], width: int) -> Iterator[Text]:
    """Why a check or a dial has taken a target out, one line each."""
    for row in targets:
        if row["why"] is not None and not _is_state_by_hand(row):
            why = f"{row['group']}/{row['name']} is {row['state']}: {row['why']}"
            yield Text(cut_end(printable(why), width), style=style_of(row))
