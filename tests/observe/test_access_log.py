"""The access log: its fields, its formats and its escaping."""

from __future__ import annotations

import json
import select
from pathlib import Path

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.connections.registry import Registry
from smartproxy.metrics.counters import Counters
from smartproxy.model.address import Endpoint
from smartproxy.model.facts import Accepted, ApplicationProtocol, TlsFacts
from smartproxy.model.outcome import CloseReason, EndedBy, RejectReason, RelayKind
from smartproxy.model.plan import AccessLogPlan, CleanupPlan
from smartproxy.model.timestamps import Moment
from smartproxy.observe.access_log import _COMMON_NAMES, AccessLog, common_values
from smartproxy.observe.connection_fields import connection_fields
from smartproxy.observe.line_format import JSON, TEXT, as_text
from smartproxy.wire.proxy_header import ProxyHeader, Tlv

#: Monotonic 100 s is 2026-01-02 03:04:05.678 UTC.
MOMENT = Moment(1767323045.678, 100.0)
HOSTILE = 'a\r\nb\x00\x1b[2J"\\=\x7f\x85\u202e d'


TLVS = (Tlv(2, b"a.example"), Tlv(0xEA, b'\x01v" =;\x1b'))


class AccessLogCase(SynchronousTestCase):
    format = "json"

    def setUp(self):
        self.path = Path(self.mktemp())
        self.counters = Counters()
        self.registry = Registry(self.counters, CleanupPlan(), Clock())
        self.log = AccessLog(
            AccessLogPlan(str(self.path), self.format), self.counters, Clock(), lambda: MOMENT
        )
        self.log.open()
        self.addCleanup(self.log.close)
        self.registry.on_closed.append(self.log.write)

    def ended(self, outcome=CloseReason.NORMAL, sni="a.example.com", path="/cart", tlvs=()):
        """Close a connection of 12.5 seconds and return the lines of the log."""
        record = self.registry.open(Accepted(":443", 443, Endpoint("198.51.100.9", 5000), 87.5))
        self.registry.identify(record, Endpoint("192.0.2.1", 4000))
        self.registry.assign(record, "web")
        record.target, record.protocol = Endpoint("2001:db8::1", 9000), ApplicationProtocol.TLS
        record.sni, record.host = sni, "b.example.com"
        record.link(record.owner, RelayKind.SPLICE)
        record.path, record.attempts, record.dial_seconds = path, 2, 0.125
        record.half_closed(EndedBy.CLIENT)
        record.half_closed(EndedBy.TARGET)
        record.header = ProxyHeader(2, tlvs=tlvs)
        record.moved_in(11, 88.0)
        record.moved_out(22, 88.0)
        return self.closed(record, outcome)

    def refused(self):
        """Refuse a connection and return the lines of the log."""
        record = self.registry.open(Accepted(":443", 443, Endpoint("192.0.2.1", 5000), 99.75))
        return self.closed(record, RejectReason.IP_LIMIT)

    def closed(self, record, outcome):
        self.registry.close(record, outcome, 100.0)
        self.registry.ended.empty()
        self.log.flush()
        return self.path.read_bytes().decode("ascii").split("\n")[:-1]


class JsonTests(AccessLogCase):
    def test_json_line_has_every_field(self):
        (line,) = self.ended()
        self.assertEqual(
            json.loads(line),
            {
                "time": "2026-01-02T03:04:05.678Z",
                "id": 1,
                "listener": ":443",
                "route": "web",
                "clientIp": "192.0.2.1",
                "clientPort": 4000,
                "peerIp": "198.51.100.9",
                "proxyProtocol": 2,
                "proxyTlvs": None,
                "target": "[2001:db8::1]:9000",
                "protocol": "tls",
                "tls": True,
                "sni": "a.example.com",
                "host": "b.example.com",
                "tlsVersion": None,
                "cipher": None,
                "alpn": None,
                "clientCertificate": None,
                "keepAlive": False,
                "bytesReceived": 11,
                "bytesSent": 22,
                "openedAt": "2026-01-02T03:03:53.178Z",
                "lastActivityAt": "2026-01-02T03:03:53.678Z",
                "relay": "splice",
                "path": "/cart",
                "durationSeconds": 12.5,
                "attempts": 2,
                "dialSeconds": 0.125,
                "outcome": "normal",
                "side": "client",
                "detail": None,
            },
        )

    def test_tlvs_of_the_proxy_header_are_a_mapping(self):
        (line,) = self.ended(tlvs=TLVS)
        self.assertEqual(
            json.loads(line)["proxyTlvs"],
            {"authority": "a.example", "0xEA": r"\x01v\x22 =;\x1b".replace(r"\x22", '"')},
        )

    def test_refused_connection_has_a_line(self):
        (line,) = self.refused()
        logged = json.loads(line)
        self.assertEqual((logged["outcome"], logged["durationSeconds"]), ("ip_limit", 0.25))
        self.assertEqual([logged[key] for key in ("route", "target", "sni", "host", "relay")], [None] * 5)

    def test_json_escapes_a_hostile_server_name_reversibly(self):
        (line,) = self.ended(sni=HOSTILE)
        self.assertTrue(line.isprintable())
        self.assertEqual(json.loads(line)["sni"], HOSTILE)

    def test_path_and_detail_are_bounded(self):
        """A line has to fit in an atomic write to a pipe, whatever a client sends."""
        record = self.registry.open(Accepted(":443", 443, Endpoint("192.0.2.1", 5000), 99.75))
        record.path = "/" + "x" * 9000
        record.explain(RejectReason.NO_ROUTE, HOSTILE + "x" * 9000)
        (line,) = self.closed(record, RejectReason.NO_ROUTE)
        logged = json.loads(line)
        self.assertEqual((len(logged["path"]), len(logged["detail"])), (512, 1000))
        self.assertTrue(line.isprintable())
        self.assertLess(len(line), select.PIPE_BUF)

    def test_failed_write_is_counted_and_totals_are_still_updated(self):
        """A full disk must not stop the accounting."""
        self.log.close()
        self.ended()
        self.assertEqual(self.counters.access_log_dropped, 1)
        self.assertEqual(self.registry.ended.failed, 0)
        self.assertEqual(self.counters.routes["web"].closed, {CloseReason.NORMAL: 1})


class TextTests(AccessLogCase):
    format = "text"

    def test_text_line_has_tlvs_as_pairs(self):
        (line,) = self.ended(tlvs=TLVS)
        self.assertIn(
            r'peerIp=198.51.100.9 proxyProtocol=2 proxyTlvs="authority=a.example;0xEA=\\x01v\" =;\\x1b" target=',
            line,
        )
        (line,) = self.ended(tlvs=TLVS[:1])[1:]
        self.assertIn('proxyTlvs="authority=a.example" ', line)

    def test_text_line_has_every_field(self):
        self.assertEqual(
            self.ended()[0],
            "time=2026-01-02T03:04:05.678Z id=1 listener=:443 route=web clientIp=192.0.2.1 clientPort=4000 "
            "peerIp=198.51.100.9 proxyProtocol=2 proxyTlvs=- target=[2001:db8::1]:9000 protocol=tls tls=true sni=a.example.com "
            "host=b.example.com tlsVersion=- cipher=- alpn=- clientCertificate=- keepAlive=false bytesReceived=11 "
            "bytesSent=22 openedAt=2026-01-02T03:03:53.178Z lastActivityAt=2026-01-02T03:03:53.678Z relay=splice "
            "path=/cart durationSeconds=12.5 attempts=2 dialSeconds=0.125 outcome=normal side=client detail=-",
        )

    def test_unknown_value_is_a_dash(self):
        (line,) = self.refused()
        self.assertIn(" route=- ", line)
        self.assertTrue(line.endswith(" outcome=ip_limit side=proxy detail=-"))

    def test_text_escapes_a_hostile_server_name(self):
        (line,) = self.ended(sni=HOSTILE)
        self.assertTrue(line.isprintable())
        self.assertIn('sni="a\\r\\nb\\u0000\\u001b[2J', line)

    def test_value_cannot_be_taken_for_another_field(self):
        self.assertEqual(
            as_text({"a": "x outcome=normal", "b": "-", "c": ""}), 'a="x outcome=normal" b="-" c=""'
        )


class ExchangeTests(AccessLogCase):
    """A line of an exchange has the fields of its connection as the line of a connection would have them."""

    def test_common_fields(self):
        bare = self.registry.open(Accepted(":80", 80, Endpoint("192.0.2.1", 5000), 87.5))
        full = self.registry.open(Accepted(":443", 443, Endpoint("2001:db8::9", 5001), 87.5))
        full.protocol, full.sni, full.relay, full.keep_alive = (
            ApplicationProtocol.TLS,
            HOSTILE,
            RelayKind.SPLICE,
            True,
        )
        full.secured, full.header = TlsFacts("TLSv1.3", "A-B", None, HOSTILE), ProxyHeader(2, tlvs=TLVS)
        for form in (JSON, TEXT):
            for record in (bare, full):
                fields = connection_fields(record, MOMENT)
                self.assertEqual(
                    form.template(_COMMON_NAMES) % common_values(record, MOMENT, form),
                    form.part({name: fields[name] for name in fields if name in _COMMON_NAMES}),
                )
        of_exchanges = {"route", "host", "target", "bytesReceived", "bytesSent", "lastActivityAt", "relay"}
        self.assertEqual(fields.keys() - of_exchanges, set(_COMMON_NAMES))
