"""The facts of a connection, endpoints, the record, and the outcomes."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from smartproxy.model.address import Endpoint, endpoint
from smartproxy.model.facts import Accepted, Announced, ApplicationProtocol, Detected
from smartproxy.model.outcome import CloseReason, ConnectionState, RejectReason
from smartproxy.model.plan import MatchPlan
from smartproxy.model.record import NO_OWNER, ConnectionRecord, Meter
from smartproxy.wire.client_hello import ClientHello
from smartproxy.wire.http_head import RequestHead
from smartproxy.wire.proxy_header import ProxyHeader

PEER = Endpoint("198.51.100.9", 5000)
ACCEPTED = Accepted(":443", 443, PEER, 10.0)


class FactsTests(SynchronousTestCase):
    def test_the_proxy_version_is_that_of_the_header(self):
        self.assertEqual(Announced(ACCEPTED, PEER).proxy_version, 0)
        for version in (1, 2):
            self.assertEqual(Announced(ACCEPTED, PEER, ProxyHeader(version)).proxy_version, version)

    def test_the_domain_is_what_the_client_asks_for(self):
        announced = Announced(ACCEPTED, Endpoint("192.0.2.1", 1))
        self.assertIsNone(Detected(announced).domain)
        tls = Detected(announced, ApplicationProtocol.TLS, hello=ClientHello(server_name="a.example"))
        http = Detected(
            announced, ApplicationProtocol.HTTP, request=RequestHead("GET", "/", "/", "b.example")
        )
        self.assertEqual((tls.domain, http.domain), ("a.example", "b.example"))
        self.assertEqual((tls.port, tls.client_ip), (443, "192.0.2.1"))

    def test_a_match_needs_first_bytes_only_for_conditions_on_them(self):
        ports = (range(80, 81),)
        self.assertFalse(
            MatchPlan(ports, addresses=("::",), client_ip=frozenset({"192.0.2.1"})).needs_first_bytes
        )
        for asks in (
            {"domains": ("a.example",)},
            {"path": "/"},
            {"path": ""},
            {"methods": frozenset({"GET"})},
            {"headers": (("x", "y"),)},
            {"protocol": "tcp"},
        ):
            self.assertTrue(MatchPlan(ports, **asks).needs_first_bytes, asks)

    def test_a_match_expects_tls_where_a_hello_can_match(self):
        for asks, expected in (
            ({}, False),
            ({"protocol": "tls"}, True),
            ({"protocol": "tcp"}, False),
            ({"domains": ("a.example",)}, True),
            ({"domains": ("a.example",), "protocol": "tls"}, True),
            ({"domains": ("a.example",), "protocol": "http"}, False),
            ({"domains": ("a.example",), "path": "/"}, False),
            ({"domains": ("a.example",), "methods": frozenset({"GET"})}, False),
            ({"domains": ("a.example",), "headers": (("x", "y"),)}, False),
            ({"path": "/"}, False),
        ):
            self.assertIs(MatchPlan((range(80, 81),), **asks).expects_tls, expected, asks)


class AddressTests(SynchronousTestCase):
    def test_a_mapped_socket_address_becomes_ipv4(self):
        self.assertEqual(endpoint(("::ffff:192.0.2.1", 80, 0, 0)), Endpoint("192.0.2.1", 80))
        self.assertEqual(endpoint(("192.0.2.1", 80)), Endpoint("192.0.2.1", 80))

    def test_an_endpoint_is_formatted_as_in_a_url(self):
        self.assertEqual(
            (str(Endpoint("::1", 80)), str(Endpoint("192.0.2.1", 80))), ("[::1]:80", "192.0.2.1:80")
        )


class RecordTests(SynchronousTestCase):
    def test_byte_is_counted_once_in_the_record_and_in_each_meter(self):
        record = ConnectionRecord(1, ACCEPTED)
        record.meters = (Meter(), Meter())
        record.moved_in(3, 11.0)
        record.moved_out(5, 12.0)
        record.moved_out(7, 13.0)
        self.assertEqual((record.bytes_received, record.bytes_sent, record.last_activity_at), (3, 12, 13.0))
        for meter in record.meters:
            self.assertEqual((meter.received, meter.sent), (3, 12))

    def test_a_new_record_has_the_peer_as_client(self):
        record = ConnectionRecord(7, ACCEPTED)
        self.assertEqual(
            (record.id, record.client, record.listener, record.state),
            (7, PEER, ":443", ConnectionState.ACCEPTED),
        )
        self.assertEqual((record.opened_at, record.last_activity_at, record.identified), (10.0, 10.0, False))

    def test_without_an_owner_it_cannot_be_ended(self):
        """Before its first owner, and after its last: a sweep may still hold the record."""
        record = ConnectionRecord(7, ACCEPTED)
        self.assertIs(record.owner, NO_OWNER)
        record.owner.abort(CloseReason.ADMIN)
        self.assertEqual(record.owner.gone(), (False, False))

    def test_it_releases_its_owner_when_it_is_closed(self):
        record = ConnectionRecord(7, ACCEPTED)
        record.owner = object()
        record.closed()
        self.assertIs(record.owner, NO_OWNER)

    def test_a_record_takes_no_other_attributes(self):
        with self.assertRaises(AttributeError):
            ConnectionRecord(1, ACCEPTED).surprise = 1


class OutcomeTests(SynchronousTestCase):
    def test_the_labels_are_the_documented_ones(self):
        self.assertEqual(
            " ".join(CloseReason),
            "normal client_reset upstream_reset inactivity lifetime half_close_timeout zombie_full zombie_half "
            "zombie_stuck target_down shutdown admin route_removed error",
        )
        self.assertEqual(
            " ".join(RejectReason),
            "ip_blocked ip_not_allowed global_limit ip_limit route_limit rate_limit proxy_header_invalid "
            "proxy_header_missing proxy_header_timeout initial_data_timeout no_route upstream_refused "
            "upstream_timeout upstream_unreachable tls_error pending_data_limit draining target_limit "
            "queue_full queue_timeout no_target",
        )
