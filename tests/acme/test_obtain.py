"""Obtaining one certificate: the lock and the store come before an order."""

from __future__ import annotations

import resource
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.acme.obtain import Obtain
from smartproxy.acme.storage import AcmeStorage
from smartproxy.acme.store_lock import FailedOrder, OrderAttempts
from smartproxy.errors import AcmeError, AcmeStoreUnusable, DirectoryUnavailable, InvalidCertificate
from smartproxy.flow.threads import call_here
from smartproxy.model.plan import AcmePlan, ChallengeType
from smartproxy.tls.certificate import Certificate, general_name
from tests.tls.made import PEM, Authority, builder, named

CA = Authority()
URL = "https://acme.example/dir"
NAMES = ("a.example", "b.example")


def signed(names: Any, key: Any) -> bytes:
    """The chain for a key that the client has made."""
    made = builder(named(names[0]), CA.subject, key)
    made = made.add_extension(x509.SubjectAlternativeName([general_name(n) for n in names]), critical=False)
    return made.sign(CA.key, hashes.SHA256()).public_bytes(PEM) + CA.pem


class Client:
    """Stands for the directory, and the account there."""

    def __init__(self) -> None:
        self.orders: list[tuple[Any, ...]] = []
        self.waits: Deferred[None] | None = None
        self.fails: Exception | None = None
        self.key: Any = None

    async def client(self) -> Client:
        return self

    async def order(
        self, names: Any, key: Any, preferred: Any, _solver: object, profile: Any, replaces: Any
    ) -> bytes:
        self.orders.append((tuple(names), tuple(preferred), profile, replaces))
        self.key = key
        if self.waits is not None:
            await self.waits
        if self.fails is not None:
            raise self.fails
        return signed(names, key)


def is_good(_stored: Certificate) -> bool:
    return True


def is_not_good(_stored: Certificate) -> bool:
    return False


class ObtainTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.client = Client()
        self.now = 1000.0
        self.obtain = self.of_process()

    def of_process(self, **terms: Any) -> Obtain:
        """What another process on the same store has."""
        plan = AcmePlan(URL, str(self.path), **terms)
        client: Any = self.client
        solver: Any = None
        return Obtain(plan, AcmeStorage(str(self.path), URL), client, solver, call_here, self.wall)

    def wall(self) -> float:
        return self.now

    def begun(
        self, obtain: Obtain, good: Any = is_good, replaces: str | None = None, **more: Any
    ) -> Deferred[Any]:
        return Deferred.fromCoroutine(obtain(NAMES, good, replaces, **more))


class ObtainTests(ObtainTestCase):
    def test_order_is_made_and_kept(self) -> None:
        certificate = self.successResultOf(self.begun(self.obtain))
        self.assertEqual(certificate.names, NAMES)
        self.assertEqual(AcmeStorage(str(self.path), URL).load(NAMES), certificate.plan)
        self.assertEqual(self.client.orders[0][0], NAMES)

    def test_terms_of_the_configuration_are_asked_for(self) -> None:
        obtain = self.of_process(
            key_type="rsa-2048", profile="shortlived", challenges=(ChallengeType.DNS_01,)
        )
        self.successResultOf(self.begun(obtain, replaces="former"))
        self.assertEqual(self.client.orders, [(NAMES, (ChallengeType.DNS_01,), "shortlived", "former")])
        self.assertIsInstance(self.client.key, rsa.RSAPrivateKey)

    def test_each_failed_proof_prefers_the_next_challenge(self) -> None:
        """Port 80 may be closed where port 443 is open: an order after the other with the same would never end."""
        ways = ChallengeType.HTTP_01, ChallengeType.TLS_ALPN_01, ChallengeType.DNS_01
        obtain = self.of_process(challenges=ways)
        for failed in range(5):
            attempts = OrderAttempts(failed_proofs=failed)
            self.successResultOf(Deferred.fromCoroutine(obtain(NAMES, is_not_good, None, attempts)))
        self.assertEqual([asked[1][0] for asked in self.client.orders], [*ways, *ways[:2]])
        self.assertEqual({frozenset(asked[1]) for asked in self.client.orders}, {frozenset(ways)})

    def test_good_one_in_the_store_is_used(self) -> None:
        first = self.successResultOf(self.begun(self.obtain))
        again = self.successResultOf(self.begun(self.of_process()))
        self.assertEqual((again.plan, len(self.client.orders)), (first.plan, 1))

    def test_one_that_is_not_good_is_ordered_again_with_another_key(self) -> None:
        first = self.successResultOf(self.begun(self.obtain))
        second = self.successResultOf(self.begun(self.obtain, is_not_good))
        self.assertNotEqual(first.plan.key, second.plan.key)

    def test_two_processes_make_one_order(self) -> None:
        self.client.waits = Deferred()
        first = self.begun(self.obtain)
        other = self.of_process()
        self.assertIsNone(self.successResultOf(self.begun(other)))
        self.client.waits.callback(None)
        issued = self.successResultOf(first)
        self.assertEqual(self.successResultOf(self.begun(other)).plan, issued.plan)
        self.assertEqual(len(self.client.orders), 1)

    def test_lock_is_released_when_the_order_fails_or_is_cancelled(self) -> None:
        self.client.fails = AcmeError("refused")
        self.failureResultOf(self.begun(self.obtain), AcmeError)
        self.client.fails, self.client.waits = None, Deferred()
        self.now += 5
        under_way = self.begun(self.obtain)
        under_way.cancel()
        self.failureResultOf(under_way)
        self.client.waits = None
        self.assertIsNotNone(self.successResultOf(self.begun(self.of_process())))

    def test_nothing_is_ordered_where_it_could_not_be_kept(self) -> None:
        """Each start would order again, and soon be refused for a week."""
        self.path.write_text("a file in the place of the directory")
        failure = self.failureResultOf(self.begun(self.obtain), AcmeStoreUnusable)
        self.assertIn(str(self.path), str(failure.value))
        self.assertEqual(self.client.orders, [])

    def test_nothing_is_ordered_on_a_full_disk(self) -> None:
        """It takes an empty file, and the certificate would be lost. Each process on the store would order one."""
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        self.addCleanup(resource.setrlimit, resource.RLIMIT_FSIZE, limits)
        resource.setrlimit(resource.RLIMIT_FSIZE, (8192, limits[1]))
        failed = self.begun(self.obtain)
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        failure = self.failureResultOf(failed, AcmeStoreUnusable)
        self.assertIn(f"{self.path}: cannot be written: ", str(failure.value))
        self.assertEqual((self.client.orders, list(self.path.rglob(".*"))), ([], []))

    def test_store_that_cannot_be_written_any_more_loses_no_certificate(self) -> None:
        self.client.waits = Deferred()
        under_way = self.begun(self.obtain)
        (folder,) = self.path.glob("*/certificates")
        folder.rename(folder.with_name("moved"))
        self.client.waits.callback(None)
        self.assertEqual(self.successResultOf(under_way).names, NAMES)

    def test_chain_that_clients_would_not_accept_is_refused(self) -> None:
        async def order(*_: object, **__: object) -> bytes:
            return CA.leaf(*NAMES, number=7).pem

        self.client.order = order  # type: ignore[method-assign]
        self.failureResultOf(self.begun(self.obtain), InvalidCertificate)


class FailureTests(ObtainTestCase):
    """Of several processes on a store, as the workers of a proxy are, one makes an order that fails."""

    def fail(self, failed: AcmeError, attempts: OrderAttempts = OrderAttempts()) -> None:  # noqa: B008 - immutable
        self.client.fails = failed
        self.failureResultOf(self.begun(self.obtain, attempts=attempts), AcmeError)
        self.client.fails = None

    def other(self, since: float = 0.0) -> Any:
        """What comes of it in another process."""
        return self.successResultOf(self.begun(self.of_process(), attempts=OrderAttempts(since=since)))

    def test_others_order_nothing_until_the_next_try(self) -> None:
        """Authorities limit failed proofs: sixteen workers would use up in a minute what one does in an hour."""
        self.fail(AcmeError("no record", "unauthorized"), OrderAttempts(1, 1))
        self.now += 5
        self.assertEqual(self.other(), FailedOrder(1000.0, "no record", 2, 2, None))
        self.assertEqual(len(self.client.orders), 1)
        self.now += 5
        self.assertIsInstance(self.other(), Certificate)

    def test_what_the_directory_asks_for_holds_for_all(self) -> None:
        self.fail(AcmeError("too many", "rateLimited", retry_after=600.0))
        self.now += 599
        self.assertEqual(self.other(), FailedOrder(1000.0, "too many", 1, 0, 600.0))
        self.now += 1
        self.assertIsInstance(self.other(), Certificate)

    def test_order_that_was_asked_for_since_is_made(self) -> None:
        self.fail(AcmeError("no record"))
        self.now += 1
        self.assertIsInstance(self.other(since=1000.5), Certificate)

    def test_failure_before_the_clock_was_set_back_is_ignored(self) -> None:
        self.fail(AcmeError("no record"))
        self.now -= 1
        self.assertIsInstance(self.other(), Certificate)

    def test_directory_that_one_cannot_reach_is_asked_by_others(self) -> None:
        """They may be on other machines, and it counts nothing."""
        self.fail(DirectoryUnavailable("timeout"))
        self.assertIsInstance(self.other(), Certificate)

    def test_success_ends_it(self) -> None:
        self.fail(AcmeError("no record"))
        self.now += 1
        self.assertIsInstance(self.other(since=1000.5), Certificate)
        self.assertEqual([file.read_bytes() for file in self.path.glob("*/locks/*.lock")], [b""])

    def test_damaged_record_is_ignored(self) -> None:
        for content in (b"{", b"null", b'["x", "", 1, 1, null]', b"[1]", b"[1, 1, 1e999, 1, 1]", b"\xff"):
            self.fail(AcmeError("no record"))
            (lock,) = self.path.glob("*/locks/*.lock")
            lock.write_bytes(content)
            self.assertIsInstance(self.other(), Certificate, content)
            for file in self.path.glob("*/certificates/*"):
                file.unlink()
