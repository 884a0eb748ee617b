"""The view of targets in ``smartproxy top``: order and filter, the table, and why targets are not up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from smartproxy.cli.screen import marked, table
from smartproxy.cli.target_table import columns_of, trouble_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from smartproxy.cli.admin_client import JsonObject

#: The keys that sort, and the column that each sorts by. The order of names is that of the configuration.
TARGET_SORTS = {"n": "target", "s": "state", "a": "active", "i": "received", "o": "sent"}
#: Of the lines of the screen, the part that says why targets are not up is at most this fraction.
_TROUBLES = 4
#: The worst comes first.
_STATES = {"down": 3, "ejected": 2, "drain": 1, "up": 0}
_SORT_NUMBERS: dict[str, Callable[[JsonObject], int]] = {
    "state": lambda row: _STATES.get(row["state"], 0),
    "active": lambda row: row["connections"],
    "received": lambda row: row["bytesReceived"],
    "sent": lambda row: row["bytesSent"],
}


class TargetView:
    """The table of targets and its order."""

    def __init__(self) -> None:
        self._sort = "target"
        self._reversed = False

    def press(self, key: str) -> None:
        """Handle a key that sorts."""
        if key == "r":
            self._reversed = not self._reversed
        elif key in TARGET_SORTS:
            self._sort, self._reversed = TARGET_SORTS[key], False

    def visible(self, targets: Sequence[JsonObject], only: str) -> list[JsonObject]:
        """The targets whose group and name contain ``only``, in order."""
        wanted = only.lower()
        shown = [row for row in targets if wanted in f"{row['group']}/{row['name']}".lower()]
        if self._sort != "target":
            shown.sort(key=_SORT_NUMBERS[self._sort], reverse=True)
        return shown[::-1] if self._reversed else shown

    def lines(self, targets: Sequence[JsonObject], width: int, height: int, *, is_stale: bool) -> list[Text]:
        """The table of the visible ``targets``, and why some are not up, in ``height`` lines at most."""
        why = list(trouble_lines(targets, width))
        most_why = max(height // _TROUBLES, height - 2 - len(targets), 0)
        why = why[:most_why]
        most = max(height - 1 - len(why), 0)
        count = f"{len(targets)} target{'s' * (len(targets) != 1)}"
        heading = f"{most} of {count}" if most < len(targets) else count
        columns = marked(
            columns_of(targets, width, heading), self._sort, heading, self._sort == "target", self._reversed
        )
        if is_stale:
            columns = [column._replace(style=None) for column in columns]
            why = [Text(line.plain, style="dim") for line in why]
        return [*table(columns, targets[:most], width, "dim" if is_stale else ""), *why][:height]
