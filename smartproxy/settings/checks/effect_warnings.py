"""Warnings about timeouts and keep-alive keys that have no effect on any connection, because of other keys.

Each of these keys may be set for a route, in ``defaults`` and at the top level. A place is reported where every enabled route that
has its value from there does not use it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from smartproxy.settings.checks.problems import Problem
from smartproxy.settings.compile.answers import may_answer
from smartproxy.settings.compile.http import speaks_http
from smartproxy.settings.compile.levels import connection_levels, setting_level, shared_levels
from smartproxy.settings.tables import units
from smartproxy.settings.tables.base import file_key, inherited

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from smartproxy.settings.compile.levels import SettingLevel
    from smartproxy.settings.reading.locations import KeyPath
    from smartproxy.settings.tables.root import Configuration
    from smartproxy.settings.tables.route import Action

_PROBES: Final = ("keep_alive_initial_delay", "keep_alive_interval", "keep_alive_count")
_EXTENDED: Final = ("keep_alive_inactivity_multiplier", "extended_keep_alive_lifetime")
_TREATMENT: Final = ("keep_alive_treatment", *_EXTENDED)
#: What a connection under ``immortal`` treatment has none of.
_TIMEOUTS: Final = ("inactivity_timeout", "max_connection_lifetime", "half_close_timeout", "timeout_jitter")
_NAMES: Final = ("connection_timeout", *_TIMEOUTS, *_TREATMENT, *_PROBES)
#: Types of actions that never connect to a target.
_LOCAL: Final = frozenset({"redirect", "respond", "static", "block"})


def warnings(settings: Configuration) -> Iterator[Problem]:
    """Every place whose value of a key no route uses."""
    for name in _NAMES:
        for path, reasons in _reasons(settings, name).items():
            if all(reasons):
                yield Problem((*path, file_key(name)), f"has no effect {reasons[0]}")


def _reasons(settings: Configuration, name: str) -> dict[KeyPath, list[str]]:
    """By each place that sets ``name``, why it has no effect on each route that has it from there; ``""`` where it has."""
    found: dict[KeyPath, list[str]] = {}
    for index, route in enumerate(settings.routes):
        levels = connection_levels(settings, index)
        level = setting_level(name, levels) if route.enabled else None
        if level is not None:
            found.setdefault(level.path, []).append(_Use(levels, route.action).why_not(name))
    if () in found and name in _PROBES:  # connections that have no route yet are probed, too
        found[()].append(_Use(shared_levels(settings)[1:], None).why_not(name))
    return found


class _Use(NamedTuple):
    """What uses the values of ``levels``: a route with this action, or connections without a route."""

    levels: Sequence[SettingLevel]
    action: Action | None

    def why_not(self, name: str) -> str:
        """Why ``name`` is not used; ``""`` where it is."""
        keeps_alive = self._value("keep_alive")
        if name in (*_TREATMENT, *_PROBES) and not keeps_alive:
            return "where keepAlive is false"
        if name == "keep_alive_count" and units.seconds(self._value("tcp_user_timeout")):
            return "beside tcpUserTimeout, which takes its place"
        if self.action is None:
            return ""
        if name == "connection_timeout":
            is_local = self.action.type in _LOCAL
            return f'for type "{self.action.type}", which connects to no target' if is_local else ""
        treatment = str(self._value("keep_alive_treatment")) if keeps_alive else "standard"
        return self._why_not_under(treatment, name, self.action)

    def _why_not_under(self, treatment: str, name: str, action: Action) -> str:
        if speaks_http(action) or may_answer(action):
            if name not in _TREATMENT:
                return ""
            return "on HTTP, which has http.keepAliveTimeout and http.websocket.idleTimeout"
        is_unused = name in _EXTENDED and treatment != "extended"
        if is_unused or (name in _TIMEOUTS and treatment == "immortal"):
            return f'where keepAliveTreatment is "{treatment}"'
        return ""

    def _value(self, name: str) -> object:
        return inherited(name, *(level.table for level in self.levels))
