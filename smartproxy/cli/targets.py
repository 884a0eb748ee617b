"""``smartproxy targets`` and ``smartproxy target``: the state of targets of a running proxy, and setting it by hand.

What is set by hand holds until the process starts again, or until it is undone: ``up`` ends ``drain`` and ``down``, and
``weight default`` ends another weight.
"""

from __future__ import annotations

import json
import os
import re
import sys
from typing import TYPE_CHECKING

import click
from rich.console import Console

from smartproxy.cli.admin_address import admin_options
from smartproxy.cli.admin_client import call, printable, segment
from smartproxy.cli.remote import run
from smartproxy.cli.target_table import UNLIMITED, state_of, target_lines
from smartproxy.upstream.steering import HIGHEST_WEIGHT, SETTABLE

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem
    from rich.text import Text

    from smartproxy.cli.admin_client import AdminClient, ICommandReactor, JsonObject

if TYPE_CHECKING:
    _WeightType = click.ParamType[int | str]
else:
    _WeightType = click.ParamType
_WEIGHT, _DEFAULT = "weight", "default"
_json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print the reply of the admin API as JSON."
)


@click.command(short_help="List targets: state, weight, connections, bytes.")
@admin_options
@click.argument("group", required=False)
@_json_option
def targets(*, admin: AdminClient, group: str | None, as_json: bool) -> None:
    """List the targets of every group, or of GROUP, in the order of the configuration.

    A route with targets of its own is a group of the name of the route. A narrow terminal shows fewer columns; a pipe and
    --json get all of them.
    """
    query = {} if group is None else {"group": group}

    async def request(reactor: ICommandReactor) -> None:
        reply = await call(reactor, admin, "GET", "/api/v1/targets", query)
        if as_json:
            click.echo(json.dumps(reply, indent=2))
        else:
            _print(reply["targets"])

    run(request, admin)


class WeightNumber(_WeightType):
    """A weight, or ``default``: that of the configuration, which is ``None`` in the API."""

    name = "weight"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        """Check a weight."""
        if value == _DEFAULT:
            return _DEFAULT
        text = str(value)
        if not re.fullmatch(r"[0-9]{1,4}", text) or int(text) > HIGHEST_WEIGHT:
            self.fail(f"{text!r} is not 0..{HIGHEST_WEIGHT} or {_DEFAULT}", param, ctx)
        return int(text)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Complete ``default``, where a weight is given."""
        from click.shell_completion import CompletionItem  # noqa: PLC0415 - no command needs it when it runs

        is_due = ctx.params.get("what") == _WEIGHT and _DEFAULT.startswith(incomplete)
        return [CompletionItem(_DEFAULT)] if is_due else []


@click.command(short_help="Set a target up, drain or down, or its weight.")
@admin_options
@click.argument("group")
@click.argument("name")
@click.argument("what", type=click.Choice([*SETTABLE, _WEIGHT]), metavar="up|drain|down|weight")
@click.argument("number", type=WeightNumber(), required=False, metavar="[N|default]")
@_json_option
def target(
    *, admin: AdminClient, group: str, name: str, what: str, number: int | str | None, as_json: bool
) -> None:
    """Set the state or the weight of the target NAME of GROUP by hand, until the proxy starts again.

    \b
    drain           no new connections; those that there are go on
    down            likewise, and it is shown as down
    up              undoes drain and down, and ends an ejection; checks decide again
    weight N        its share of new connections, 0 to 1000; 0 is none
    weight default  undoes weight: that of the configuration

    "smartproxy targets" lists the names.
    """  # noqa: D301 - \b tells click not to rewrap the next paragraph
    if (what == _WEIGHT) != (number is not None):
        raise click.UsageError(
            f"weight needs a number, or {_DEFAULT} for that of the configuration"
            if number is None
            else f"only weight takes a number: {what} {number}"
        )
    for word, given in (("GROUP", group), ("NAME", name)):
        if not given:
            raise click.UsageError(f"{word} is empty")
    wanted = {"weight": None if number == _DEFAULT else number} if what == _WEIGHT else {"state": what}

    async def request(reactor: ICommandReactor) -> None:
        path = f"/api/v1/targets/{segment(group)}/{segment(name)}"
        reply = await call(reactor, admin, "PUT", path, body=wanted)
        click.echo(json.dumps(reply, indent=2) if as_json else _outcome(reply))

    run(request, admin)


def _outcome(shown: JsonObject) -> str:
    """What a target is now, in one line."""
    why = "" if shown["why"] in {None, "set by hand"} else f" ({shown['why']})"
    parts = (
        f"{shown['group']}/{shown['name']}: {state_of(shown)}{why}",
        f"weight {shown['weight']}",
        f"connections {shown['connections']}",
    )
    return printable(", ".join(parts))


def _print(shown: list[JsonObject]) -> None:
    """The table, as wide as the terminal; in a pipe nothing is left out or cut."""
    console = Console(file=sys.stdout)
    is_limited = console.is_terminal or "COLUMNS" in os.environ
    lines: list[Text] = target_lines(shown, console.width if is_limited else UNLIMITED)
    for line in lines:
        console.print(line, soft_wrap=True)
