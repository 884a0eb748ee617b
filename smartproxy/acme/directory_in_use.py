"""What orders at the directory of a configuration: account, solver of challenges, advice about renewals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from smartproxy.acme.advice import RenewalAdvice
from smartproxy.acme.client import AcmeClient
from smartproxy.acme.dns import DnsSolver
from smartproxy.acme.obtain import Obtain
from smartproxy.acme.registration import Registration
from smartproxy.model.plan import ChallengeType

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IReactorTime

    from smartproxy.acme.answers import ChallengeAnswers
    from smartproxy.acme.interfaces import Challenge, Solver
    from smartproxy.acme.jose import AccountKey
    from smartproxy.acme.requests import AcmeRequests
    from smartproxy.acme.storage import AcmeStorage
    from smartproxy.flow.threads import Call
    from smartproxy.model.plan import AcmePlan


class _Solvers:
    """Answers each challenge in its way.

    :param answers: those that the proxy answers itself.
    :param dns: changes the DNS; ``None`` where that is not configured.
    """

    def __init__(self, answers: ChallengeAnswers, dns: Solver | None) -> None:
        self._answers = answers
        self._dns = dns

    def _of(self, challenge: Challenge) -> Solver:
        is_dns = challenge.type is ChallengeType.DNS_01
        return self._dns if is_dns and self._dns is not None else self._answers

    async def present(self, challenge: Challenge) -> None:
        """Answer ``challenge`` from now on."""
        await self._of(challenge).present(challenge)

    async def cleanup(self, challenge: Challenge) -> None:
        """Answer it no more."""
        await self._of(challenge).cleanup(challenge)


class DirectoryInUse:
    """One directory, as one configuration uses it.

    :param requests: sends requests to it.
    :param reactor: runs the command that changes the DNS.
    :ivar plan: that configuration.
    :ivar registration: the account.
    :ivar obtain: obtains certificates.
    :ivar advice: asks when to renew them.
    """

    def __init__(
        self,
        plan: AcmePlan,
        storage: AcmeStorage,
        answers: ChallengeAnswers,
        requests: AcmeRequests,
        reactor: Any,
        clock: IReactorTime,
        wall: Callable[[], float],
        chance: Callable[[], float],
        in_thread: Call,
    ) -> None:
        def make_client(key: AccountKey) -> AcmeClient:
            return AcmeClient(plan.directory, requests, key, clock, wall, chance)

        self.plan = plan
        self.registration = Registration(plan, storage, make_client, in_thread, clock)
        solver = _Solvers(answers, None if plan.dns is None else DnsSolver(plan.dns, reactor))
        self.obtain = Obtain(plan, storage, self.registration, solver, in_thread, wall)
        self.advice = RenewalAdvice(self.registration, wall, chance)
