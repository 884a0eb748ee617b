"""What a chain lacks: most clients reject a certificate whose intermediate they are not sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.tls.chain import chain_problem
from tests.tls.made import Authority, builder

if TYPE_CHECKING:
    from tests.tls.made import Leaf

ROOT = Authority("root")
OUTER = Authority("outer", above=ROOT)
INNER = Authority("inner", above=OUTER)
OTHER = Authority("other")
#: With the name of ``INNER`` and another key, as after the key of an authority was replaced.
TWIN = Authority("inner", above=OUTER)


class ChainTests(SynchronousTestCase):
    def problem(self, leaf: Leaf, *above: Authority, trusted: tuple[Authority, ...] = ()) -> str:
        chain = [leaf.certificate, *(one.certificate for one in above)]
        names = {one.subject for one in trusted}
        return chain_problem(chain, names.__contains__)

    def setUp(self) -> None:
        self.leaf = INNER.leaf("a.example")

    def test_complete_chains_have_no_problem(self) -> None:
        for above in ((INNER, OUTER), (INNER, OUTER, ROOT)):
            self.assertEqual(self.problem(self.leaf, *above), "")

    def test_last_issuer_is_taken_for_a_root(self) -> None:
        self.assertEqual(self.problem(self.leaf, INNER), "")

    def test_certificate_directly_below_a_trusted_root_needs_no_chain(self) -> None:
        self.assertEqual(self.problem(ROOT.leaf("a.example"), trusted=(ROOT,)), "")

    def test_self_signed_certificate_needs_no_chain(self) -> None:
        self.assertEqual(chain_problem([ROOT.certificate], lambda _: False), "")

    def test_missing_intermediate_is_named(self) -> None:
        self.assertEqual(
            self.problem(self.leaf), "the certificate of its issuer CN=inner is missing from its chain"
        )

    def test_unrelated_certificate_is_named_with_what_is_missing(self) -> None:
        told = self.problem(self.leaf, OTHER)
        self.assertEqual(
            told,
            "CN=other in its chain is not an issuer of it; "
            "the certificate of its issuer CN=inner is missing from its chain",
        )

    def test_issuer_of_the_same_name_with_another_key_is_unrelated(self) -> None:
        told = self.problem(self.leaf, TWIN)
        self.assertIn("CN=inner in its chain is not an issuer of it; ", told)

    def test_unrelated_certificate_beside_a_complete_chain_is_named(self) -> None:
        told = self.problem(self.leaf, INNER, OUTER, ROOT, OTHER)
        self.assertEqual(told, "CN=other in its chain is not an issuer of it")

    def test_intermediate_missing_in_the_middle_is_named(self) -> None:
        told = self.problem(self.leaf, INNER, ROOT)
        self.assertEqual(
            told,
            "CN=root in its chain is not an issuer of it; "
            "the certificate of its issuer CN=outer is missing from its chain",
        )

    def test_wrong_order_is_named_with_the_pair(self) -> None:
        for above in ((OUTER, INNER), (OUTER, INNER, ROOT)):
            told = self.problem(self.leaf, *above)
            self.assertEqual(told, "its chain is in the wrong order: CN=outer must follow CN=inner")
        told = self.problem(self.leaf, ROOT, INNER, OUTER)
        self.assertEqual(told, "its chain is in the wrong order: CN=root must follow CN=outer")

    def test_cross_signed_root_is_related(self) -> None:
        """Both ways up are sent, for clients that trust one root only."""
        cross = Authority("root", above=OTHER)
        cross.certificate = _signed(OTHER, ROOT)
        self.assertEqual(self.problem(self.leaf, INNER, OUTER, ROOT, cross, OTHER), "")


def _signed(signer: Authority, subject: Authority) -> x509.Certificate:
    made = builder(subject.subject, signer.subject, subject.key)
    made = made.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    return made.sign(signer.key, hashes.SHA256())
