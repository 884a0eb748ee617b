"""``smartproxy check FILE``: validate a configuration."""

from __future__ import annotations

import click

from smartproxy.cli import configuration
from smartproxy.cli.acme_lines import acme_lines


@click.command(short_help="Validate a configuration file.")
@click.option("--strict", is_flag=True, help="Treat warnings as problems.")
@configuration.format_option
@click.argument("file", type=click.Path())
def check(file: str, *, strict: bool, format_: str | None) -> None:
    """Validate the configuration in FILE (.yaml, .yml, .json or .toml), or on standard input if FILE is -.

    \b
    Prints FILE: ok (N routes, ports ...), or one line per problem on standard error:
    FILE:LINE: routes[1].action.targets[0].port: must be 1..65535 or "preserve" (got 70000)

    With automatic certificates, it also prints where they are ordered and stored, and which ports the authority must reach.

    Valid settings that look like mistakes, and certificates that cannot be used, are printed as warnings on standard
    error. Nothing is started, but handlers are imported. The exit code is 0 for a valid configuration and 2 for an
    invalid one; with --strict also 2 if there are warnings.
    """  # noqa: D301 - \b tells click not to rewrap the next paragraph
    settings = configuration.read(file, format_)
    warnings = settings.warnings()
    for warning in warnings:
        click.echo(warning if strict else f"warning: {warning}", err=True)
    if strict and warnings:
        raise click.exceptions.Exit(configuration.INVALID)
    click.echo(settings.summary())
    if settings.acme is not None:
        for line in acme_lines(configuration.compiled(settings), settings.acme.directory):
            click.echo(line)
