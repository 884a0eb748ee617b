"""The JSON Schema of a configuration file, as the models and their texts have it."""

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
    """Without what a file does not have: null, and titles that repeat a key."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        made = super().default_schema(schema)
        if schema.get("default_factory") in {list, dict}:
            made["default"] = [] if schema["default_factory"] is list else {}
        return {key: value for key, value in made.items() if key != "default" or value is not None}

    def encode_default(self, dft: Any) -> Any:
        """Of a table, what it says beyond the defaults of its own keys, which is nothing."""
        return (
            dft.model_dump(mode="json", by_alias=True, exclude_unset=True) if isinstance(dft, Table) else dft
        )

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def schema_of(root: type[Table]) -> dict[str, Any]:
    """The schema of ``root``.

    Two keywords are our own: ``x-default`` says in words what stands for a key that was left out, ``x-available`` the
    only values that this version does.
    """
    made = root.model_json_schema(schema_generator=_FileSchema)
    for table, keys in _INHERITED.items():
        for key in keys:
            shown = made["$defs"][table.__name__]["properties"][file_key(key)]
            shown.pop("default", None)
            shown["x-default"] = "inherited"
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


#: Keys for which ``defaults`` and then the top level speak, where they are left out.
_INHERITED: dict[type[Table], Iterable[str]] = {
    Defaults: (*ConnectionKeys.model_fields, "send_proxy_protocol"),
    Route: Shared.model_fields,
    Action: ("send_proxy_protocol",),
    Target: ("send_proxy_protocol",),
}
