"""``smartproxy schema``: the JSON Schema of the configuration."""

from __future__ import annotations

import json

import click

from smartproxy.settings import Settings


@click.command()
def schema() -> None:
    """Print the JSON Schema (2020-12) of the configuration.

    It describes all three spellings, YAML, JSON and TOML. Editors complete and check with it: in VS Code, for example,
    save it to a file and name that under yaml.schemas.
    """
    click.echo(json.dumps(Settings.json_schema(), indent=2, ensure_ascii=False))
