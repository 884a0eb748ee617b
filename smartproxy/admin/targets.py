"""The endpoints of targets: what state they are in, and setting it by hand."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from smartproxy.admin.request import json_reply, refusal
from smartproxy.errors import UnknownTarget
from smartproxy.model.timestamps import Moment
from smartproxy.wire.host import normalise_address

if TYPE_CHECKING:
    from smartproxy.admin.control import IProxyControl
    from smartproxy.admin.request import AdminRequest, Reply
    from smartproxy.admin.router import Methods
    from smartproxy.model.target_status import ShownCheck, ShownTarget

_KEYS = frozenset({"state", "weight"})


class TargetsApi:
    """``/api/v1/targets``."""

    def __init__(self, control: IProxyControl) -> None:
        self._control = control

    def table(self) -> dict[str, Methods]:
        """The table of paths for the router."""
        return {
            "/api/v1/targets": {"GET": self.targets},
            "/api/v1/targets/*/*": {"PUT": self.set_by_hand},
        }

    async def targets(self, request: AdminRequest) -> Reply:
        """The targets of every group, or of the one that ``group`` names, with what its next connection would get.

        ``clientIp`` is the client of that connection.
        """
        group, client = request.query.get("group"), request.query.get("clientIp")
        if client is not None and group is None:
            return refusal(400, "clientIp needs group")
        try:
            client = None if client is None else normalise_address(client)
        except ValueError:
            return refusal(400, "clientIp must be an IP address")
        try:
            targets = await self._control.targets(group)
            shown: dict[str, object] = {"targets": [_target(one) for one in targets]}
            if group is not None:
                shown["next"] = (await self._control.peek(group, client))._asdict()
        except UnknownTarget as unknown:
            return refusal(404, str(unknown))
        return json_reply(shown)

    async def set_by_hand(self, request: AdminRequest) -> Reply:
        """Set ``state``, ``weight`` or both. 404 for an unknown target; 422 for a body that is not valid."""
        group, name = request.items
        try:
            shown = await self._control.set_target(group, name, _wanted(request.body))
        except UnknownTarget as unknown:
            return refusal(404, str(unknown))
        except ValueError as invalid:
            return refusal(422, str(invalid))
        return json_reply(_target(shown))


def _wanted(body: bytes) -> dict[str, object]:
    """Parse the body of ``PUT``.

    :raises ValueError: if it is not valid.
    """
    try:
        given: object = json.loads(body)
    except (ValueError, RecursionError):
        raise ValueError('the body must be JSON, like {"state": "drain"} or {"weight": 3}') from None
    if not isinstance(given, dict) or not given or given.keys() - _KEYS:
        raise ValueError('the body must be an object with "state", "weight" or both')
    return given


def _target(shown: ShownTarget) -> dict[str, object]:
    return {
        "group": shown.group,
        "name": shown.name,
        "address": shown.address,
        "state": shown.state,
        "why": shown.why,
        "setByHand": shown.set_by_hand,
        "weight": shown.weight,
        "effectiveWeight": shown.effective_weight,
        "backup": shown.backup,
        "connections": shown.connections,
        "queued": shown.queued,
        "bytesReceived": shown.received,
        "bytesSent": shown.sent,
        "lastCheck": _check(shown.last_check),
    }


def _check(shown: ShownCheck | None) -> dict[str, object] | None:
    if shown is None:
        return None
    return {"at": Moment(shown.at, 0.0).iso(0.0), "ok": shown.ok, "detail": shown.detail}
