"""The JSON Schema of a configuration file, made from the tables and the docstrings of their attributes."""

from __future__ import annotations

import ast
import inspect
from itertools import pairwise
from textwrap import dedent
from typing import TYPE_CHECKING, Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

from smartproxy._version import __version__
from smartproxy.settings.tables.base import ConnectionKeys, Table, file_key
from smartproxy.settings.tables.route import Action, Defaults, Route, Shared, Target

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pydantic_core import core_schema

DIALECT = "https://json-schema.org/draft/2020-12/schema"
#: Names the schema of one version. It is not a place to fetch it from: ``smartproxy schema`` prints it.
IDENTIFIER = f"urn:smartproxy:configuration:{__version__}"


class _FileSchema(GenerateJsonSchema):
    """Leaves out what a file does not have: null, and titles that only repeat a key."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        made = super().default_schema(schema)
        if schema.get("default_factory") in {list, dict}:
            made["default"] = [] if schema["default_factory"] is list else {}
        return {key: value for key, value in made.items() if key != "default" or value is not None}

    def encode_default(self, dft: object) -> object:
        """The default of a key; for a table only the keys that it sets, as its other keys have their own defaults."""
        return (
            dft.model_dump(mode="json", by_alias=True, exclude_unset=True) if isinstance(dft, Table) else dft
        )

    def field_title_should_be_set(self, schema: object) -> bool:
        return False

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        made = super().model_schema(schema)
        for key, text in _docstrings(schema["cls"]):
            made["properties"][key]["description"] = text
        return made


def schema_of(root: type[Table]) -> dict[str, Any]:
    """The schema of ``root``: what this version accepts.

    Each key has a description, and a default unless it is required. It has a keyword of its own: ``x-default`` says in
    words what applies where the key is left out.
    """
    made = root.model_json_schema(schema_generator=_FileSchema)
    for table, keys in _INHERITED.items():
        for key in map(file_key, keys):
            shown = made["$defs"][table.__name__]["properties"][key]
            shown["default"] = made["properties"].get(key, shown)["default"]
            shown["x-default"] = "inherited"
    # Routes may all be in included files.
    made["required"] = [key for key in made["required"] if key != "routes"]
    made["anyOf"] = [{"required": ["routes"]}, {"required": ["include"]}]
    made["properties"]["routes"]["x-default"] = "required, or `include`"
    for holder, key, shown in keys_of(made):
        _complete(made, holder, key, shown)
    return {
        "$schema": DIALECT,
        "$id": IDENTIFIER,
        "title": "smartproxy",
        **{key: value for key, value in made.items() if key != "title"},
    }


def _docstrings(table: type) -> Iterator[tuple[str, str]]:
    """The keys of a table and the docstrings under their attributes, which the running program does not have.

    The source is read here, not when the tables are imported: that would be a tenth of the time that a start takes.
    """
    for base in reversed(table.__mro__):
        if issubclass(base, Table):
            [definition] = ast.parse(dedent(inspect.getsource(base))).body
            for attribute, below in pairwise(ast.iter_child_nodes(definition)):
                match attribute, below:
                    case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(
                        value=ast.Constant(value=str(text))
                    ):
                        yield file_key(name), inspect.cleandoc(text)


def keys_of(made: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str, dict[str, Any]]]:
    """Each key of each table: the schema of the table, the key, and the schema of its value."""
    for table in (made, *made["$defs"].values()):
        for key, shown in table["properties"].items():
            yield table, key, shown


def _complete(made: dict[str, Any], table: dict[str, Any], key: str, shown: dict[str, Any]) -> None:
    """Add what pydantic leaves out: a description that a table repeats, and that a key has no default."""
    if "description" not in shown:
        shown["description"] = made["$defs"][shown["$ref"].rpartition("/")[2]]["description"]
    if "default" not in shown and key not in table.get("required", ()):
        shown.setdefault("x-default", "none")


#: Keys that are inherited from ``defaults`` and then from the top level where they are left out.
_INHERITED: dict[type[Table], Iterable[str]] = {
    Defaults: (*ConnectionKeys.model_fields, "send_proxy_protocol"),
    Route: Shared.model_fields,
    Action: ("send_proxy_protocol",),
    Target: ("send_proxy_protocol",),
}
