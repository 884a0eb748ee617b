"""``smartproxy schema``: the JSON Schema of the configuration."""

from __future__ import annotations

import json

import click

from smartproxy.settings import Settings


@click.command(short_help="Print the JSON Schema of the configuration.")
def schema() -> None:
    """Print the JSON Schema (2020-12) of the configuration.

    It is valid for YAML, JSON and TOML files. Editors use it for completion and checks: for VS Code, save it to a file
    and name the file in the setting yaml.schemas.
    """
    click.echo(json.dumps(Settings.json_schema(), indent=2, ensure_ascii=False))
