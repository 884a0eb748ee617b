"""A channel passes bytes on whatever parts they come in, and its memory is that of an idle connection afterwards."""

from __future__ import annotations

import contextlib
import ctypes
import gc
from random import Random
from typing import TYPE_CHECKING, Any
from unittest import SkipTest

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.errors import TlsError
from smartproxy.tls.channel import CIPHER, CIPHER_VIEW, PLAIN, PLAIN_VIEW, RECORD, Channel
from tests.relays.relaying import MIB, digest, noise
from tests.tls import talk
from tests.tls.made import Authority

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.tls.made import Leaf

CA = Authority()
TO = talk.route(CA.leaf("a.example").plan())
CONTEXTS = talk.contexts(talk.proxy(TO))
#: What a connection may keep of what was moved, in bytes: less than one record, and more than Python's own memory varies.
KEPT = 12 * 1024


def pair(most: int = 0) -> tuple[Channel, Channel]:
    """The client's and the server's end of a connection."""
    connecting = talk.client(CA, most=most)
    accepting = talk.connected(CONTEXTS, TO, connecting)
    return Channel(connecting), Channel(accepting)


def sealed(channel: Channel, data: bytes, size: int) -> bytes:
    """``data`` in records of ``size`` bytes."""
    return b"".join(channel.encrypt(data[at : at + size]) for at in range(0, len(data), size))


def opened(channel: Channel, data: bytes, size: int) -> bytes:
    """``data`` decrypted as the relay does it, received in parts of ``size`` bytes."""
    plain = b""
    for at in range(0, len(data), size):
        part = data[at : at + size]
        CIPHER_VIEW[: len(part)] = part
        got = channel.decrypt_shared(len(part))
        CIPHER_VIEW[: len(part)] = bytes(len(part))  # the next channel overwrites it
        plain += PLAIN_VIEW[:got]
        while got == PLAIN:
            got = channel.read()
            plain += PLAIN_VIEW[:got]
    return plain


def damage(sent: bytes) -> bytes:
    """``sent`` with another byte in its first record."""
    return sent[:99] + bytes([sent[99] ^ 1]) + sent[100:]


def shared(channel: Channel, data: bytes) -> bytes:
    """``data`` encrypted as the relay does it."""
    made = b""
    for at in range(0, len(data), PLAIN):
        part = data[at : at + PLAIN]
        PLAIN_VIEW[: len(part)] = part
        ready = channel.encrypt_shared(len(part))
        made += CIPHER_VIEW[:ready]
        if ready == CIPHER:
            made += channel.take_output()
    return made


class Handwritten:
    """Messages of a server with TLS 1.3 behind its handshake, sealed by hand: OpenSSL sends none in parts of a few bytes."""

    def __init__(self) -> None:
        context = talk.client_context(CA)
        secrets: list[bytes] = []
        context.set_keylog_callback(lambda _, line: secrets.append(line))
        connecting = talk.client(context=context)
        self.server = talk.connected(CONTEXTS, TO, connecting)
        self.client = Channel(connecting)
        (line,) = (each for each in secrets if each.startswith(b"SERVER_TRAFFIC_SECRET_0"))
        self._secret = bytes.fromhex(line.split()[-1].decode())
        self._number = 2  # behind the two tickets

    def _expand(self, label: bytes, length: int) -> bytes:
        """HKDF-Expand-Label of RFC 8446, 7.1."""
        info = length.to_bytes(2, "big") + bytes([6 + len(label)]) + b"tls13 " + label + bytes(1)
        return HKDFExpand(hashes.SHA384(), length, info).derive(self._secret)

    def message(self, part: bytes) -> bytes:
        """A record with a part of a handshake message (RFC 8446, 5.2 and 5.3)."""
        head = b"\x17\x03\x03" + (len(part) + 17).to_bytes(2, "big")
        nonce = int.from_bytes(self._expand(b"iv", 12), "big") ^ self._number
        self._number += 1
        return head + AESGCM(self._expand(b"key", 32)).encrypt(
            nonce.to_bytes(12, "big"), part + b"\x16", head
        )


class Heap(ctypes.Structure):
    """What glibc tells of its heap: ``struct mallinfo2``."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            "arena",
            "ordblks",
            "smblks",
            "hblks",
            "hblkhd",
            "usmblks",
            "fsmblks",
            "uordblks",
            "fordblks",
            "keepcost",
        )
    ]


def in_use() -> int:
    """Bytes of the heap that are in use, those of OpenSSL among them."""
    try:
        ask: Any = ctypes.CDLL(None).mallinfo2
    except AttributeError:
        raise SkipTest("mallinfo2 of glibc 2.33 is needed to measure the memory of OpenSSL") from None
    ask.restype = Heap
    heap = ask()
    return int(heap.uordblks + heap.hblkhd)


class BytesTests(SynchronousTestCase):
    def test_the_size_of_records_and_of_what_is_received_does_not_matter(self) -> None:
        data = noise(PLAIN + 3 * RECORD + 5)
        for most in (0, SSL.TLS1_2_VERSION):
            for record in (700, RECORD - 1, RECORD, PLAIN):
                for received in (700, RECORD, PLAIN, CIPHER):
                    with self.subTest(most=most, record=record, received=received):
                        client, server = pair(most)
                        self.assertEqual(opened(server, sealed(client, data, record), received), data)

    def test_bytes_that_wait_are_read_before_others(self) -> None:
        data = noise(5 * RECORD)
        client, server = pair()
        came = sealed(client, data, RECORD)
        for at in (0, 1000):
            server.feed(came[at : at + 1000])
        self.assertEqual(opened(server, came[2000:], PLAIN), data)

    def test_both_ways_to_encrypt_give_all_of_it(self) -> None:
        for size in (1, RECORD, RECORD + 1, PLAIN, 2 * PLAIN + 1):
            data = noise(size)
            for way in (Channel.encrypt, shared):
                with self.subTest(size=size, way=way.__name__):
                    client, server = pair()
                    self.assertEqual(opened(client, way(server, data), CIPHER), data)

    def test_output_that_waits_comes_first_even_where_it_fills_the_buffer(self) -> None:
        for way in (Channel.encrypt, shared):
            with self.subTest(way=way.__name__):
                client, server = pair()
                first, second = noise(PLAIN), noise(PLAIN - 7)
                for at in range(0, PLAIN, RECORD):
                    server.connection.send(first[at : at + RECORD])
                self.assertEqual(opened(client, way(server, second), CIPHER), first + second)

    def test_bytes_before_a_damaged_record_are_returned_before_the_failure(self) -> None:
        for whole in (1, 4, 14):
            with self.subTest(whole=whole):
                client, server = pair()
                data = noise(whole * RECORD)
                came = sealed(client, data, RECORD)
                sent = sealed(client, noise(2 * RECORD), RECORD)
                self.assertEqual(opened(server, came + damage(sent), CIPHER), data)
                self.assertRaises(TlsError, server.read)

    def test_a_damaged_record_fails_at_once_where_nothing_is_before_it(self) -> None:
        client, server = pair()
        sent = sealed(client, noise(3 * RECORD), RECORD)
        self.assertRaises(TlsError, opened, server, damage(sent), CIPHER)

    def test_nothing_is_read_behind_a_close_notify(self) -> None:
        client, server = pair()
        client.say_end()
        self.assertEqual(opened(server, client.take_output() + noise(MIB), PLAIN), b"")
        self.assertTrue(server.ended)

    def test_bytes_and_end_wait_for_the_rest_of_a_message(self) -> None:
        """OpenSSL writes nothing in between: a server with small records sends a ticket in several of them."""
        update = b"\x18\x00\x00\x01\x00"
        for way in (Channel.encrypt, shared):
            with self.subTest(way=way.__name__):
                peer = Handwritten()
                client, server, data = peer.client, Channel(peer.server), noise(PLAIN + RECORD)
                self.assertEqual(opened(client, peer.message(update[:4]), PLAIN), b"")
                self.assertEqual(way(client, data[:PLAIN]), b"")
                self.assertEqual(way(client, data[PLAIN:]), b"")
                client.say_end()
                self.assertRaises(TlsError, way, client, b"behind the end")
                self.assertEqual(client.take_output(), b"")
                self.assertEqual(opened(client, peer.message(update[4:]), PLAIN), b"")
                self.assertEqual(opened(server, client.take_output(), PLAIN), data)
                self.assertTrue(server.ended)

    def test_what_waits_for_the_rest_of_a_message_is_encrypted_first(self) -> None:
        peer = Handwritten()
        client, server = peer.client, Channel(peer.server)
        opened(client, peer.message(b"\x18\x00\x00\x01"), PLAIN)
        sent = client.encrypt(b"one, ")
        rest = peer.message(bytes(1))
        client.feed(rest)
        sent += client.encrypt(b"two")
        self.assertEqual(opened(server, sent, PLAIN), b"one, two")

    def test_no_more_waits_for_the_rest_of_a_message_than_is_read_in_two_turns(self) -> None:
        peer = Handwritten()
        opened(peer.client, peer.message(b"\x18\x00\x00\x01"), PLAIN)
        peer.client.encrypt(bytes(2 * PLAIN))
        self.assertRaises(TlsError, peer.client.encrypt, b"more")


class Direction:
    """One direction between two channels, with parts of any size; what all channels share is overwritten after each step."""

    def __init__(self, sender: Channel, receiver: Channel, random: Random) -> None:
        self.sender, self.receiver, self.random = sender, receiver, random
        self.sent, self.received, self.on_the_wire = b"", b"", b""

    def size(self, most: int) -> int:
        return self.random.choice((1, 2048, 2049, self.random.randrange(1, RECORD), most))

    def send(self) -> None:
        data = self.random.randbytes(self.size(PLAIN))
        self.sent += data
        self.on_the_wire += self.random.choice((Channel.encrypt, shared))(self.sender, data)

    def receive(self) -> None:
        size = self.size(PLAIN)
        part, self.on_the_wire = bytearray(self.on_the_wire[:size]), self.on_the_wire[size:]
        if self.random.random() < 0.2:
            self.receiver.feed(part)
        else:
            got = self.receiver.decrypt(part)
            self.received += PLAIN_VIEW[:got]
        part[:] = bytes(len(part))

    def finish(self) -> None:
        self.sender.say_end()
        self.received += opened(self.receiver, self.on_the_wire + self.sender.take_output(), PLAIN)


class RandomTests(SynchronousTestCase):
    def test_channels_that_take_turns_disturb_neither_each_other_nor_the_other_direction(self) -> None:
        for seed in range(12):
            random = Random(seed)
            directions = []
            for most in (0, SSL.TLS1_2_VERSION):
                client, server = pair(most)
                directions += [Direction(client, server, random), Direction(server, client, random)]
            for _ in range(60):
                random.choice((Direction.send, Direction.receive, Direction.receive))(
                    random.choice(directions)
                )
                PLAIN_VIEW[:] = bytes(PLAIN)
                CIPHER_VIEW[:] = bytes(CIPHER)
            for one in directions:
                with self.subTest(seed=seed):
                    one.finish()
                    self.assertEqual(digest(one.received), digest(one.sent))
                    self.assertTrue(one.receiver.ended)


class MemoryTests(SynchronousTestCase):
    """After every way to use a channel, its memory is what it was before it."""

    def assert_kept(self, use: Callable[..., object], channel: Channel, *given: Any) -> None:
        before = in_use()
        use(channel, *given)
        kept = in_use() - before
        self.assertLess(kept, KEPT)
        self.assertFalse(channel.problem)

    def each(self) -> Iterator[tuple[Channel, Channel, bytes]]:
        for most in (0, SSL.TLS1_2_VERSION):
            for size in (1500, RECORD, PLAIN, MIB):
                with self.subTest(most=most, size=size):
                    client, server = pair(most)
                    for one, other in ((client, server), (server, client)):
                        opened(other, one.encrypt(b"first"), PLAIN)
                    yield client, server, noise(size)

    def test_received_bytes(self) -> None:
        for client, server, data in self.each():
            for record in (300, RECORD):
                self.assert_kept(opened, server, sealed(client, data, record), PLAIN)

    def test_bytes_that_were_received_before_they_were_read(self) -> None:
        def fed(channel: Channel, data: bytes) -> None:
            channel.feed(data)
            while channel.read():
                pass

        for client, server, data in self.each():
            self.assert_kept(fed, server, sealed(client, data[:PLAIN], RECORD))

    def test_sent_bytes(self) -> None:
        for _, server, data in self.each():
            self.assert_kept(shared, server, data)
            self.assert_kept(Channel.encrypt, server, data)

    def test_sent_bytes_are_not_all_held_at_once(self) -> None:
        """So that thousands of connections, each in the middle of a large transfer, take little memory, too."""
        _, server = pair()
        data = noise(PLAIN)
        exchange, held = Channel._write_to_new, []

        def spy(channel: Channel) -> None:
            held.append(in_use())
            exchange(channel)

        self.patch(Channel, "_write_to_new", spy)
        before = in_use()
        shared(server, data)
        self.assertLess(max(held) - before, 3 * RECORD)

    def test_what_comes_behind_a_close_notify(self) -> None:
        client, server = pair()
        client.say_end()
        opened(server, client.take_output(), PLAIN)
        self.assert_kept(opened, server, noise(MIB), 1000)

    def test_flights_of_a_handshake(self) -> None:
        """An idle connection takes as much with a certificate for hundreds of names as with one for a single name."""
        names = [f"{number}.of.many.example" for number in range(800)]
        one, many = (self.of_servers(CA.leaf("a.example", *more)) for more in ((), names))
        self.assertLess(many - one, KEPT)

    def of_servers(self, leaf: Leaf) -> float:
        """Bytes of memory that a server's end keeps after its handshake."""
        to = talk.route(leaf.plan())
        contexts = talk.contexts(talk.proxy(to))
        context = talk.client_context(CA)
        servers = [self.server(contexts.for_hello(to, talk.hello()), context) for _ in range(16)]
        gc.collect()
        before = in_use()
        count = len(servers)
        del servers
        gc.collect()
        return (before - in_use()) / count

    def server(self, own: SSL.Context, of_client: SSL.Context) -> Channel:
        accepting = SSL.Connection(own, None)
        accepting.set_accept_state()
        server, connecting = Channel(accepting), talk.client(context=of_client)
        while True:
            with contextlib.suppress(SSL.WantReadError):
                connecting.do_handshake()
            came = connecting.bio_read(1 << 16)
            server.feed(came)
            if server.handshake():
                return server
            connecting.bio_write(server.take_output())
