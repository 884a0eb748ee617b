"""Warnings about durations and sizes: numbers in another unit, and timeouts that are not in effect as they are written."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from smartproxy.settings.checks.problems import Problem, got
from smartproxy.settings.compile.http import speaks_http
from smartproxy.settings.compile.levels import connection_levels, setting_level, shared_levels
from smartproxy.settings.tables import units
from smartproxy.settings.tables.base import Table, file_key, inherited
from smartproxy.settings.tables.types import Least

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from smartproxy.settings.compile.levels import SettingLevel
    from smartproxy.settings.reading.locations import KeyPath
    from smartproxy.settings.tables.root import Configuration


def warnings(settings: Configuration) -> Iterator[Problem]:
    """Everything about durations and sizes."""
    yield from _numbers(settings, ())
    for place in _places(settings):
        yield from _not_in_effect(place)


def _numbers(value: object, path: KeyPath) -> Iterator[Problem]:
    """Numbers without a unit, below the least value of their key, in all tables of ``value``."""
    if isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _numbers(item, (*path, index))
    elif isinstance(value, Table):
        for name in type(value).model_fields:  # in the order of the schema: a set has none
            if name in value.model_fields_set:
                place, inner = (*path, file_key(name)), getattr(value, name)
                yield from _number(inner, value, name, place)
                yield from _numbers(inner, place)


def _number(written: object, table: Table, name: str, path: KeyPath) -> Iterator[Problem]:
    if not isinstance(written, int | float) or not written:
        return
    for least in type(table).model_fields[name].metadata:
        if isinstance(least, Least) and written < least.value:
            unit = "milliseconds" if least.unit == "ms" else least.unit
            yield Problem(
                path,
                f"is {written:g} {least.unit}, because a number without a unit is {unit}; "
                f'did you mean "{written:g}{least.meant}"?',
            )


class _Place(NamedTuple):
    """A table with connection keys.

    :ivar levels: the places that apply to its routes, in their order; it is one of them.
    """

    own: SettingLevel
    levels: Sequence[SettingLevel]
    is_http: bool = False  # of a route whose timeouts keepAliveTreatment does not change

    def is_set(self, name: str) -> bool:
        """Whether ``name`` is set in any of the places."""
        return setting_level(name, self.levels) is not None

    def sets(self, name: str) -> bool:
        """Whether ``name`` is set here."""
        return name in self.own.table.model_fields_set

    def value(self, name: str) -> object:
        return inherited(name, *(level.table for level in self.levels))


def _places(settings: Configuration) -> Iterator[_Place]:
    shared = shared_levels(settings)
    for level in shared:
        yield _Place(level, shared)
    for index, route in enumerate(settings.routes):
        if route.enabled:
            levels = connection_levels(settings, index)
            yield _Place(levels[0], levels, speaks_http(route.action))


def _not_in_effect(place: _Place) -> Iterator[Problem]:
    if place.value("keep_alive") and not place.is_http and not place.is_set("keep_alive_treatment"):
        yield from _extended_unasked(place)
    jitter = getattr(place.own.table, "timeout_jitter", 0)
    if jitter == 1:
        path = (*place.own.path, "timeoutJitter")
        yield Problem(path, "is 1: a timeout may be shortened to nothing; 0.1 is a tenth")


def _extended_unasked(place: _Place) -> Iterator[Problem]:
    """Timeouts that the default treatment, ``extended``, changes, where nothing shows that this is meant."""
    table = place.own.table
    if place.sets("inactivity_timeout") and not place.is_set("keep_alive_inactivity_multiplier"):
        written = getattr(table, "inactivity_timeout")  # noqa: B009 - the levels are of three classes
        factor = place.value("keep_alive_inactivity_multiplier")
        effective = units.seconds(written) * float(str(factor))
        if effective:
            yield Problem(
                (*place.own.path, "inactivityTimeout"),
                f"is {units.duration_text(effective)} in effect: the default keepAliveTreatment, extended, multiplies it by "
                f'{factor:g}; set keepAliveTreatment beside it ("standard" keeps it as written) {got(written)}',
            )
    if place.sets("max_connection_lifetime") and not place.is_set("extended_keep_alive_lifetime"):
        written = getattr(table, "max_connection_lifetime")  # noqa: B009 - likewise
        lifetime = units.duration_text(units.seconds(place.value("extended_keep_alive_lifetime")))
        yield Problem(
            (*place.own.path, "maxConnectionLifetime"),
            f"is not in effect: under the default keepAliveTreatment, extended, extendedKeepAliveLifetime ({lifetime}) "
            f'applies; set keepAliveTreatment beside it ("standard" makes it apply) {got(written)}',
        )
