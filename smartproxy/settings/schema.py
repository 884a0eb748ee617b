"""The JSON Schema of a configuration file, made from the tables and the docstrings of their attributes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

from smartproxy.settings.checks.availability import LATER
from smartproxy.settings.tables.base import ConnectionKeys, Table, file_key
from smartproxy.settings.tables.route import Action, Defaults, Route, Shared, Target

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic_core import core_schema

DIALECT = "https://json-schema.org/draft/2020-12/schema"


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


def schema_of(root: type[Table]) -> dict[str, Any]:
    """The schema of ``root``.

    It has two keywords of its own: ``x-default`` describes the default where it is not a value, ``x-available`` lists the
    only values that this version implements.
    """
    made = root.model_json_schema(schema_generator=_FileSchema)
    for table, keys in _INHERITED.items():
        for key in keys:
            shown = made["$defs"][table.__name__]["properties"][file_key(key)]
            shown.pop("default", None)
            shown["x-default"] = "inherited"
    # Routes may all be in included files.
    made["required"] = [key for key in made["required"] if key != "routes"]
    made["anyOf"] = [{"required": ["routes"]}, {"required": ["include"]}]
    made["properties"]["routes"]["x-default"] = "required, or `include`"
    for later in LATER:
        _key(made, later.steps)["x-available"] = list(later.only)
    return {"$schema": DIALECT, "title": "smartproxy", **{k: v for k, v in made.items() if k != "title"}}


def _key(made: dict[str, Any], steps: Iterable[str]) -> dict[str, Any]:
    """The schema of the key that these steps lead to."""
    here = made
    for step in steps:
        here = made["$defs"][here["$ref"].rpartition("/")[2]] if "$ref" in here else here
        here = here["items"] if step == "[]" else here["properties"][step]
    return here


#: Keys that are inherited from ``defaults`` and then from the top level where they are left out.
_INHERITED: dict[type[Table], Iterable[str]] = {
    Defaults: (*ConnectionKeys.model_fields, "send_proxy_protocol"),
    Route: Shared.model_fields,
    Action: ("send_proxy_protocol",),
    Target: ("send_proxy_protocol",),
}
