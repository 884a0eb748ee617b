"""Asking the operator's program whether a certificate may be ordered for a name (``acme.onDemand.ask``).

::

    approve = Approve(reactor)
    await approve(plan, "a.example")        # True or False; AcmeError where the program cannot be asked

A URL is asked with ``?domain=NAME``, as Caddy does, and approves with a status of 200 to 299. A callable is given the name,
and approves with a true value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from treq.client import HTTPClient
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from smartproxy.acme.log_interval import LogInterval
from smartproxy.acme.text import one_line
from smartproxy.errors import AcmeError
from smartproxy.flow.callables import answer_of
from smartproxy.flow.http_bodies import collected
from smartproxy.flow.names import with_own_names
from smartproxy.flow.quiet_agent import quiet_agent

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import NoReturn

    from twisted.web.iweb import IAgent

    from smartproxy.acme.managed import ManagedCertificate
    from smartproxy.model.plan import AcmePlan, ProxyPlan

#: Seconds for an answer. The client's handshake waits for it.
TIMEOUT: Final = 10.0
#: Bytes of an answer that are read so that the connection ends in order; what they say is not looked at.
_MAX_SIZE: Final = 64 * 1024
#: Names of programs that are resolved at once.
_NAMES: Final = 2
_APPROVES: Final = range(200, 300)

log = Logger()


def without_approval(all_: Iterable[ManagedCertificate], plan: ProxyPlan) -> Iterator[ManagedCertificate]:
    """Those of ``all_`` that were ordered on demand, and whose names nothing in ``plan`` can approve any more."""
    has_callable = any(
        route.tls is not None and route.tls.certificate_for is not None for route in plan.routes
    )
    has_program = plan.acme is not None and plan.acme.on_demand is not None
    for managed in all_:
        can_be_approved = has_callable if managed.approved_by_callable else has_program
        if managed.is_on_demand and not (can_be_approved and plan.acme is not None):
            yield managed


class Approve:
    """Asks.

    :param reactor: connects, resolves names, and has the clock.
    :param agent: sends the request; by default one of ``reactor``.
    """

    def __init__(self, reactor: Any, agent: IAgent | None = None) -> None:
        self._reactor = reactor
        self._agent = agent
        self._log_interval = LogInterval(reactor.seconds)

    async def __call__(self, plan: AcmePlan, name: str) -> bool:
        """Whether a certificate may be ordered for ``name``.

        :raises AcmeError: if the program cannot be asked.
        """
        if plan.on_demand is None:
            return False
        ask = plan.on_demand.ask
        try:
            answer = (
                self._asked(ask, name) if isinstance(ask, str) else answer_of("acme.onDemand.ask", ask(name))
            )
            if isinstance(answer, Deferred):
                answer = await answer.addTimeout(TIMEOUT, self._reactor, _timed_out)
        except CancelledError:
            raise
        except Exception as failed:
            why = one_line(str(failed)) or type(failed).__name__
            if self._log_interval.may_log():
                log.error(  # noqa: TRY400 - no traceback: it is the operator's program that fails
                    "acme.onDemand.ask cannot be asked about {name}: {why}", name=name, why=why
                )
            raise AcmeError(f"acme.onDemand.ask cannot be asked: {why}") from failed
        return bool(answer)

    def _asked(self, url: str, name: str) -> Deferred[bool]:
        return Deferred.fromCoroutine(self._get(f"{url}{'&' if '?' in url else '?'}domain={quote(name)}"))

    async def _get(self, url: str) -> bool:
        if self._agent is None:
            self._agent = quiet_agent(with_own_names(self._reactor, "acme-ask-name", _NAMES))
        # A new client for each request, because a client keeps cookies.
        response = await HTTPClient(self._agent).get(
            url, allow_redirects=False, unbuffered=True, reactor=self._reactor
        )
        await collected(response, _MAX_SIZE, AcmeError)
        return response.code in _APPROVES


def _timed_out(_: object, timeout: float) -> NoReturn:
    raise AcmeError(f"no answer within {timeout:g} s")
