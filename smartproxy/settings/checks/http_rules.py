"""Problems of the rules for headers and paths (``headers`` and ``rewrite``)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from smartproxy.http.header_rules import REFUSED
from smartproxy.http.rewrite import target_rewriter
from smartproxy.http.templates import compiled
from smartproxy.settings.checks.http import has_http_handler
from smartproxy.settings.checks.problems import Problem, got
from smartproxy.settings.compile.answers import may_answer
from smartproxy.settings.compile.http import ports_by_request, speaks_after_request, speaks_http
from smartproxy.settings.compile.http_rules import MessageKind, name_of, rules_in_force

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smartproxy.settings.compile.http_rules import HeaderRule
    from smartproxy.settings.compile.references import References
    from smartproxy.settings.reading.locations import KeyPath
    from smartproxy.settings.tables.root import Configuration
    from smartproxy.settings.tables.route import Route

_KINDS: Final[tuple[MessageKind, ...]] = ("request", "response")
_CERTIFICATE: Final = "{tls.clientCertificate}"
_WILDCARD: Final = re.compile(r"\*|(?<=/):[A-Za-z_]")
_HOST: Final = "is set with rewrite.host"


def problems(settings: Configuration, references: References) -> Iterator[Problem]:
    """What is wrong with the rules of each route that speaks or answers HTTP. Those of ``defaults`` are reported once."""
    found: dict[tuple[KeyPath, str], Problem] = {}
    by_request = ports_by_request(settings, references.handlers)
    for index, route in enumerate(settings.routes):
        may_speak = speaks_http(route.action) or speaks_after_request(route, by_request)
        if may_speak or may_answer(route.action) or has_http_handler(route, references):
            for problem in _route(route, settings, ("routes", index, "action")):
                found.setdefault((problem.path, problem.message), problem)
    yield from found.values()


def warnings(settings: Configuration) -> Iterator[Problem]:
    """Rules of routes that have no effect, or less than they seem to."""
    for index, route in enumerate(settings.routes):
        if route.enabled and speaks_http(route.action):
            path = ("routes", index, "action")
            yield from _prefix_without_effect(route, (*path, "rewrite", "stripPrefix"))
            for name, value in route.action.headers.request.add.items():
                if _CERTIFICATE in value:
                    message = (
                        "is added beside a header of that name that a client has sent; set replaces that"
                    )
                    yield Problem((*path, "headers", "request", "add", name), f"{message} {got(value)}")


def _prefix_without_effect(route: Route, at: KeyPath) -> Iterator[Problem]:
    prefix, path, pattern = route.action.rewrite.strip_prefix, route.action.rewrite.path, route.match.path
    if prefix is None:
        return
    if path is not None and "{path}" not in path:
        yield Problem(at, f"has no effect beside a path without {{path}} {got(prefix)}")
    elif pattern is not None:
        begin, whole = _WILDCARD.split(pattern, maxsplit=1)[0], prefix.rstrip("/")
        if not begin.startswith(whole) and not (whole.startswith(begin) and begin != pattern):
            yield Problem(at, f"begins no path that match.path matches, so nothing is removed {got(prefix)}")


def _route(route: Route, settings: Configuration, path: KeyPath) -> Iterator[Problem]:
    for kind in _KINDS:
        seen: dict[str, str] = {}
        for rule in rules_in_force(route, settings, kind):
            place = path if rule.level == "route" else ("defaults",)
            at: KeyPath = (*place, "headers", kind, rule.change, rule.key)
            yield from _refused(rule, kind, at)
            yield from _contradicted(rule, kind, at, seen)
            yield from _template(rule, route, at)
    yield from _rewrite(route, settings, path)


def _refused(rule: HeaderRule, kind: MessageKind, at: KeyPath) -> Iterator[Problem]:
    name = rule.name.lower()
    why = _HOST if name == "host" and kind == "request" else REFUSED.get(name)
    if why is not None:
        yield Problem(at, f"is not changed by rules: {why} {got(rule.name)}")


def _contradicted(
    rule: HeaderRule, kind: MessageKind, at: KeyPath, seen: dict[str, str]
) -> Iterator[Problem]:
    """Two rules of one place for the same name: what is set is not removed, too. Beside others it may be added."""
    if rule.change == "add":
        return
    name = name_of(rule.name, kind)
    if name in seen:
        yield Problem(at, f"is also in {seen[name]}, which names the same header {got(rule.name)}")
    seen[name] = rule.change


def _template(rule: HeaderRule, route: Route, at: KeyPath) -> Iterator[Problem]:
    if rule.value is None:
        return
    try:
        compiled(rule.value, route.match.path, is_shared=rule.level == "defaults")
    except ValueError as problem:
        yield Problem(at, _said(problem, rule.level, route, rule.value))


def _rewrite(route: Route, settings: Configuration, path: KeyPath) -> Iterator[Problem]:
    own, shared = route.action.rewrite, settings.defaults.rewrite
    level = "route" if "path" in own.model_fields_set else "defaults"
    written = own.path if level == "route" else shared.path
    try:
        target_rewriter(written, "", route.match.path, is_shared=level == "defaults")
    except ValueError as problem:
        place = path if level == "route" else ("defaults",)
        yield Problem((*place, "rewrite", "path"), _said(problem, level, route, written))


def _said(problem: ValueError, level: str, route: Route, written: str | None) -> str:
    whose = "" if level == "route" else f', on route "{route.name}"'
    return f"{problem}{whose} {got(written)}"
