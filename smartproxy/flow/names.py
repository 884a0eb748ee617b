"""Resolving names in threads that serve nothing else.

Twisted's default resolver calls ``getaddrinfo`` in the reactor's ten threads. With a name server that does not answer, a
call takes 10 to 30 seconds (resolv.conf(5): 5 s for each server, two attempts), so ten such names stop every other name,
and every other use of these threads. :class:`OwnNames` makes the same calls in threads of its own. A resolver that an
embedding program has installed (``installNameResolver``) is used as it is.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

from twisted.internet._resolver import GAIResolver  # the default resolver has no public name
from twisted.internet.interfaces import IHostnameResolver, IReactorPluggableNameResolver, IReactorThreads
from zope.interface import directlyProvides, implementer, providedBy

from smartproxy.flow.threads import DaemonThreads

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twisted.internet.interfaces import IAddress, IHostResolution, IResolutionReceiver


@implementer(IHostnameResolver)
class OwnNames:
    """The reactor's resolver. If it is Twisted's default one, it gets threads of its own.

    :param purpose: part of the threads' names.
    :param most: number of names that are resolved at once.
    """

    def __init__(self, reactor: Any, purpose: str, most: int) -> None:
        self._reactor = reactor
        self._own: GAIResolver | None = None
        if IReactorThreads.providedBy(reactor):
            # It has the one method of a ThreadPool that GAIResolver uses.
            threads: Any = DaemonThreads(reactor, f"smartproxy-{purpose}", most)
            self._own = GAIResolver(reactor, lambda: threads, _addresses)

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Sequence[type[IAddress]] | None = None,
        transportSemantics: str = "TCP",
    ) -> IHostResolution:
        """See IHostnameResolver."""
        names = self._reactor.nameResolver
        if self._own is not None and not has_own_resolver(self._reactor):
            names = self._own
        resolution: IHostResolution = names.resolveHostName(
            resolutionReceiver, hostName, portNumber, addressTypes, transportSemantics
        )
        return resolution


def has_own_resolver(reactor: Any) -> bool:
    """Whether an embedding program has installed a resolver in ``reactor``, so that it is not the system's."""
    return type(reactor.nameResolver) is not GAIResolver


def _addresses(*question: Any, **more: Any) -> Any:
    """As ``getaddrinfo``; every failure is a ``gaierror``, the only one that GAIResolver expects.

    :raises socket.gaierror: also for what is not a valid name (IDNA).
    """
    try:
        return socket.getaddrinfo(*question, **more)
    except (OSError, UnicodeError) as why:
        raise socket.gaierror(socket.EAI_NONAME, str(why)) from None


class _OtherNames:
    """A reactor with another name resolver."""

    def __init__(self, reactor: Any, names: IHostnameResolver) -> None:
        self._reactor = reactor
        self.nameResolver = names
        directlyProvides(self, providedBy(reactor))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)


def with_own_names(reactor: Any, purpose: str, most: int) -> Any:
    """The reactor for a Twisted endpoint or agent, which resolves names with :class:`OwnNames`."""
    if not (IReactorThreads.providedBy(reactor) and IReactorPluggableNameResolver.providedBy(reactor)):
        return reactor
    return _OtherNames(reactor, OwnNames(reactor, purpose, most))
