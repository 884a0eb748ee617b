"""The places where a key of a route may be set: the route, ``defaults``, the top level.

The value of a key is that of the first place that sets it (:func:`~smartproxy.settings.tables.base.inherited`). ``check`` and
``explain`` need to know which place that is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from smartproxy.settings.reading.locations import KeyPath
    from smartproxy.settings.tables.base import Table
    from smartproxy.settings.tables.root import Configuration


class SettingLevel(NamedTuple):
    """One place.

    :ivar path: the path of its table in a file.
    :ivar table: the table.
    :ivar name: names it in a message.
    """

    path: KeyPath
    table: Table
    name: str


def connection_levels(settings: Configuration, index: int) -> tuple[SettingLevel, ...]:
    """The places of the timeouts and keep-alive keys of a route."""
    return (SettingLevel(("routes", index), settings.routes[index], "route"), *shared_levels(settings))


def shared_levels(settings: Configuration) -> tuple[SettingLevel, ...]:
    """The places of the same keys outside of routes."""
    return (
        SettingLevel(("defaults",), settings.defaults, "defaults"),
        SettingLevel((), settings, "top level"),
    )


def security_levels(settings: Configuration, index: int) -> tuple[SettingLevel, ...]:
    """The places of the keys in a route's ``security``."""
    return (
        SettingLevel(("routes", index, "security"), settings.routes[index].security, "route"),
        SettingLevel(("defaults", "security"), settings.defaults.security, "defaults"),
    )


def setting_level(name: str, levels: Sequence[SettingLevel]) -> SettingLevel | None:
    """The first of ``levels`` that sets ``name``; ``None`` where the built-in default applies."""
    return next((level for level in levels if name in level.table.model_fields_set), None)
