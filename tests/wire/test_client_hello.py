import ssl
import struct

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.wire import client_hello
from smartproxy.wire.client_hello import PRE_SHARED_KEY, ClientHello
from smartproxy.wire.tls_alert import Alert
from smartproxy.wire.verdict import Done, Malformed, NeedMore
from tests.wire.ways import (
    PROPERTY,
    check,
    check_refused,
    check_remembers,
    check_sound,
    damaged,
    trickled,
    work,
)


def parse(data):
    return client_hello.parse(data)


def genuine(server_name, alpn=(), *, newest=ssl.TLSVersion.TLSv1_3):
    """The hello that OpenSSL sends, as Python configures it."""
    context = ssl.create_default_context()
    context.check_hostname = server_name is not None
    context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1_2, newest
    if alpn:
        context.set_alpn_protocols(list(alpn))
    outgoing = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=server_name)
    try:
        client.do_handshake()
    except ssl.SSLWantReadError:
        return outgoing.read()
    raise AssertionError("a handshake without a server")


def named(raw):
    return parse(client_hello.build(raw))


def extended(*extensions):
    return client_hello.build("a.example", extensions=extensions)


def with_extensions(block):
    """A hello whose block of extensions, without its length, is ``block``."""
    return framed(b"\x03\x03" + bytes(33) + b"\x00\x02\x13\x01" + b"\x01\x00" + block)


def framed(body):
    """A ClientHello with ``body``, in one record."""
    message = b"\x01" + len(body).to_bytes(3, "big") + body
    return b"\x16\x03\x01" + len(message).to_bytes(2, "big") + message


def framed_large(size):
    """The beginning of a hello of ``size`` bytes."""
    return b"\x16\x03\x01\x40\x00\x01" + size.to_bytes(3, "big")


def sni(payload):
    return with_extensions(struct.pack(">HHH", len(payload) + 4, 0, len(payload)) + payload)


class GenuineTests(SynchronousTestCase):
    def test_the_hello_of_openssl_is_parsed(self):
        """A real client, so that the parser is not only tested against the builder."""
        data = genuine("WWW.Example.com", ["h2", "http/1.1"])
        hello = parse(data).value
        check(self, parse, data, hello)
        self.assertEqual(hello.server_name, "www.example.com")
        self.assertEqual(hello.alpn, ("h2", "http/1.1"))
        self.assertEqual(hello.versions, (0x0304, 0x0303))
        self.assertFalse(hello.offers_ticket)
        self.assertFalse(hello.bad_name)
        self.assertIn(0x1301, hello.cipher_suites)
        self.assertIn(0x0403, hello.signature_algorithms)

    def test_a_hello_without_sni_and_alpn_is_parsed(self):
        hello = parse(genuine(None)).value
        self.assertEqual((hello.server_name, hello.alpn, hello.bad_name), (None, (), False))

    def test_without_supported_versions_the_fixed_version_counts(self):
        hello = parse(genuine("a.example", newest=ssl.TLSVersion.TLSv1_2)).value
        self.assertEqual((hello.server_name, hello.versions), ("a.example", (0x0303,)))

    def test_a_name_fragmented_over_two_records_is_parsed(self):
        """Clients that evade censorship cut the name so, and get the route of the whole name."""
        whole = genuine("www.example.com")
        expected = parse(whole).value
        message = whole[5:]
        at = message.index(b"www.example.com")
        for cut in range(at - 9, at + 16):
            pieces = [message[:cut], message[cut:]]
            data = b"".join(whole[:3] + len(piece).to_bytes(2, "big") + piece for piece in pieces)
            self.assertEqual(parse(data), Done(expected, len(data)))


class FormatTests(SynchronousTestCase):
    def test_every_offered_value_is_returned(self):
        """Routing, the choice of a certificate and the access log depend on them."""
        data = client_hello.build(
            "a.example",
            ["h2", "http/1.1"],
            [0x0304],
            cipher_suites=[0x0A0A, 0x1301],
            signature_algorithms=[0x0403],
            ticket=b"ticket",
        )
        hello = ClientHello("a.example", ("h2", "http/1.1"), (0x0304,), True, (0x0A0A, 0x1301), (0x0403,))
        check(self, parse, data, hello)

    def test_a_hello_without_extensions_is_parsed(self):
        check(self, parse, with_extensions(b""), ClientHello(None, (), (0x0303,), False, (0x1301,)))
        check(self, parse, with_extensions(b"\x00\x00"), ClientHello(None, (), (0x0303,), False, (0x1301,)))

    def test_a_hello_in_records_of_every_size_is_parsed(self):
        whole = client_hello.build("www.example.com", ["h2"])
        expected = parse(whole).value
        for size in (1, 2, 3, 5, 60, 100, len(whole) - 6):
            check(self, parse, client_hello.build("www.example.com", ["h2"], record_size=size), expected)

    def test_a_post_quantum_hello_is_parsed(self):
        data = client_hello.build("a.example", post_quantum=True)
        self.assertGreater(len(data), 1400)
        check(self, parse, data, parse(client_hello.build("a.example")).value)

    def test_a_hello_of_many_kilobytes_is_parsed(self):
        for size in (512, 1700, 17_000, 65_000):
            data = client_hello.build("a.example", size=size)
            self.assertEqual(len(data), size + 5 * -(-size // 2**14))
            verdict = parse(data)
            self.assertEqual((verdict.value.server_name, verdict.consumed), ("a.example", len(data)))
            self.assertEqual(trickled(parse, data), verdict)

    def test_a_hello_of_128_kib_is_parsed(self):
        """OpenSSL accepts it: long lists of ciphers and of extensions at once."""
        data = client_hello.build(
            "a.example", cipher_suites=[0x1301] * 32_700, extensions=[(99, bytes(65_000))]
        )
        self.assertGreater(len(data), 127 * 1024)
        verdict = parse(data)
        self.assertEqual((verdict.value.server_name, verdict.consumed), ("a.example", len(data)))
        self.assertEqual(work(client_hello.HelloParser(), data, 1000)[1], verdict)

    def test_a_hello_over_the_limit_is_refused_by_its_length_field(self):
        """So no client can make the proxy buffer more."""
        data = framed_large(client_hello.LIMIT + 1)
        self.assertIsInstance(parse(framed_large(client_hello.LIMIT)), NeedMore)
        self.assertIsInstance(parse(data), Malformed)

    def test_a_post_quantum_hello_in_records_of_one_byte_is_parsed(self):
        data = client_hello.build("a.example", post_quantum=True, record_size=1)
        expected = parse(client_hello.build("a.example")).value
        self.assertEqual(parse(data), Done(expected, len(data)))
        seen, verdict = work(client_hello.HelloParser(), data, 1)
        self.assertEqual(verdict, Done(expected, len(data)))
        self.assertLess(seen, 12 * len(data))

    def test_pieces_give_the_verdicts_of_the_whole(self):
        for data in (
            client_hello.build("www.example.com", ["h2"], record_size=40),
            genuine("a.example"),
            client_hello.build(b"bad name"),
        ):
            check_remembers(self, client_hello.HelloParser(), parse, data)

    def test_a_later_version_than_tls_1_2_counts_as_that(self):
        """RFC 5246, E.1; whatever is later than TLS 1.2 is negotiated by the extension."""
        for version in (0x0304, 0x03FF, 0x0400, 0xFFFF):
            body = version.to_bytes(2, "big") + bytes(33) + b"\x00\x02\x13\x01" + b"\x01\x00"
            self.assertEqual(parse(framed(body)).value.versions, (0x0303,), version)
        self.assertEqual(parse(framed(b"\x03\x00" + body[2:])).value.versions, (0x0300,))

    def test_each_malformed_hello_has_its_alert(self):
        body = bytes(32) + b"\x00" + b"\x00\x02\x13\x01" + b"\x01\x00"
        for data, alert in (
            (framed(b"\x02\x00" + body), Alert.PROTOCOL_VERSION),
            (framed(b"\x00\x02" + body), Alert.PROTOCOL_VERSION),
            (b"\x16\x03\x01\x00\x04\x02\x00\x00\x00", Alert.UNEXPECTED_MESSAGE),
            (b"\x16\x03\x01\x00\x00", Alert.UNEXPECTED_MESSAGE),
            (b"\x16\x03\x01\x40\x01", Alert.RECORD_OVERFLOW),
            (b"\x16\x03\x01\x00\x01\x01\x17\x03\x03\x00\x01x", Alert.UNEXPECTED_MESSAGE),
            (extended((PRE_SHARED_KEY, b""), (99, b"")), Alert.ILLEGAL_PARAMETER),
            (extended((99, b""), (99, b"")), Alert.ILLEGAL_PARAMETER),
            (with_extensions(b"\x00\x01"), Alert.DECODE_ERROR),
            (framed_large(client_hello.LIMIT + 1), Alert.DECODE_ERROR),
        ):
            verdict = parse(data)
            self.assertIsInstance(verdict, Malformed)
            self.assertEqual(client_hello.alert_for(verdict), alert, verdict)

    def test_a_ticket_or_a_pre_shared_key_offers_resumption(self):
        self.assertFalse(parse(client_hello.build("a.example", ticket=None)).value.offers_ticket)
        self.assertFalse(parse(client_hello.build("a.example", ticket=b"")).value.offers_ticket)
        self.assertTrue(parse(client_hello.build("a.example", ticket=b"t")).value.offers_ticket)
        self.assertTrue(parse(extended((client_hello.PRE_SHARED_KEY, b"psk"))).value.offers_ticket)

    def test_lengths_that_do_not_add_up_are_refused(self):
        """Each implementation would read another message."""
        good = client_hello.build("a.example")
        for place, byte in [
            (9, 2),  # legacy_version
            (43, 33),  # session id over 32 bytes
            (8, good[8] + 1),  # the message is longer than its record
            (5, 2),  # a ServerHello
        ]:
            data = bytearray(good)
            data[place] = byte
            self.assertFalse(isinstance(parse(bytes(data)), Done), place)

    def test_malformed_lists_in_extensions_are_refused(self):
        for data in [
            with_extensions(b"\x00"),  # half a length
            with_extensions(b"\x00\x01"),  # more said than there is
            with_extensions(b"\x00\x03\x00\x0b\x00"),  # half a head
            with_extensions(b"\x00\x05\x00\x0b\x00\x02x"),  # an extension over the end
            with_extensions(b"\x00\x04\x00\x0b\x00\x00\x00"),  # more there than said
            with_extensions(b"\x00\x08\x00\x0b\x00\x00\x00\x0b\x00\x00"),  # one twice
            extended((client_hello.SERVER_NAME, b"")),
            extended((client_hello.PRE_SHARED_KEY, b"psk"), (99, b"")),  # not the last
            extended((client_hello.ALPN, b"")),
            extended((client_hello.ALPN, b"\x00\x00")),
            extended((client_hello.ALPN, b"\x00\x01\x00")),
            extended((client_hello.ALPN, b"\x00\x03\x03h2")),
            extended((client_hello.ALPN, b"\x00\x04\x02h2")),
            client_hello.build("a.example", versions=[]),
            client_hello.build("a.example", cipher_suites=[]),
            client_hello.build("a.example", signature_algorithms=[]),
        ]:
            check_refused(self, parse, data)

    def test_a_hello_without_null_compression_is_refused(self):
        data = bytearray(with_extensions(b""))
        data[-1] = 1
        check_refused(self, parse, bytes(data))

    def test_a_list_with_half_a_number_is_refused(self):
        check_refused(self, parse, framed(b"\x03\x03" + bytes(33) + b"\x00\x03\x13\x01\x13" + b"\x01\x00"))

    def test_a_session_id_over_32_bytes_is_refused(self):
        for size, verdict in [(0, Done), (32, Done), (33, Malformed)]:
            session = bytes([size]) + bytes(size)
            data = framed(b"\x03\x03" + bytes(32) + session + b"\x00\x02\x13\x01" + b"\x01\x00")
            self.assertIsInstance(parse(data), verdict, size)

    def test_sslv2_is_refused_at_the_first_byte(self):
        self.assertIsInstance(parse(b"\x80"), Malformed)
        check_refused(self, parse, b"\x80\x2e\x01\x03\x01\x00\x15\x00\x00\x00\x10" + bytes(37))

    @PROPERTY
    @given(
        damaged(
            client_hello.build("www.example.com", ["h2", "http/1.1"]),
            client_hello.build("www.example.com", ["h2"], record_size=40),
            with_extensions(b""),
            genuine("a.example", ["h2"]),
        )
    )
    def test_arbitrary_bytes_never_raise(self, data):
        check_sound(self, parse, data)
        check_remembers(self, client_hello.HelloParser(), parse, data)

    @PROPERTY
    @given(
        st.from_regex(r"[a-z0-9_-]{1,20}(\.[a-z0-9_-]{1,20}){0,5}\.[a-z]{2,6}", fullmatch=True),
        st.lists(st.text(st.characters(max_codepoint=255), min_size=1, max_size=20), max_size=4),
        st.lists(st.integers(0, 65535), min_size=1, max_size=5),
        st.integers(20, 400),
    )
    def test_what_was_built_is_parsed_back(self, name, alpn, versions, record_size):
        data = client_hello.build(name, alpn, versions, record_size=record_size)
        verdict = parse(data)
        self.assertEqual(verdict.consumed, len(data))
        self.assertEqual(verdict.value[:3], (name, tuple(alpn), tuple(versions)))


class NameTests(SynchronousTestCase):
    """A name that the TLS implementation behind the proxy could read in another way is never accepted."""

    def test_a_name_is_lowered_and_loses_its_final_dot(self):
        self.assertEqual(named("WWW.Example.COM.").value.server_name, "www.example.com")
        self.assertEqual(named(b"_a.b-c.example").value.server_name, "_a.b-c.example")
        self.assertEqual(named(b"host.example1").value.server_name, "host.example1")
        self.assertEqual(named(b"1.2.3").value.server_name, "1.2.3")

    def test_an_address_in_place_of_a_name_is_dropped(self):
        """RFC 6066, 3 forbids it, but some clients do it, and are served as if they had sent no name."""
        for raw in [b"192.0.2.1", b"192.0.2.1.", b"::1", b"2001:db8::1", b"::ffff:192.0.2.1"]:
            hello = named(raw).value
            self.assertEqual((hello.server_name, hello.bad_name), (None, True), raw)

    def test_an_ambiguous_name_is_malformed(self):
        """With a NUL, say, C code would see a shorter name than the route was chosen by."""
        for raw in [
            b"",
            b".",
            b"good.example\x00.evil.example",
            b"\x00",
            b"a" * 256,
            b".".join([b"a" * 63] * 4) + b"a",
            b"a..example",
            b"a.example..",
            b"*.example",
            b"a b.example",
            b"a.example\n",
            "\N{KELVIN SIGN}.example".encode(),
            b"\xff.example",
            b"[::1]",
            b"fe80::1%eth0",
            b"a.example:443",
            b"192.0.2.1\x00",
        ]:
            self.assertIsInstance(named(raw), Malformed, raw)

    def test_a_name_over_255_bytes_is_malformed(self):
        longest = b".".join([b"a" * 63] * 4)
        self.assertEqual(named(longest).value.server_name, longest.decode())

    def test_a_name_list_with_anything_but_one_name_is_malformed(self):
        one = b"\x00\x00\x09a.example"
        check(self, parse, sni(b"\x00\x0c" + one), ClientHello("a.example", (), (0x0303,), False, (0x1301,)))
        for payload in [
            b"",
            b"\x00\x00",
            b"\x00\x0c\x01\x00\x09a.example",  # of another type
            b"\x00\x18" + one + one,  # two
            b"\x00\x0c" + one + b"x",
            b"\x00\x0d" + one,
            b"\x00\x0b" + one[:-1],
            b"\x00\x0c\x00\x00\x08a.example",
        ]:
            check_refused(self, parse, sni(payload))
