"""The listening socket of the admin API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.posixbase import PosixReactorBase

from smartproxy.admin.site import make_admin_site
from smartproxy.net.listening import BACKLOG, ListeningPort
from smartproxy.net.port import listening_at
from smartproxy.net.unix_port import UnixPort

if TYPE_CHECKING:
    from twisted.internet.interfaces import IListeningPort

    from smartproxy.admin.control import IProxyControl
    from smartproxy.model.plan import AdminPlan


def listen_for_admin(control: IProxyControl, plan: AdminPlan, reactor: Any) -> IListeningPort:
    """Listen where ``plan`` says.

    :raises CannotListenError: if the address or the path cannot be had.
    """
    site = make_admin_site(control, plan, reactor)
    if not isinstance(reactor, PosixReactorBase):  # in memory
        port: IListeningPort = (
            reactor.listenTCP(plan.port, site, interface=plan.address)
            if plan.unix is None
            else reactor.listenUNIX(plan.unix, site, mode=0o600, wantPID=True)
        )
        return port
    opened: ListeningPort | UnixPort
    if plan.unix is None:
        opened = ListeningPort(plan.port, site, BACKLOG, plan.address, reactor)
    else:
        opened = UnixPort(plan.unix, site, reactor)
    opened.startListening()
    return opened


def admin_note(plan: AdminPlan | None, port: IListeningPort | None) -> str:
    """``; admin 127.0.0.1:8404``, for the log line of a start; nothing without an admin listener."""
    return "" if plan is None or port is None else f"; admin {_address(plan, port)}"


def _address(plan: AdminPlan, port: IListeningPort) -> str:
    """``127.0.0.1:8404`` or ``unix:/run/smartproxy/admin.sock``."""
    return str(listening_at(port)) if plan.unix is None else f"unix:{plan.unix}"
