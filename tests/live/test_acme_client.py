"""The ACME client against pebble: another reader of the RFC, which rejects nonces and looks for real."""

from __future__ import annotations

import base64
import random
import time
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from twisted.internet import reactor, tcp
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase
from twisted.web.resource import Resource
from twisted.web.server import Site

from smartproxy.acme.ari import certificate_id
from smartproxy.acme.client import AcmeClient
from smartproxy.acme.dns import DnsSolver
from smartproxy.acme.jose import AccountKey
from smartproxy.acme.requests import AcmeRequests
from smartproxy.errors import AcmeError, DirectoryUnavailable
from smartproxy.model.plan import ChallengeType, ExternalAccount
from smartproxy.tls.certificate import names_of
from tests.live.case import LiveCase
from tests.live.certificates import Authority
from tests.live.pebble import Pebble
from tests.live.programs import needed

_HTTP = (ChallengeType.HTTP_01,)
_DNS = (ChallengeType.DNS_01,)
#: Two customers, as in pebble's examples.
_SECRET = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"
#: A command for dns-01: it tells pebble's name server.
_COMMAND = """\
#!/bin/sh
case "$1" in
    present) path=set-txt body="{\\"host\\": \\"$2\\", \\"value\\": \\"$3\\"}" ;;
    cleanup) path=clear-txt body="{\\"host\\": \\"$2\\"}" ;;
esac
echo "$1 $2"
exec curl --silent --show-error --fail --noproxy '*' --data "$body" %s/$path
"""


class HttpSolver(Resource):
    """Answers http-01 where pebble looks."""

    isLeaf = True

    def __init__(self):
        super().__init__()
        self.answers = {}
        self.asked = []

    def render_GET(self, request):
        self.asked.append(request.path)
        found = self.answers.get(request.path.decode())
        if found is None:
            request.setResponseCode(404)
            return b"no such token"
        return found.encode()

    async def present(self, challenge):
        self.answers[f"/.well-known/acme-challenge/{challenge.token}"] = challenge.key_authorization

    async def cleanup(self, challenge):
        del self.answers[f"/.well-known/acme-challenge/{challenge.token}"]


class AcmeLiveCase(LiveCase, TestCase):
    """Has pebble, and a client of it."""

    timeout = 120

    def running(self, **options):
        """Start pebble."""
        self.pebble = Pebble(self, **options)
        self.key = AccountKey.generate()
        self.client = self.another(self.key)
        self.certificate_key = ec.generate_private_key(ec.SECP256R1())

    def another(self, key, ca=None):
        """A client with the account of a key."""
        requests = AcmeRequests(reactor, ca or self.pebble.ca.read_bytes())
        self.addCleanup(self.quiet)
        return AcmeClient(self.pebble.directory, requests, key, reactor, time.time, random.random)

    async def quiet(self):
        """Wait until the connections of the last requests have closed."""
        for _ in range(500):
            if not any(isinstance(one, tcp.Connection) for one in reactor.getReaders()):
                return
            await deferLater(reactor, 0.01)

    def solver(self):
        """A solver of http-01."""
        found = HttpSolver()
        port = reactor.listenTCP(self.pebble.http_port, Site(found), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        return found

    def dns_solver(self):
        """A solver of dns-01, by a command."""
        needed("curl")
        path = self.file("hook", _COMMAND % self.pebble.names_url)
        path.chmod(0o755)
        return DnsSolver(str(path), reactor)

    def verified(self, chain, *names):
        """The leaf of a chain that leads to pebble's authority, for these names and our key."""
        leaf, *above = x509.load_pem_x509_certificates(chain)
        root = x509.load_pem_x509_certificate(self.pebble.root)
        for one, issuer in zip((leaf, *above), (*above, root), strict=True):
            one.verify_directly_issued_by(issuer)
        self.assertEqual(set(names_of(leaf)), set(names))
        self.assertEqual(leaf.public_key(), self.certificate_key.public_key())
        return leaf

    async def failed(self, coroutine, kind=AcmeError):
        """The error of what must fail."""
        try:
            await coroutine
        except kind as failed:
            return failed
        raise self.failureException("it has not failed")


class OrderTests(AcmeLiveCase):
    async def test_one_name_is_proven_by_http(self):
        """The shortest way: account, order, chain."""
        self.running()
        solver = self.solver()
        await self.client.register("admin@a.example", None)
        chain = await self.client.order(["a.example"], self.certificate_key, _HTTP, solver)
        self.verified(chain, "a.example")
        self.assertEqual(solver.answers, {})
        self.assertGreater(len(solver.asked), 0)

    async def test_five_names_and_rejected_nonces(self):
        """Pebble rejects one nonce in five, so no run of this test is without rejections."""
        self.running(PEBBLE_WFE_NONCEREJECT="20")
        names, solver = [f"n{number}.example" for number in range(5)], self.solver()
        for _ in range(3):
            chain = await self.client.order(names, self.certificate_key, _HTTP, solver)
            self.verified(chain, *names)

    async def test_wildcard_is_proven_by_a_dns_command(self):
        """The name and its wildcard have two values of one record."""
        self.running()
        names = ("a.example", "*.a.example")
        chain = await self.client.order(names, self.certificate_key, _DNS, self.dns_solver())
        self.verified(chain, *names)

    async def test_address_is_an_identifier_of_its_own_type(self):
        """RFC 8738."""
        self.running()
        chain = await self.client.order(["127.0.0.1"], self.certificate_key, _HTTP, self.solver())
        leaf = self.verified(chain, "127.0.0.1")
        alternatives = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        self.assertEqual(alternatives.get_values_for_type(x509.IPAddress), [ip_address("127.0.0.1")])

    async def test_rsa_key_and_reused_authorizations(self):
        """A renewal that the directory asks no proof for."""
        self.running(PEBBLE_AUTHZREUSE="100")
        solver = self.solver()
        self.certificate_key = rsa.generate_private_key(65537, 2048)
        self.verified(
            await self.client.order(["a.example"], self.certificate_key, _HTTP, solver), "a.example"
        )
        asked = len(solver.asked)
        chain = await self.client.order(["a.example"], self.certificate_key, _HTTP, solver)
        self.verified(chain, "a.example")
        self.assertEqual(len(solver.asked), asked)


class FailedOrderTests(AcmeLiveCase):
    async def test_a_failed_challenge_is_told_in_plain_words(self):
        """The text is all that an operator sees of it."""
        self.running()
        failed = await self.failed(
            self.client.order(["a.example"], self.certificate_key, _HTTP, HttpSolver())
        )
        self.assertEqual(failed.names, ("a.example",))
        self.assertEqual(failed.kind, "connection")
        self.assertRegex(failed.text, r"^http-01 of a\.example: .*refused.* \(connection\); check that ")

    async def test_a_wrong_answer_is_told_in_plain_words(self):
        """As when another server has the name's address."""
        self.running()
        solver = self.solver()

        async def other(challenge):
            solver.answers[f"/.well-known/acme-challenge/{challenge.token}"] = "something else"

        solver.present = other
        failed = await self.failed(self.client.order(["a.example"], self.certificate_key, _HTTP, solver))
        self.assertIn(failed.kind, ("unauthorized", "incorrectResponse"))
        self.assertEqual(solver.answers, {})

    async def test_a_command_that_fails_is_quoted(self):
        """The last line that it printed is in the error."""
        self.running()
        path = self.file("hook", "#!/bin/sh\necho no such zone >&2\nexit 7\n")
        path.chmod(0o755)
        order = self.client.order(["*.a.example"], self.certificate_key, _DNS, DnsSolver(str(path), reactor))
        failed = await self.failed(order)
        self.assertTrue(
            failed.text.endswith("present _acme-challenge.a.example. exited with 7: no such zone"),
            failed.text,
        )

    async def test_a_cancelled_command_is_ended_and_the_answer_removed(self):
        """A stop of the proxy, or a reload, leaves neither a process nor a record."""
        self.running()
        done = self.directory / "done"
        path = self.file(
            "hook", f'#!/bin/sh\necho $$ $1 >> {done}\n[ "$1" = present ] && exec sleep 600\nexit 0\n'
        )
        path.chmod(0o755)
        order = Deferred.fromCoroutine(
            self.client.order(["a.example"], self.certificate_key, _DNS, DnsSolver(str(path), reactor))
        )
        while not (done.exists() and done.read_text().endswith("\n")):
            await deferLater(reactor, 0.02)
        order.cancel()
        await self.failed(order, CancelledError)
        lines = done.read_text().split("\n")
        self.assertEqual([line.partition(" ")[2] for line in lines], ["present", "cleanup", ""])
        process = Path("/proc") / lines[0].split()[0]
        while process.exists():
            await deferLater(reactor, 0.02)

    async def test_a_directory_that_is_down_or_not_trusted_is_told(self):
        """Mistakes with a private directory: its authority, its name, its port."""
        self.running()
        other = Authority(self.directory)
        failed = await self.failed(self.another(self.key, other.file.read_bytes()).directory())
        self.assertIn("certificate verify failed; set acme.ca", failed.text)
        with_address = self.pebble.directory.replace("localhost", "127.0.0.1")
        requests = AcmeRequests(reactor, self.pebble.ca.read_bytes())
        failed = await self.failed(requests("GET", with_address), DirectoryUnavailable)
        self.assertTrue(failed.text.endswith("its certificate is for another name"), failed.text)
        failed = await self.failed(AcmeRequests(reactor, None)("GET", self.pebble.directory))
        self.assertIn("certificate verify failed", failed.text)
        self.pebble.stop()
        failed = await self.failed(self.client.directory(), DirectoryUnavailable)
        self.assertRegex(failed.text, r"^directory https://localhost:\d+/dir: localhost:\d+: .*refused")


class AccountTests(AcmeLiveCase):
    async def test_account_is_made_found_and_changed(self):
        """By the same key, from another client."""
        self.running()
        url = await self.client.register("admin@a.example", None)
        self.assertEqual(await self.another(self.key).register(None, None), url)
        await self.client.update_contact("other@a.example")
        await self.client.update_contact(None)

    async def test_key_is_changed_and_the_former_one_has_no_account(self):
        """RFC 8555, 7.3.5, checked by another implementation."""
        self.running()
        url = await self.client.register("admin@a.example", None)
        new = AccountKey.generate()
        await self.client.roll_key(new)
        chain = await self.client.order(["a.example"], self.certificate_key, _HTTP, self.solver())
        self.verified(chain, "a.example")
        self.assertEqual(await self.another(new).register(None, None), url)
        self.assertNotEqual(await self.another(self.key).register(None, None), url)

    async def test_external_account_is_required_and_bound(self):
        """RFC 8555, 7.3.4, with wrong credentials before the right ones."""
        self.running(external={"kid-1": _SECRET})
        failed = await self.failed(self.client.register("admin@a.example", None))
        self.assertEqual(failed.kind, "externalAccountRequired")
        self.assertIn("acme.eab", failed.text)
        wrong = await self.failed(self.client.register(None, ExternalAccount("kid-1", b"wrong")))
        self.assertIn("account at https://localhost", wrong.text)
        secret = base64.urlsafe_b64decode(_SECRET)
        url = await self.client.register("admin@a.example", ExternalAccount("kid-1", secret))
        self.assertEqual(await self.another(self.key).register(None, None), url)

    async def test_an_account_is_made_again_after_the_directory_forgot_it(self):
        """Pebble forgets all accounts when it is started again."""
        self.running()
        await self.client.register("admin@a.example", None)
        former = self.client.account_url
        self.pebble.stop()
        self.pebble.start()
        chain = await self.client.order(["a.example"], self.certificate_key, _HTTP, self.solver())
        self.verified(chain, "a.example")
        self.assertNotEqual(self.client.account_url, former)

    async def test_renewal_information_is_read_where_there_is_some(self):
        """Pebble has it since 2.5, and Debian's 2.4 has none."""
        self.running()
        chain = await self.client.order(["a.example"], self.certificate_key, _HTTP, self.solver())
        identifier = certificate_id(self.verified(chain, "a.example"))
        found = await self.client.renewal_info(identifier)
        if (await self.client.directory()).renewal_info is None:
            self.assertIsNone(found)
        else:
            self.assertLess(found.window.start, found.window.end)
