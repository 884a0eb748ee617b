"""``smartproxy check FILE``: is this configuration valid?"""

from __future__ import annotations

import click

from smartproxy.cli import configuration


@click.command()
@click.argument("file", type=click.Path())
def check(file: str) -> None:
    """Validate the configuration in FILE (.yaml, .yml, .json or .toml).

    \b
    Prints FILE: ok (N routes, ports ...), or one line a problem on standard error:
    FILE:LINE: routes[1].action.targets[0].port: must be 1..65535 or "preserve" (got 70000)

    What is allowed and hardly meant is a warning on standard error. Nothing is started, and handlers are
    imported. The exit code is 0 for a valid configuration and 2 for any other.
    """  # noqa: D301 - \b is click's mark for text that it must not fill
    settings = configuration.read(file)
    for doubt in settings.warnings():
        click.echo(f"warning: {doubt}", err=True)
    click.echo(settings.summary())
