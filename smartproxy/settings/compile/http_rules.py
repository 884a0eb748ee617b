"""Compiles the rules of a route for headers and paths, each with what it inherits from ``defaults``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from smartproxy.http.header_rules import HeaderRules, spellings_of
from smartproxy.http.rewrite import target_rewriter
from smartproxy.http.templates import Template, compiled
from smartproxy.model.plan import RewritePlan
from smartproxy.settings.tables.base import inherited

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smartproxy.settings.tables.http import HeaderChanges, MessageHeaders
    from smartproxy.settings.tables.root import Configuration
    from smartproxy.settings.tables.route import Route

#: What rules are for, under its key.
MessageKind = Literal["request", "response"]
#: What a rule does, under its key.
ChangeKind = Literal["set", "add", "remove"]


class HeaderRule(NamedTuple):
    """One rule.

    :ivar value: ``None`` for one that removes.
    :ivar level: ``route`` or ``defaults``, whichever has it.
    :ivar key: its key behind ``set``, ``add`` or ``remove``.
    """

    change: ChangeKind
    name: str
    value: str | None
    level: Literal["route", "defaults"]
    key: str | int


def rules_in_force(route: Route, settings: Configuration, kind: MessageKind) -> list[HeaderRule]:
    """The rules of ``route``, and those of ``defaults`` for names that it has no rule for."""
    own = list(_rules(_changes(route.action.headers, kind), "route"))
    named = {name_of(rule.name, kind) for rule in own}
    shared = _rules(_changes(settings.defaults.headers, kind), "defaults")
    return [*(rule for rule in shared if name_of(rule.name, kind) not in named), *own]


def name_of(name: str, kind: MessageKind) -> str:
    """A name in the form by which rules are compared."""
    return spellings_of(name) if kind == "request" else name.lower()


def header_rules(route: Route, settings: Configuration, kind: MessageKind) -> HeaderRules | None:
    """The compiled rules; ``None`` where there are none."""
    rules = rules_in_force(route, settings, kind)
    if not rules:
        return None

    def templates(change: ChangeKind) -> dict[str, Template]:
        return {
            rule.name: compiled(rule.value, route.match.path, is_shared=rule.level == "defaults")
            for rule in rules
            if rule.change == change and rule.value is not None
        }

    removed = [rule.name for rule in rules if rule.change == "remove"]
    return HeaderRules(templates("set"), templates("add"), removed, of_requests=kind == "request")


def rewrite_plan(route: Route, settings: Configuration) -> RewritePlan | None:
    """How paths and Host are changed; ``None`` where they are not."""
    levels = (route.action.rewrite, settings.defaults.rewrite)
    path, prefix, host = (inherited(name, *levels) for name in ("path", "strip_prefix", "host"))
    if path is None and prefix is None and host == "preserve":
        return None
    is_shared = "path" not in route.action.rewrite.model_fields_set
    rewriter = target_rewriter(path, prefix or "", route.match.path, is_shared=is_shared)
    return RewritePlan(path, prefix or "", host, rewriter)


def _changes(headers: MessageHeaders, kind: MessageKind) -> HeaderChanges:
    return headers.request if kind == "request" else headers.response


def _rules(changes: HeaderChanges, level: Literal["route", "defaults"]) -> Iterator[HeaderRule]:
    for name, value in changes.set.items():
        yield HeaderRule("set", name, value, level, name)
    for name, value in changes.add.items():
        yield HeaderRule("add", name, value, level, name)
    for index, name in enumerate(changes.remove):
        yield HeaderRule("remove", name, None, level, index)
