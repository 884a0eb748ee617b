"""Compiles targets, and the groups that share connections among them.

A route with targets of its own is a group of the name of the route.
"""

from __future__ import annotations

import re
from base64 import b64decode
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from smartproxy.errors import InvalidTargetsFile
from smartproxy.model.plan import (
    Algorithm,
    BalancingPlan,
    GroupPlan,
    OriginationPlan,
    PassiveHealthPlan,
    QueuePlan,
    SendHeader,
    TargetPlan,
)
from smartproxy.model.plan.check import CheckKind, CheckPlan, HttpCheckPlan, StepPlan
from smartproxy.model.plan.target import Discover
from smartproxy.model.plan.target_file import TargetFile
from smartproxy.settings.compile.chosen_targets import ChosenTargets
from smartproxy.settings.compile.tls import origination, towards
from smartproxy.settings.tables import units
from smartproxy.settings.tables.balancing import HealthCheck, PassiveHealth
from smartproxy.settings.tables.base import inherited
from smartproxy.settings.tables.route import ProxyHeaderSettings, Target
from smartproxy.settings.tables.rules import tlv_value
from smartproxy.wire import proxy_tlv
from smartproxy.wire.host import normalise_address
from smartproxy.wire.proxy_header import Tlv

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import TypeAlias

    from smartproxy.model.address import UnixEndpoint
    from smartproxy.model.plan import Choice
    from smartproxy.settings.compile.references import References
    from smartproxy.settings.compile.targets_files import ListedTargets
    from smartproxy.settings.tables.balancing import Balancing, BalancingDefaults, CheckStep
    from smartproxy.settings.tables.root import Configuration
    from smartproxy.settings.tables.route import Route, SendProxyProtocol, TargetChoice

    #: Checks the answer of a callable that gives a target; raises ValueError.
    ValidTarget: TypeAlias = Callable[[object, References], Target]
    #: Reads the file of the group with this name and these keys; raises InvalidTargetsFile.
    ValidFile: TypeAlias = Callable[[str, Balancing, Configuration, References], ListedTargets]

T = TypeVar("T")

#: Version 2 has checksums, TLVs and UNIX addresses; version 1, the default, is what every backend understands.
_VERSION_2: Final = 2
#: Checks that need no TLS settings.
_WITHOUT_TLS: Final = (CheckKind.CONNECT, CheckKind.PROGRAM)


class Validation(NamedTuple):
    """The checks of what is not in the configuration itself."""

    target: ValidTarget
    file: ValidFile


class GroupPlans:
    """The groups of one configuration, each compiled once.

    :param valid: checks targets that a callable gives, or a file has.
    """

    def __init__(self, settings: Configuration, references: References, valid: Validation) -> None:
        self._settings = settings
        self._references = references
        self._valid = valid
        self._shared = {
            name: self._plan(name, group, group.targets, None)
            for name, group in settings.target_groups.items()
        }
        self._own: list[GroupPlan] = []

    def of(self, route: Route) -> GroupPlan | None:
        """The group of a route that forwards: a shared one, or its own."""
        if route.action.group is not None:
            return self._shared[route.action.group]
        if not route.action.targets and route.action.targets_file is None:
            return None
        plan = self._plan(route.name, route.action, route.action.targets, route)
        self._own.append(plan)
        return plan

    def all(self) -> tuple[GroupPlan, ...]:
        """Every group: the shared ones, and those that :meth:`of` has made."""
        return (*self._shared.values(), *self._own)

    def _plan(
        self, name: str, keys: Balancing, targets: Iterable[Target | TargetChoice], route: Route | None
    ) -> GroupPlan:
        defaults = self._settings.defaults
        balancing = (keys.load_balancing, defaults.load_balancing)
        algorithm = inherited("algorithm", *balancing)
        return GroupPlan(
            name,
            tuple(
                self._target(target, keys, route, self._references)
                if isinstance(target, Target)
                else self._chosen_target(target, keys, route)
                for target in targets
            ),
            BalancingPlan(
                algorithm if callable(algorithm) else Algorithm(algorithm),
                units.seconds(inherited("slow_start", *balancing)),
            ),
            _passive_health(keys, defaults),
            None if keys.queue is None else QueuePlan(keys.queue.size, units.seconds(keys.queue.timeout)),
            keys.when_down == "reset",
            None if keys.targets_file is None else self._file(name, keys, route, self._references),
        )

    def _file(self, name: str, keys: Balancing, route: Route | None, references: References) -> TargetFile:
        """The targets in the file of a group.

        :param references: what the targets refer to.
        """
        listed = self._valid.file(name, keys, self._settings, references)

        def read() -> TargetFile:
            again = references.again()
            found = self._file(name, keys, route, again)
            if not found.targets:
                raise InvalidTargetsFile([f"{listed.path}: has no target"])
            references.targets_files.replace(again.targets_files)
            return found

        targets = tuple(self._target(target, keys, route, references) for target in listed.targets)
        return TargetFile(listed.path, listed.state, targets, read)

    def _target(
        self, target: Target, keys: Balancing, route: Route | None, references: References
    ) -> TargetPlan:
        """A target, with the PROXY header that it inherits unless it sets its own, which may be ``false``."""
        settings = self._settings
        own = () if route is None else (route.action,)
        levels = (target, *own, settings.defaults, settings)
        tls = origination(towards(target, None if route is None else route.action.tls), references.tls)
        return TargetPlan(
            hosts=_hosts(target, references),
            port=None if target.port == "preserve" else target.port,
            weight=target.weight,
            tls=tls,
            send_header=send_header(inherited("send_proxy_protocol", *levels)),
            source=normalise_address(target.bind) if target.bind is not None else "",
            name=target.name or "",
            max_connections=target.max_connections,
            backup=target.backup,
            check=self._check(target, keys, tls, references),
            discover=_discover(target),
        )

    def _chosen_target(self, choice: TargetChoice, keys: Balancing, route: Route | None) -> TargetPlan:
        """A target that a callable gives for each connection, and how its answers are compiled."""
        made = ChosenTargets(
            lambda answer: self._target(
                self._valid.target(answer, self._references), keys, route, self._references
            )
        )
        return TargetPlan(hosts=choice, port=choice, made=made)

    def _check(
        self, target: Target, keys: Balancing, tls: OriginationPlan | None, references: References
    ) -> CheckPlan | None:
        levels = checks_of(target, keys, self._settings.defaults)
        if not levels:
            return None
        written = inherited("type", *levels)
        kind = CheckKind.PROGRAM if callable(written) else CheckKind(written)
        if any("tls" in level.model_fields_set for level in levels):
            tls = origination(inherited("tls", *levels), references.tls)
        if kind is CheckKind.TLS and tls is None:
            tls = OriginationPlan(
                verify=False
            )  # passthrough: whether a handshake succeeds is all that is asked
        return _check_plan(kind, levels, None if kind in _WITHOUT_TLS else tls)


def _hosts(target: Target, references: References) -> tuple[str | UnixEndpoint, ...] | Choice:
    if target.unix is not None:
        return (references.socket_of(target.unix),)
    if target.srv is not None:
        return (target.srv,)
    return target.host if callable(target.host) else tuple(target.hosts())


def _discover(target: Target) -> Discover:
    if target.srv is not None:
        return Discover.SERVICES
    return Discover.ADDRESSES if target.addresses == "all" else Discover.NOTHING


def _check_plan(kind: CheckKind, levels: list[HealthCheck], tls: OriginationPlan | None) -> CheckPlan:
    def value(name: str) -> Any:
        return inherited(name, *levels)

    body = value("expect_body")
    interval, fast_interval = units.seconds(value("interval")), units.seconds(value("fast_interval"))
    if not any("fast_interval" in level.model_fields_set for level in levels):
        fast_interval = min(fast_interval, interval)
    return CheckPlan(
        kind,
        port=value("port"),
        interval=interval,
        fast_interval=fast_interval,
        timeout=units.seconds(value("timeout")),
        rise=value("rise"),
        fall=value("fall"),
        tls=tls,
        http=HttpCheckPlan(
            method=value("method"),
            path=value("path"),
            host=value("host_header"),
            statuses=tuple(units.statuses(written) for written in value("expect_status")),
            body=b"" if body is None else body.encode(),
        ),
        steps=tuple(_step(step) for step in value("steps")),
        program=value("type") if kind is CheckKind.PROGRAM else None,
    )


def _step(step: CheckStep) -> StepPlan:
    return StepPlan(
        send=_bytes(step.send, step.send_base64),
        expect=_bytes(step.expect, step.expect_base64),
        pattern=None if step.expect_regex is None else re.compile(step.expect_regex.encode()),
    )


def _bytes(text: str | None, base64: str | None) -> bytes:
    return b64decode(base64) if base64 is not None else (text or "").encode()


def _passive_health(*levels: BalancingDefaults) -> PassiveHealthPlan | None:
    if inherited("passive_health", *levels) is False:
        return None
    tables = _tables("passive_health", PassiveHealth, *levels) or [PassiveHealth()]
    seconds = (units.seconds(inherited(name, *tables)) for name in ("window", "eject_for"))
    return PassiveHealthPlan(inherited("failures", *tables), *seconds)


def checks_of(*holders: BalancingDefaults | Target) -> list[HealthCheck]:
    """The tables of a check, the first one that sets a key wins; none where the target is not checked."""
    return _tables("health_check", HealthCheck, *holders)


def _tables(key: str, table: type[T], *holders: BalancingDefaults | Target) -> list[T]:
    """What is written under ``key``, the inner level first, up to one that says ``false``; ``true`` is an empty table."""
    levels = []
    for holder in holders:
        if key not in holder.model_fields_set:
            continue
        written = getattr(holder, key)
        if written is False:
            break
        levels.append(table() if written is True else written)
    return levels


def send_header(written: SendProxyProtocol) -> SendHeader | None:
    """The PROXY header that is sent; ``None`` for none."""
    if isinstance(written, ProxyHeaderSettings):
        custom = ((proxy_tlv.type_of(name), tlv_value(value)) for name, value in written.custom_tlvs.items())
        return SendHeader(written.version, tuple(written.tlvs), tuple(Tlv(*each) for each in custom))
    if written is False:
        return None
    return SendHeader(_VERSION_2 if written == _VERSION_2 else 1)  # ``true`` is version 1
