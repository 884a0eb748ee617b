"""Counts of live connections by client, also where a client is an IPv6 network."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.connections.client_counts import ClientCounts
from smartproxy.security.client_key import client_key

IPS = ("2001:db8::1", "2001:db8::2", "2001:db8:0:1::1", "192.0.2.1")


class ClientCountsTests(SynchronousTestCase):
    def test_networks_are_counted_beside_addresses(self) -> None:
        """Metrics stay per address."""
        counts = ClientCounts()
        counts.regroup(64)
        for ip in IPS:
            counts.add(ip)
        self.assertEqual([counts.of_client(ip) for ip in IPS], [2, 2, 1, 1])
        self.assertEqual(counts.of_client("2001:db8::99"), 2)
        self.assertEqual([counts.may_add(ip, 2) for ip in IPS], [False, False, True, True])
        self.assertTrue(counts.may_add("2001:db8::99", 3))
        self.assertEqual(counts.by_ip, dict.fromkeys(IPS, 1))

    @given(st.lists(st.one_of(st.sampled_from(IPS), st.sampled_from([48, 64, 128])), max_size=40))
    def test_counts_are_right_whenever_the_prefix_changes(self, steps) -> None:
        """A connection opened before a reload may end behind it: nothing is lost, and nothing negative."""
        counts, prefix, live = ClientCounts(), 128, []
        for step in steps:
            if isinstance(step, int):
                prefix = step
                counts.regroup(prefix)
            elif len(live) > 3:
                counts.remove(live.pop(0))
            else:
                live.append(step)
                counts.add(step)
            for ip in IPS:
                same = [one for one in live if client_key(one, prefix) == client_key(ip, prefix)]
                self.assertEqual(counts.of_client(ip), len(same))
        for ip in live:
            counts.remove(ip)
        self.assertEqual((counts.by_ip, counts._by_network), ({}, {}))
