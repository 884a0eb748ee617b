"""Construction of what orders certificates by ACME."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any

from smartproxy.acme.approval import Approve
from smartproxy.acme.directory_in_use import DirectoryInUse
from smartproxy.acme.on_demand import OnDemandOrders
from smartproxy.acme.requests import AcmeRequests
from smartproxy.acme.service import AcmeService
from smartproxy.flow.threads import thread_for

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from smartproxy.acme.answers import ChallengeAnswers
    from smartproxy.acme.storage import AcmeStorage
    from smartproxy.metrics.counters import Counters
    from smartproxy.model.plan import AcmePlan
    from smartproxy.tls.store import CertificateStore

#: Threads that wait for the disk of the store, or make keys: an RSA key takes a tenth of a second.
_THREADS = 2


def acme_service(
    store: CertificateStore, reactor: Any, clock: IReactorTime, counters: Counters
) -> AcmeService:
    """What takes care of automatic certificates.

    :param store: shows them to clients.
    :param clock: monotonic.
    """
    in_thread = thread_for("acme", reactor, _THREADS)

    def make_directory(plan: AcmePlan, storage: AcmeStorage, answers: ChallengeAnswers) -> DirectoryInUse:
        requests = AcmeRequests(reactor, plan.ca)
        return DirectoryInUse(
            plan, storage, answers, requests, reactor, clock, time.time, random.random, in_thread
        )

    return AcmeService(store, counters, clock, random.random, time.time, in_thread, make_directory)


def on_demand_of(acme: AcmeService, reactor: Any, clock: IReactorTime, processes: int) -> OnDemandOrders:
    """What orders certificates for names that clients ask for, in each of so many processes."""
    in_thread = thread_for("acme-on-demand", reactor, _THREADS)
    return OnDemandOrders(acme, Approve(reactor), clock.seconds, in_thread, processes)
