"""Valid and nearly valid inputs to begin with, made by the builders."""

from __future__ import annotations

import struct

from smartproxy.wire import client_hello, postgres, proxy_tlv, proxy_v1, proxy_v2, tls_alert, tls_record
from smartproxy.wire.postgres import EncryptionAnswer, EncryptionRequest
from smartproxy.wire.proxy_header import Tlv
from smartproxy.wire.proxy_tlv import SslClient, SslInfo
from smartproxy.wire.tls_alert import Alert
from tests.settings.formats import as_json, as_toml, as_yaml, route

_V4 = ("192.0.2.1", 56324), ("198.51.100.2", 443)
_V6 = ("2001:db8::1", 56324), ("2001:db8::2", 443)

_SSL = SslInfo(
    SslClient.SSL | SslClient.CERT_CONN, 0, b"TLSv1.3", b"a.example", b"X", others=(Tlv(0x2F, b"o"),)
)
_TLVS = (
    Tlv(proxy_tlv.PP2_TYPE_ALPN, b"h2"),
    Tlv(proxy_tlv.PP2_TYPE_AUTHORITY, b"a.example"),
    Tlv(proxy_tlv.PP2_TYPE_UNIQUE_ID, b"id"),
    Tlv(proxy_tlv.PP2_TYPE_SSL, proxy_tlv.build_ssl(_SSL)),
)

PROXY_V1 = (
    proxy_v1.build(*_V4),
    proxy_v1.build(*_V6),
    proxy_v1.build(None, None),
    b"PROXY UNKNOWN ffff:f...f:ffff 65535\r\n",
    b"PROXY TCP6 ::ffff:192.0.2.1 ::ffff:192.0.2.2 1 65535\r\n",
)
PROXY_V2 = (
    proxy_v2.build(*_V4, tlvs=_TLVS, crc32c=True),
    proxy_v2.build(*_V6, tlvs=_TLVS[:1]),
    proxy_v2.build(_V4[0], _V6[0], datagram=True),
    proxy_v2.build(b"/run/a", b"/run/b"),
    proxy_v2.build(None, None, tlvs=_TLVS[:2]),
    proxy_v2.build(None, None, local=True),
)
PROXY_TLV = (
    proxy_tlv.build_tlvs(_TLVS),
    proxy_tlv.build_ssl(_SSL),
    proxy_tlv.build_ssl(SslInfo(SslClient(0), 18)),
)

HELLO = (
    client_hello.build("www.example.com", ["h2", "http/1.1"]),
    client_hello.build("a.example", record_size=40),
    client_hello.build(None, versions=[0x0303], ticket=b"ticket"),
    client_hello.build("192.0.2.1"),
    client_hello.build(b"bad\0name"),
    client_hello.build("a.example", cipher_suites=[]),
    client_hello.build("a.example", alpn=[""]),
    client_hello.build("a.example", extensions=[(client_hello.PRE_SHARED_KEY, b"x")]),
    # Without extensions, as RFC 5246 allows.
    b"\x16\x03\x01\x00\x2d\x01\x00\x00\x29\x03\x03" + bytes(33) + b"\x00\x02\x13\x01\x01\x00",
)
_MESSAGE = b"\x01\x00\x00\x3c" + bytes(range(60))
TLS_RECORD = (
    tls_record.wrap(tls_record.HANDSHAKE, _MESSAGE),
    tls_record.wrap(tls_record.HANDSHAKE, _MESSAGE, size=3),
    tls_record.wrap(tls_record.HANDSHAKE, b"\x01\x00\x00\xc8" + bytes(200), size=50),
    tls_record.wrap(tls_record.HANDSHAKE, b"\x01\x00\x00\x00"),
)
TLS_ALERT = tuple(tls_alert.build(alert) for alert in (Alert.CLOSE_NOTIFY, Alert.DECODE_ERROR))

HTTP_HEAD = (
    b"GET /a/b?c=d HTTP/1.1\r\nHost: a.example\r\nX-Env:  staging \r\n\r\n",
    b"GET http://A.example:80/x HTTP/1.1\r\nHost: a.example\r\n\r\n",
    b"CONNECT [2001:db8::1]:443 HTTP/1.1\r\nHost: [2001:db8::1]:443\r\n\r\n",
    b"OPTIONS * HTTP/1.0\r\n\r\n",
    b"POST / HTTP/2.0\r\nHost: a\r\n\r\n",
)
HTTP_RESPONSE = tuple(
    struct.pack(">H", status) + rest
    for status, rest in (
        (404, b""),
        (308, b"Location\0https://a.example/\0"),
        (200, b"X\0y\0body"),
        (204, b""),
    )
)
HTTP_ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Env:  staging \r\n\r\nok",
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x02hi",
    b"HTTP/1.0 404\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 204 \r\n\r\n",
)
HTTP_FIELDS = (
    b"Host: a.example\r\nX-Env:  staging \r\nConnection: keep-alive, Upgrade\r\nconnection:close\r\n",
    b"TE: trailers\r\nTrailer: X-Sum\r\nExpect: 100-continue\r\nUpgrade: h2c\r\nX-Empty:\r\n",
    b"Content-Length: 5\r\ncontent-length: 5\r\nTransfer-Encoding: gzip, chunked\r\n",
)
HTTP_FRAMING = (
    b"\1Content-Length: 17\r\n",
    b"\1Transfer-Encoding: Chunked\r\n",
    b"\0Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
    b"\1Content-Length: 0\r\nX: Content-Length: 5\r\n",
    *(b"\1" + block for block in HTTP_FIELDS),
)
HTTP_CHUNKED = (
    b"5\r\nhello\r\n0\r\n\r\n",
    b'A;name="value"\r\n0123456789\r\n1\r\n.\r\n000\r\nX-Sum: 7\r\n\r\nGET / HTTP/1.1\r\n',
    b"10\r\n0123456789abcdef\r\n0\r\n\r\n",
    b"ffffffffffffffff\r\n",
    b"0\r\nHost: a\r\n",
)
POSTGRES = (
    *(postgres.build(request) for request in EncryptionRequest),
    *(postgres.build_answer(answer) for answer in EncryptionAnswer),
    postgres.build_cancel(42, b"\x01\x02\x03\x04"),
    postgres.build_cancel(-1, bytes(range(32))),
)
SNIFF = (
    *HTTP_HEAD,
    *HELLO[:1],
    b"EHLO a.example\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"PURGE /x HTTP/1.1\r\n",
)
HOST = (
    b"www.Example.com.",
    b"192.0.2.1",
    b"2001:DB8::1%eth0",
    b"::ffff:192.0.2.1",
    b"localhost",
    b"::1",
    b"_acme-challenge.a.example",
)
PROXY_DETECT = (*PROXY_V1, *PROXY_V2, *HTTP_HEAD[:1], *HELLO[:1])

_CONFIGURATION = {
    "maxConnections": 20000,
    "proxyIPs": ["192.0.2.0/24"],
    "defaults": {"connectionTimeout": "5s", "initialDataTimeout": 1.5},
    "routes": [
        route("web", [80, "8000-8010"], match={"domains": ["a.example", "*.b.example"], "path": "/x"}),
        route("tls", 443, action={"sendProxyProtocol": {"version": 2, "tlvs": ["authority"]}}),
    ],
}
YAML = (
    as_yaml(_CONFIGURATION).encode(),
    b"a: &a {b: 1, c: [~, true, 0x1f, 0o17, -1.5e3]}\nd:\n  <<: *a\n  e: !!str 1\n",
    b"a: |\n  text\n  more\nb: >-\n  folded\n\"q\\u00e9\": 'it''s'\n? k\n: v\n",
    b"- &x [1]\n- *x\n- {<<: [{a: 1}, {a: 2}]}\n",
)
JSON = (
    as_json(_CONFIGURATION).encode(),
    b'{"a": [1, -2.5e3, true, null, "\\u00e9\\ud83d\\ude00\\n"],\n "b": {"c": {}}, "d": []}',
    b'{"a": 1,\n"a": 2}',
    b'{"a": ' + b"[" * 100 + b"]" * 100 + b"}",
)
TOML = (
    as_toml(_CONFIGURATION).encode(),
    b"a.b = 1 # comment\n[c.\"d e\"]\nf = { g = 1979-05-27T07:32:00Z, h = [1, 2.5,\n 0x1f, inf] }\n[[i]]\nj = 'l'\n[[i]]\n",
    b"a = \"\"\"\nmany\\\n  lines\"\"\"\nb = '''\nliteral'''\nc = 07:32:00\nd = [{e = 1}, {e = 2}]\n",
    b"a" + b".a" * 100 + b" = 1\n",
)
SETTINGS = tuple(bytes([number]) + text for number, texts in enumerate((YAML, JSON, TOML)) for text in texts)

CHANNEL = (
    b"\x00\x00",
    b"\x01\x00",
    b"\x00\x00" + bytes.fromhex("15030300020100"),
    b"\x01\x00" + bytes.fromhex("17030300050102030405"),
    b"\x00\x02" + bytes.fromhex("0005000101000001"),
    b"\x01\x03" + bytes.fromhex("006000010100010700f00210"),
    *(b"\x02\x00" + hello for hello in HELLO),
)
