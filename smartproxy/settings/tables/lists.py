"""Lists that may be written as one value: ``domains: example.com`` is ``domains: [example.com]``.

::

    Domains = Annotated[list[Domain], OneOrList()]

The table has a list in both cases. The message about a single value names its key, without an index.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from pydantic_core import core_schema

from smartproxy.settings.tables.shapes import one_or_list

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic.json_schema import JsonSchemaValue

_ONE: Final = "<one>"
_LIST: Final = "<list>"


class OneOrList:
    """Marks a list, in ``Annotated``, whose only item may be written without brackets."""

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        items = handler(source)
        assert items["type"] == "list"  # noqa: S101 - it marks lists only
        one = core_schema.no_info_after_validator_function(_in_list, items["items_schema"])
        return core_schema.tagged_union_schema({_ONE: one, _LIST: items}, one_or_list)

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        assert schema["type"] == "tagged-union"  # noqa: S101 - as made above
        choices = schema["choices"]
        one, items = (handler(choices[tag]) for tag in (_ONE, _LIST))
        return {"oneOf": [one, items]}


def _in_list(one: object) -> list[object]:
    return [one]
