"""``smartproxy certificates``: the certificates of a running proxy, and ordering an automatic one now.

::

    smartproxy certificates                       # the list
    smartproxy certificates renew a.example       # exit code 0 once it is issued, 1 if the order fails

The admin API replies before the order has ended. ``renew`` therefore reads the list every second, which costs the proxy
nothing, and gives up after two minutes: an authority looks at most names within seconds, and a record in the DNS may need
a minute.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click
from rich.box import SIMPLE_HEAD
from rich.table import Column, Table
from twisted.internet.task import deferLater

from smartproxy.cli.admin_address import admin_options, admin_parameters, find
from smartproxy.cli.admin_client import call, printable, segment
from smartproxy.cli.remote import print_table, run, table_console
from smartproxy.errors import AdminRequestFailed

if TYPE_CHECKING:
    from pathlib import Path

    from smartproxy.cli.admin_client import AdminClient, ICommandReactor, JsonObject

_PATH = "/api/v1/certificates"
_COLUMNS = ("names", "expires", "kind", "", "ocsp", "source")
#: Seconds between two looks at the list, and after which ``renew`` does not wait any more.
POLL_INTERVAL, LONGEST_WAIT = 1.0, 120.0
#: In narrower terminals the errors are below the table, a line each.
_WIDE = 140
#: Characters of a date before its seconds, and of a name that has room in 80 columns.
_MINUTES, _NAME = 16, 12


@click.group(
    invoke_without_command=True,
    short_help="List certificates, or order an automatic one now.",
    subcommand_metavar="[renew NAME]",
)
@admin_parameters
@click.option("--json", "as_json", is_flag=True, help="Print the reply of the admin API as JSON.")
@click.pass_context
def certificates(
    context: click.Context, *, address: str | None, config: Path | None, token: str | None, as_json: bool
) -> None:
    """List the certificates that clients are shown, in the order of their expiry.

    Automatic certificates that are not issued yet come first. Where there are automatic ones, the list says when each
    is ordered next, and why its last order failed.
    """
    if context.invoked_subcommand is not None:
        if as_json:
            raise click.UsageError(f"--json is for the list, not for {context.invoked_subcommand}", context)
        return
    admin = find(address, config, token)

    async def request(reactor: ICommandReactor) -> None:
        reply = await call(reactor, admin, "GET", _PATH)
        if as_json:
            click.echo(json.dumps(reply, indent=2))
        else:
            _show(reply["certificates"])

    run(request, admin)


@certificates.command(short_help="Order an automatic certificate now.")
@admin_options
@click.argument("name")
@click.option("--no-wait", is_flag=True, help="Do not wait until it is issued.")
def renew(*, admin: AdminClient, name: str, no_wait: bool) -> None:
    """Order the automatic certificate with the name NAME now, and wait up to two minutes until it is issued.

    NAME is any of its names; quote a wildcard: '*.a.example'. Of several certificates with the name each is ordered. The
    certificate in force is used until the new one is issued. Each order counts towards the rate limits of the authority.
    """
    if not name:
        raise click.UsageError("NAME is empty")

    async def request(reactor: ICommandReactor) -> None:
        before = await _listed(reactor, admin)
        spelt, names = await _order(reactor, admin, name)
        if no_wait:
            click.echo(printable(f"{name}: ordered ({', '.join(names)})"))
            return
        former = {one["fingerprint"] for one in _with_name(before, spelt)}
        issued, failed = await _ended(reactor, admin, name, spelt, former)
        is_one = len(issued) + len(failed) == 1
        for one in issued:
            label = name if is_one else ", ".join(one["names"])
            click.echo(printable(f"{label}: renewed, valid until {one['notAfter']}"))
        if failed:
            why = [_failure(name if is_one else ", ".join(one["names"]), one["acme"]) for one in failed]
            raise AdminRequestFailed(printable("; ".join(why)))

    run(request, admin)


async def _listed(reactor: ICommandReactor, admin: AdminClient) -> list[JsonObject]:
    reply = await call(reactor, admin, "GET", _PATH)
    shown: list[JsonObject] = reply["certificates"]
    return shown


async def _order(reactor: ICommandReactor, admin: AdminClient, name: str) -> tuple[str, list[str]]:
    """Order the certificates with ``name``; return how they spell it, and the names of all of them.

    :raises AdminRequestFailed: with the exit code 1, also for 409, which is a port in use elsewhere in the API.
    """
    try:
        reply = await call(reactor, admin, "POST", f"{_PATH}/{segment(name)}/renew")
    except AdminRequestFailed as failed:
        raise AdminRequestFailed(failed.why, failed.hint) from None
    return reply["name"], reply["names"]


async def _ended(
    reactor: ICommandReactor, admin: AdminClient, name: str, spelt: str, former: set[str | None]
) -> tuple[list[JsonObject], list[JsonObject]]:
    """The certificates with the name, once each is issued or has failed: the issued ones, and those that have failed.

    :param former: the fingerprints before: a certificate with one of them is not the new one.
    :raises AdminRequestFailed: if an order takes too long, or no certificate with the name is configured any more.
    """
    last = reactor.seconds() + LONGEST_WAIT
    failed: dict[frozenset[str], JsonObject] = {}  # also of an order that is tried again meanwhile
    while reactor.seconds() < last:
        await deferLater(reactor, POLL_INTERVAL)
        ordered = {frozenset(one["names"]): one for one in _with_name(await _listed(reactor, admin), spelt)}
        if not ordered:
            raise AdminRequestFailed(printable(f"{name}: it is not configured any more"))
        failed |= {names: one for names, one in ordered.items() if one["acme"]["state"] == "failed"}
        others = [one for names, one in ordered.items() if names not in failed]
        if all(one["acme"]["state"] == "issued" and one["fingerprint"] not in former for one in others):
            return others, list(failed.values())
    raise AdminRequestFailed(
        printable(f"{name}: no new certificate within {LONGEST_WAIT:g} s"),
        "smartproxy certificates shows how the order ends",
    )


def _with_name(shown: list[JsonObject], name: str) -> list[JsonObject]:
    """The automatic certificates with the name."""
    return [one for one in shown if one.get("acme") and name in one["names"]]


def _failure(name: str, acme: JsonObject) -> str:
    next_try = f"; next try at {acme['nextTry']}" if acme["nextTry"] else ""
    return f"{name}: not renewed: {acme['lastError']}{next_try}"


def _show(shown: list[JsonObject]) -> None:
    """The table; where a certificate is automatic with its next order, and with errors where they have room."""
    console = table_console()
    if not any(one.get("acme") for one in shown):
        print_table(console, Table(*_COLUMNS, box=SIMPLE_HEAD), map(_row, shown))
        return
    is_wide = console.width >= _WIDE
    names, _, *others = _COLUMNS
    headings: list[Column | str] = [
        Column(names, overflow="fold", min_width=_NAME),
        Column("expires", no_wrap=True),
        *others,
        Column("next try", no_wrap=True),
    ]
    if is_wide:
        headings.append(Column("error", overflow="fold"))
    rows = (
        (*_row(one), _next_try(one), *([_error(one)] if is_wide else [])) for one in map(_in_minutes, shown)
    )
    print_table(console, Table(*headings, box=SIMPLE_HEAD), rows)
    for one in [] if is_wide else filter(_error, shown):
        click.echo(printable(f"{one['names'][0]}: {_error(one)}"))


def _row(shown: JsonObject) -> tuple[object, ...]:
    default = "default" if shown["default"] else ""
    expires = shown["notAfter"] or "not issued yet"
    return (
        ", ".join(shown["names"]),
        expires,
        shown["kind"],
        default,
        _staple(shown["ocsp"]),
        shown["source"],
    )


def _in_minutes(shown: JsonObject) -> JsonObject:
    """With a shorter date of expiry, because there is one date more in the table."""
    return shown if shown["notAfter"] is None else {**shown, "notAfter": _minute(shown["notAfter"])}


def _minute(date: str) -> str:
    return f"{date[:_MINUTES]}Z"


def _next_try(shown: JsonObject) -> str:
    acme = shown["acme"] or {"state": "", "nextTry": None}
    if acme["state"] == "ordering":
        return "now"
    return _minute(acme["nextTry"]) if acme["nextTry"] else ""


def _error(shown: JsonObject) -> str:
    """Why the last order failed, and how many have failed in a row; empty where it did not."""
    acme = shown["acme"]
    if not acme or not acme["lastError"]:
        return ""
    return f"{acme['lastError']} ({acme['failures']} failures)" if acme["failures"] > 1 else acme["lastError"]


def _staple(ocsp: JsonObject) -> str:
    """The OCSP status in a table cell, with the expiry of the response or the reason why there is none."""
    status: str = ocsp["status"]
    suffixes = {"good": f" until {ocsp['nextUpdate']}", "none": ""}
    return status + suffixes.get(status, f": {ocsp['detail']}")
