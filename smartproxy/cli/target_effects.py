"""The lines of ``smartproxy explain`` about the target group of a route, its targets, and who would be next.

Without a running proxy every target is taken to be up and idle, and the group is one that has just been started. With one,
:func:`running_lines` shows what it answers.
"""

from __future__ import annotations

from random import random
from typing import TYPE_CHECKING

from twisted.internet.task import Clock

from smartproxy.cli.found_later import found_later
from smartproxy.cli.target_table import state_of
from smartproxy.model.plan import Algorithm
from smartproxy.model.plan.check import CheckKind
from smartproxy.model.plan.target import CLIENT_NAME
from smartproxy.settings.compile.groups import send_header
from smartproxy.settings.compile.levels import SettingLevel, setting_level, shared_levels
from smartproxy.settings.tables.base import inherited
from smartproxy.settings.tables.route import Target
from smartproxy.settings.tables.units import duration_text
from smartproxy.upstream.candidate import address_of
from smartproxy.upstream.groups import Groups
from smartproxy.upstream.member import Members
from smartproxy.wire.proxy_tlv import name_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from smartproxy.cli.admin_client import JsonObject
    from smartproxy.model.facts import Detected
    from smartproxy.model.plan import GroupPlan, RoutePlan, TargetPlan
    from smartproxy.model.plan.check import CheckPlan
    from smartproxy.model.plan.target import TargetHost
    from smartproxy.model.target_status import Upcoming
    from smartproxy.settings import Settings
    from smartproxy.upstream.candidate import Candidate
    from smartproxy.upstream.group import Group

#: The place of a value that the configuration does not set.
_BUILT_IN = "built-in"
#: Names that the line about the next connection lists.
_MOST_NAMED = 10


class TargetEffects:
    """The lines about the group of ``route``, which forwards."""

    def __init__(self, settings: Settings, route: RoutePlan, detected: Detected) -> None:
        assert route.group is not None  # noqa: S101 - the route forwards
        self._settings = settings
        self._route = route
        self._detected = detected
        self._plan: GroupPlan = route.group

    def lines(self, *, foresee: bool) -> Iterator[str]:
        """The group, its targets in the order in which the first connection tries them, and who would be next.

        :param foresee: whether to say who would be next.
        """
        yield from self._group()
        groups = Groups(Members(), Clock(), random)
        groups.apply({self._plan.name: self._plan})
        group = groups.of(self._plan)
        upcoming = group.peek(self._detected.client_ip or None)
        tried: list[Candidate] = []
        yield f"targets, {self._algorithm} by weight; the first connection tries them in this order:"
        while group.candidates and (candidate := _next(group, self._detected.client_ip, tried)) is not None:
            tried.append(candidate)
            yield f"  {len(tried)}. {self._target(candidate)}"
        for candidate in group.candidates:
            if candidate not in tried:
                yield f"  -  {self._target(candidate)}"
        later = list(found_later(self._plan))
        yield from (f"  -  {line}" for line in later)
        if foresee:
            yield self._first(upcoming, is_searching=bool(later))

    def _first(self, upcoming: Upcoming, *, is_searching: bool) -> str:
        """What the first connection gets."""
        if is_searching and upcoming.outcome == "no_target":
            return "next: one that is found; the client waits for the first answer"
        condition = ", while every target is up" if upcoming.outcome == "target" else ""
        return next_line(upcoming.outcome, upcoming.targets, self._draws) + condition

    @property
    def _algorithm(self) -> str:
        algorithm = self._plan.balancing.algorithm
        return algorithm.value if isinstance(algorithm, Algorithm) else "callable"

    @property
    def _draws(self) -> str:
        """What decides among several; empty where that is known."""
        if self._plan.balancing.algorithm is Algorithm.SOURCE and not self._detected.client_ip:
            return "by the client's address: --client-ip"
        return "drawn at random" if self._plan.balancing.algorithm is Algorithm.RANDOM else ""

    def running_lines(self, reply: JsonObject, name: str) -> Iterator[str]:
        """The state of each target in the running proxy called ``name``, and who would be next there.

        :param reply: to ``GET /api/v1/targets`` with this group, and the client if it is known.
        """
        yield f"now, in {name}:"
        for shown in reply["targets"]:
            why = f" ({shown['why']})" if shown["why"] not in {None, "set by hand"} else ""
            differs = shown["state"] == "up" and shown["effectiveWeight"] != shown["weight"]
            slow = f", now {shown['effectiveWeight']:g}" if differs else ""
            yield (
                f"  {shown['name']}: {state_of(shown)}{why}, weight {shown['weight']}{slow}, "
                f"connections {shown['connections']}"
            )
        waiting = reply["targets"][0]["queued"] if reply["targets"] else 0
        if waiting:
            yield f"  clients that wait: {waiting}"
        outcome = reply["next"]["outcome"]
        if outcome == "queue" and not reply["targets"]:
            yield "next: no target is found yet, the client would wait for one"
        else:
            yield next_line(outcome, reply["next"]["targets"], self._draws)

    # -- the group -----------------------------------------------------------------------------------------

    def _group(self) -> Iterator[str]:
        """What the targets have in common."""
        plan, written = self._plan, self._settings.routes[self._route.index].action
        origin = "targetGroups" if written.group is not None else "the route's own targets"
        slow = f", slowStart {duration_text(plan.balancing.slow_start)}" if plan.balancing.slow_start else ""
        yield f"group: {plan.name} ({origin}), {self._algorithm}{slow}"
        if self._checks != {None}:
            (check, *others) = self._checks
            yield f"  healthCheck: {'see each target' if others else check_text(check)}"
            yield f"  whenDown: {'reset' if plan.reset_when_down else 'keep'}"
        passive = plan.passive
        if passive is None:
            yield "  passiveHealth: false"
        else:
            times = "1 failed dial ejects"
            if passive.failures > 1:
                times = f"{passive.failures} failed dials within {duration_text(passive.window)} eject"
            yield f"  passiveHealth: {times} a target for {duration_text(passive.eject_for)}"
        if plan.queue is not None:
            yield f"  queue: {plan.queue.size} clients for {duration_text(plan.queue.timeout)}"
        elif any(target.max_connections for target in plan.written()):
            yield "  queue: none, a client is refused while every target is at maxConnections"

    # -- a target ------------------------------------------------------------------------------------------

    def _target(self, candidate: Candidate) -> str:
        target = candidate.target
        port = self._detected.port if target.port is None else target.port
        host = candidate.host
        if host == CLIENT_NAME:
            host = self._detected.asked_name or CLIENT_NAME
        where = address_of(host, port)
        named = f"{target.name} " if target.name else ""
        return "; ".join(
            (
                f"{named}{where} {_share(target)}",
                *([f"from {target.source}"] if target.source else ()),
                self._tls(target, host),
                self._header(target),
                *([f"check: {check_text(target.check)}"] if len(self._checks) > 1 else ()),
            )
        )

    @property
    def _checks(self) -> set[CheckPlan | None]:
        return {target.check for target in self._plan.written()}

    def _tls(self, target: TargetPlan, host: TargetHost) -> str:
        if target.tls is None:
            return "without TLS"
        hello = self._detected.hello
        name = target.tls.name_for(
            "callable" if callable(host) else host, None if hello is None else hello.server_name
        )
        return f"TLS as {name}, {'verified' if target.tls.verify else 'not verified'}"

    def _header(self, target: TargetPlan) -> str:
        place = self._header_place(target)
        if target.send_header is None:
            return "no PROXY header" if place == _BUILT_IN else f"no PROXY header ({place})"
        names = [*target.send_header.tlvs, *(name_of(tlv.type) for tlv in target.send_header.custom)]
        tlvs = f" with {', '.join(names)}" if names else ""
        return f"PROXY header version {target.send_header.version}{tlvs} ({place})"

    def _header_place(self, target: TargetPlan) -> str:
        levels = self._header_levels(target)
        # The keys of one that is in a file are not in the settings.
        if all(one is not target for one in self._plan.targets):
            outer = inherited("send_proxy_protocol", *(level.table for level in levels))
            if send_header(outer) != target.send_header:
                return "targetsFile"
        return place_name(setting_level("send_proxy_protocol", levels))

    def _header_levels(self, target: TargetPlan) -> Sequence[SettingLevel]:
        """The places that may set the PROXY header: a shared group has no route."""
        settings, action = self._settings, self._settings.routes[self._route.index].action
        shared = action.group is not None
        targets = settings.target_groups[self._plan.name].targets if shared else action.targets
        found = [one for plan, one in zip(self._plan.targets, targets, strict=False) if plan is target]
        own = [SettingLevel((), written, "target") for written in found if isinstance(written, Target)]
        route = () if shared else (SettingLevel((), action, "route"),)
        return (*own, *route, *shared_levels(settings))


def check_text(check: CheckPlan | None) -> str:
    """A check in words."""
    if check is None:
        return "none"
    port = f" to port {check.port}" if check.port is not None else ""
    tls = " over TLS" if check.tls is not None and check.kind is not CheckKind.TLS else ""
    times = (
        f"every {duration_text(check.interval)}, {duration_text(check.fast_interval)} between states, "
        f"timeout {duration_text(check.timeout)}, rise {check.rise}, fall {check.fall}"
    )
    return f"{check.kind.value}{port}{tls} {times}"


def next_line(outcome: str, targets: Sequence[str], draws: str) -> str:
    """What the next connection would get.

    :param draws: what decides among several targets.
    """
    if outcome == "target":
        if len(targets) == 1:
            return f"next: {targets[0]}"
        left = f" and {len(targets) - _MOST_NAMED} more" if len(targets) > _MOST_NAMED else ""
        decided = f", {draws}" if draws else ""
        return f"next: one of {', '.join(targets[:_MOST_NAMED])}{left}{decided}"
    if outcome == "queue":
        return "next: none has room, the client would wait in the queue"
    return f"next: none, the client would be refused: {outcome}"


def _share(target: TargetPlan) -> str:
    share = f"weight {target.weight}" if target.weight else "weight 0, gets none"
    if target.max_connections:
        share += f", maxConnections {target.max_connections}"
    return f"{share}, backup: only while no other is up" if target.backup else share


def _next(group: Group, client: str, tried: list[Candidate]) -> Candidate | None:
    """The candidate that the first connection tries after those in ``tried``."""
    if not tried:
        return None if group.peek(client).outcome == "no_target" else group.take(client)
    group.failed(tried[-1], "refused", "")
    return group.take(client, tried)


def place_name(level: SettingLevel | None) -> str:
    """The place that sets a value, for a line."""
    return _BUILT_IN if level is None else level.name
