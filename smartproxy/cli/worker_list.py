"""The command ``workers``: the processes that carry connections."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click
from rich.box import SIMPLE_HEAD
from rich.table import Table

from smartproxy.cli.admin_address import admin_options
from smartproxy.cli.admin_client import call
from smartproxy.cli.remote import print_table, run, table_console

if TYPE_CHECKING:
    from smartproxy.cli.admin_client import AdminClient, ICommandReactor

_COLUMNS = ("slot", "state", "pid", "connections", "uptime")


@click.command(short_help="List the worker processes.")
@admin_options
@click.option("--json", "as_json", is_flag=True, help="Print the reply of the admin API as JSON.")
def workers(*, admin: AdminClient, as_json: bool) -> None:
    """List the processes that carry connections. One that was replaced is draining until its connections have ended."""

    async def request(reactor: ICommandReactor) -> None:
        reply = await call(reactor, admin, "GET", "/api/v1/workers")
        if as_json:
            click.echo(json.dumps(reply, indent=2))
            return
        rows = (
            (
                one["slot"],
                one["state"],
                one["pid"] or "-",
                one["connections"],
                f"{one['uptimeSeconds']:.0f} s",
            )
            for one in reply["workers"]
        )
        print_table(table_console(), Table(*_COLUMNS, box=SIMPLE_HEAD), rows)

    run(request, admin)
