"""What TLS with clients is made of, made before there is an event loop."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from smartproxy.tls.material import TlsMaterial
from tests.tls import talk
from tests.tls.made import Authority

CA = Authority()
ONE, OTHER = CA.leaf("one.example"), CA.leaf("other.example")


class MaterialTests(SynchronousTestCase):
    def setUp(self):
        self.material = TlsMaterial()
        self.plan = talk.proxy(talk.route(ONE.plan("one.pem"), OTHER.plan("other.pem")))
        self.contexts = self.material.prepare(self.plan)

    def test_nothing_is_in_force_when_it_is_prepared(self):
        self.assertEqual(len(self.material.store.certificates), 0)

    def test_every_context_is_made_at_once(self):
        self.contexts.make_all()
        made = dict(self.material.cache._contexts)
        self.assertEqual(len(made), 2)
        found = [
            self.contexts.for_hello(self.plan.routes[0], talk.hello(name))
            for name in ("one.example", "other.example")
        ]
        self.assertEqual(found, list(made.values()))
        self.assertEqual(self.material.cache._contexts, made)
