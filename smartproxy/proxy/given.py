"""What a process is given that runs one of several copies of a proxy, instead of making or opening it itself.

::

    given = Given(plan, TlsMaterial(), first_connection=3 * 10**11)
    given.sockets[ListeningSocket(("", 443), 2)] = opened
    proxy = ProxyCore(settings, plan, reactor, given)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    import socket

    from smartproxy.model.plan import ProxyPlan
    from smartproxy.proxy.interfaces import LimitsOfProcesses
    from smartproxy.routing.table import RouteTable
    from smartproxy.tls.material import TlsMaterial
    from smartproxy.tls.server_contexts import ServerContexts

#: Address and port as configured; the address ``""`` is every address.
Place: TypeAlias = tuple[str, int]


class ListeningSocket(NamedTuple):
    """Which of the listening sockets it is.

    :ivar slot: tells the sockets of one place apart; 0 where a process has bound its own.
    """

    place: Place
    slot: int = 0


class Indexes(NamedTuple):
    """What is made of a configuration and then only looked at.

    Processes that are forked after that share it. It takes some kilobytes for each route.

    :ivar contexts: ``None`` where a process has to look for certificates that ACME has issued meanwhile.
    """

    table: RouteTable
    contexts: ServerContexts | None


class Given:
    """What it is given.

    :param plan: the configuration, compiled; held until its indexes are taken.
    :param tls: certificates and contexts that exist already.
    :param first_connection: the number of its first connection.
    :param shared_limits: holds the limits over all processes; ``None``: each limit is one of this process.
    :param access_log: a descriptor of the access log, for a user that may not open it.
    :param indexes: of ``plan``.
    :param is_reporting: whether this process logs and counts changes of certificates, which all make.
    :ivar sockets: listening sockets; those that a proxy listens on have been taken out.
    :ivar sockets_of_change: those that are listened on when a prepared configuration comes into force, likewise.
    """

    def __init__(
        self,
        plan: ProxyPlan,
        tls: TlsMaterial,
        first_connection: int = 1,
        shared_limits: LimitsOfProcesses | None = None,
        access_log: int | None = None,
        indexes: Indexes | None = None,
        *,
        is_reporting: bool = True,
    ) -> None:
        self.plan: ProxyPlan | None = plan
        self.tls = tls
        self.first_connection = first_connection
        self.shared_limits = shared_limits
        self.access_log = access_log
        self._indexes = indexes
        self.is_reporting = is_reporting
        self.sockets: dict[ListeningSocket, socket.socket] = {}
        self.sockets_of_change: dict[ListeningSocket, socket.socket] = {}

    def take_indexes(self, plan: ProxyPlan) -> Indexes | None:
        """The indexes of ``plan``, once, if they were given. The plan is not held any more."""
        if plan is not self.plan:
            return None
        indexes = self._indexes
        # What answers the requests of routes may have a state, which must not outlive the routes.
        self.plan = self._indexes = None
        return indexes
