"""Load the configuration file that a command is given."""

from __future__ import annotations

import click

from smartproxy.errors import ConfigurationError
from smartproxy.settings import Settings

#: The exit code for wrong usage and for an invalid configuration.
INVALID = 2


def read(file: str) -> Settings:
    """Return the settings in ``file``; print one line per problem on standard error if it is invalid.

    :raises click.exceptions.Exit: with code 2 if it is invalid.
    """
    try:
        return Settings.load(file)
    except ConfigurationError as error:
        for problem in error.problems:
            click.echo(problem, err=True)
        raise click.exceptions.Exit(INVALID) from None
