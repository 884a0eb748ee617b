"""Obtaining one certificate: under its lock in the store, where another process may have obtained it already.

::

    obtain = Obtain(plan, storage, registration, solver, in_thread, wall)
    certificate = await obtain(names, is_good, replaces)     # None while another process orders it

Where an order of any process on the store has just failed, none is made: there is one back-off for all of them.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from twisted.logger import Logger

from smartproxy.acme.storage import issued_plan
from smartproxy.acme.store_lock import FailedOrder, OrderAttempts
from smartproxy.errors import AcmeError, AcmeStoreUnusable, DirectoryUnavailable, InvalidCertificate
from smartproxy.tls.certificate import Certificate
from smartproxy.tls.certificate_files import certificate_from_pem, key_pem

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from smartproxy.acme.interfaces import Solver
    from smartproxy.acme.registration import Registration
    from smartproxy.acme.storage import AcmeStorage
    from smartproxy.acme.store_lock import StoreLock
    from smartproxy.flow.threads import Call
    from smartproxy.model.plan import AcmePlan, KeyKind
    from smartproxy.tls.certificate import PrivateKey

#: CA/Browser Forum Baseline Requirements, 6.1.6.
_RSA_EXPONENT: Final = 65537
_RSA_BITS: Final = 2048

log = Logger()


class Obtain:
    """Obtains certificates for one configuration.

    :param solver: answers challenges.
    :param in_thread: calls what waits for a disk, or takes long.
    :param wall: seconds since the epoch.
    """

    def __init__(
        self,
        plan: AcmePlan,
        storage: AcmeStorage,
        registration: Registration,
        solver: Solver,
        in_thread: Call,
        wall: Callable[[], float],
    ) -> None:
        self._plan = plan
        self._storage = storage
        self._registration = registration
        self._solver = solver
        self._in_thread = in_thread
        self._wall = wall

    async def __call__(
        self,
        names: Sequence[str],
        is_good: Callable[[Certificate], bool],
        replaces: str | None,
        attempts: OrderAttempts = OrderAttempts(),  # noqa: B008 - immutable
    ) -> Certificate | FailedOrder | None:
        """The certificate for ``names``: of the store if it ``is_good``, or else of a new order.

        :param replaces: what identifies the certificate that it replaces (RFC 9773, 5).
        :param attempts: the orders of this process. Each time that control could not be proven another challenge is preferred.
        :return: ``None`` while another process orders it; the failed order of another one that this one has to wait after.
        :raises AcmeError: if the directory does not issue it.
        :raises AcmeStoreUnusable: if the store cannot be used; nothing is ordered then.
        """
        await self._in_thread(self._storage.prepare)
        lock = await self._in_thread(partial(self._storage.lock, names))
        if lock is None:
            return None
        try:
            stored = await self._in_thread(partial(self._stored, names))
            if stored is not None and is_good(stored):
                return stored
            failed = await self._in_thread(lock.failed_order)
            if failed is not None and failed.delays(attempts, self._wall()):
                return failed
            return await self._order_and_record(lock, names, replaces, attempts)
        finally:
            lock.release()

    async def _order_and_record(
        self, lock: StoreLock, names: Sequence[str], replaces: str | None, attempts: OrderAttempts
    ) -> Certificate:
        """Order a certificate, and let other processes know if the directory refuses it."""
        try:
            certificate = await self._order(names, replaces, attempts.failed_proofs)
        except DirectoryUnavailable:
            raise  # it counts nothing, and may be reached from another machine
        except AcmeError as refused:
            proofs = attempts.failed_proofs + refused.is_of_proof
            failed = FailedOrder(
                self._wall(), refused.text, attempts.failures + 1, proofs, refused.retry_after
            )
            await self._in_thread(partial(lock.keep, failed))
            raise
        await self._in_thread(partial(lock.keep, None))
        return certificate

    def _stored(self, names: Sequence[str]) -> Certificate | None:
        """The certificate in the store, if it can be used. In a thread."""
        try:
            plan = self._storage.load(names)
        except InvalidCertificate:
            return None  # it was logged when it was first loaded
        return None if plan is None else Certificate(plan)

    async def _order(self, names: Sequence[str], replaces: str | None, failed_proofs: int) -> Certificate:
        key: PrivateKey = await self._in_thread(partial(_new_key, self._plan.key_type))
        client = await self._registration.client()
        challenges = self._plan.challenges
        first = failed_proofs % len(challenges)
        chain = await client.order(
            names,
            key,
            (*challenges[first:], *challenges[:first]),
            self._solver,
            profile=self._plan.profile,
            replaces=replaces,
        )
        pem = key_pem(key)
        certificate = await self._in_thread(partial(_certificate, chain, pem))
        try:
            await self._in_thread(partial(self._storage.save, names, certificate.plan.chain, pem))
        except AcmeStoreUnusable as problem:
            # It is used all the same: an order less is better than a client that is refused.
            log.error(  # noqa: TRY400 - the text says it all
                "certificate of {names} is lost at the next start: {problem}", names=names, problem=problem
            )
        return certificate


def _new_key(kind: KeyKind) -> PrivateKey:
    if kind == "rsa-2048":
        return rsa.generate_private_key(_RSA_EXPONENT, _RSA_BITS)
    return ec.generate_private_key(ec.SECP256R1())


def _certificate(chain: bytes, key: bytes) -> Certificate:
    """The issued certificate, checked as one from a file is.

    :raises InvalidCertificate: if clients would not accept it.
    """
    plan = certificate_from_pem(chain, key)
    return Certificate(issued_plan(plan.chain, key))
