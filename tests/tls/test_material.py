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
        self.assertEqual(found, [cached.context for cached in made.values()])
        self.assertEqual(self.material.cache._contexts, made)

    def test_routes_with_the_same_certificates_and_options_are_looked_at_once(self):
        """5,000 routes that share a directory of 5,000 certificates took minutes otherwise."""
        routes = [talk.route(name=f"r{number}") for number in range(50)]
        routes.append(talk.route(name="other", alpn=("h2",)))
        plan = talk.proxy(*routes, certificates=(ONE.plan("one.pem"), OTHER.plan("other.pem")))
        contexts, asked = self.material.prepare(plan), []
        get = self.material.cache.get
        self.material.cache.get = lambda *args, **more: asked.append(args) or get(*args, **more)
        contexts.make_all()
        self.assertEqual(len(asked), 4)
        self.assertEqual(len(self.material.cache._contexts), 4)
