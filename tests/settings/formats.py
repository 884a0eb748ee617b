"""Writers of a configuration in three formats, one key per line, and what is wrong with one."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import yaml

from smartproxy.errors import ConfigurationError
from smartproxy.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from unittest import TestCase


def problems(text: str) -> str:
    """What is wrong with a configuration in YAML; empty where nothing is."""
    try:
        Settings.parse(text, "yaml", "x.yaml")
    except ConfigurationError as error:
        return str(error)
    return ""


def as_yaml(value: dict[str, Any]) -> str:
    return "# a comment\n" + yaml.safe_dump(value, sort_keys=False)


def as_json(value: dict[str, Any]) -> str:
    return json.dumps(value, indent=2)


def as_toml(value: dict[str, Any]) -> str:
    return "# a comment\n" + "\n".join(_toml(value, ""))


def _toml(table: dict[str, Any], prefix: str) -> Iterator[str]:
    """Plain keys first: a key after the header of a table belongs to that table."""
    for key, value in table.items():
        if not _is_table(value):
            yield f"{key} = {json.dumps(value)}"
    for key, value in table.items():
        if not _is_table(value):
            continue
        header = f"[[{prefix}{key}]]" if isinstance(value, list) else f"[{prefix}{key}]"
        for inner in value if isinstance(value, list) else [value]:
            yield header
            yield from _toml(inner, f"{prefix}{key}.")


def _is_table(value: object) -> bool:
    if isinstance(value, list):
        return bool(value) and all(isinstance(item, dict) for item in value)
    return isinstance(value, dict)


FORMATS = {"yaml": as_yaml, "json": as_json, "toml": as_toml}


def route(
    name: str = "web", ports: Any = 80, *, action: Any = None, match: Any = None, **more: Any
) -> dict[str, Any]:
    """A route with the keys of a file."""
    return {
        "name": name,
        "match": {"ports": ports, **(match or {})},
        "action": {"targets": [{"host": "192.0.2.1", "port": 9000}], **(action or {})},
        **more,
    }


def folder(case: TestCase) -> Path:
    """A temporary directory of one test."""
    made = TemporaryDirectory()
    case.addCleanup(made.cleanup)
    return Path(made.name)
