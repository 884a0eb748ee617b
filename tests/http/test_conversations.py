"""Random conversations: several clients, routes and targets over connections that are cut and delayed, and what must hold of each.

The behaviour of a target is part of the request, so that it is known what each client must get, however deliveries are cut.
"""

from __future__ import annotations

import os
from collections import Counter
from random import Random

from smartproxy import Route
from smartproxy.metrics.totals import by_route
from smartproxy.testing import FarEnd, Nature
from tests.http.case import AnswerCase
from tests.on_network import HOST

#: ``make soak`` has more.
CONVERSATIONS = int(os.environ.get("SMARTPROXY_CONVERSATIONS", "60"))
_NATURES = (
    {},
    {},
    {"sizes": (1, 2, 3)},
    {"sizes": (1400,)},
    {"window": 1000},
    {"late": True},
    {"delays": (0, 0.01)},
)
_BY_TARGET = (
    "whole",
    "pieces",
    "late",
    "early",
    "hints",
    "endless",
    "cut",
    "extra",
    "reset",
    "reset again",
    "garbage",
)
_BY_HANDLER = ("whole", "early", "echo", "raise")
_ROUTES = {"f": "forward", "g": "small", "h": "handler", "r": "respond", "b": "block"}


class Asked:
    """A request, and what its target or its handler is to do."""

    def __init__(self, random, number, most):
        self.number = number
        self.kind = random.choice("ffffgghhrb")
        self.does = random.choice(_BY_HANDLER if self.kind == "h" else _BY_TARGET)
        self.method = random.choice(("GET", "HEAD", "POST", "PUT"))
        has_body = self.method in ("POST", "PUT")
        self.body = b"<%d>" % number * random.choice((1, 100, most)) if has_body else b""
        self.answer = b"[%d]" % number * random.choice((1, 100, most))
        self.seen = []
        fields, sent = [b"Content-Length: %d" % len(self.body)] if has_body else [], self.body
        if has_body and random.random() < 0.5:
            half = len(self.body) // 2
            pieces = (self.body[:half], self.body[half:])
            fields, sent = (
                [b"Transfer-Encoding: chunked"],
                b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in pieces if p),
            )
            sent += b"0\r\n\r\n"
        line = f"{self.method} /{self.kind}/{number} HTTP/1.1".encode()
        self.wire = b"\r\n".join([line, b"Host: a.test", *fields, b"", b""]) + sent

    @property
    def expected(self):
        """Statuses, each with the body, or ``None`` for any; and whether the answer is complete."""
        body = b"" if self.method == "HEAD" else self.answer
        is_over = self.kind == "g" and len(self.body) > 1000
        if is_over or self.kind == "b" or self.does in ("garbage", "reset", "raise"):
            wanted = 413 if is_over else 403 if self.kind == "b" else 500 if self.kind == "h" else 502
            # The target may be quicker than the body is too long.
            early = [(200, body, True), (200, None, False), (502, None, True)] if is_over else []
            return [(200, None, True)] if self.kind == "r" else [(wanted, None, True), *early]
        if self.kind == "r":
            return [(200, None, True)]
        if self.does == "cut" and body:
            return [(200, None, False)]
        if self.does == "echo":
            return [(200, b"" if self.method == "HEAD" else self.body, True)]
        may_fail = self.does == "reset again" and (self.method == "POST" or self.body)
        return [(200, body, True), *([(502, None, True)] if may_fail else [])]


class Target(FarEnd):
    """Reads requests strictly, and does what they say."""

    def __init__(self, case):
        super().__init__()
        self.case, self.rest, self.count, self.asked = case, b"", 0, None

    def later(self, seconds, call):
        self.case.network.callLater(seconds, lambda: None if self.gone else call())

    def readConnectionLost(self):
        super().readConnectionLost()
        self.close()

    def dataReceived(self, data):
        super().dataReceived(data)
        self.rest += data
        while self.rest and not self.gone:
            if self.asked is None and not self.head():
                return
            body, used = _body(self.rest, self.fields)
            self.asked.seen[-1] = body, used is not None
            if used is None:
                return
            self.rest, asked, self.asked = self.rest[used:], self.asked, None
            self.complete(asked)

    def head(self):
        head, end, rest = self.rest.partition(b"\r\n\r\n")
        if not end:
            return False
        self.rest, self.count = rest, self.count + 1
        self.fields = _fields(head)
        asked = self.asked = self.case.asked[int(head.split()[1].rpartition(b"/")[2])]
        asked.seen.append((b"", False))
        if asked.does == "early":
            self.write(self.whole(asked))
        elif asked.does == "hints":
            self.write(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 2)
        elif asked.does == "reset again" and self.count > 1:
            self.rst()
        return True

    def whole(self, asked):
        head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(asked.answer)
        return head + (b"" if asked.method == "HEAD" else asked.answer)

    def complete(self, asked):
        does, whole = asked.does, self.whole(asked)
        half = len(whole) // 2
        if does in ("pieces", "late"):
            self.later(2.0 if does == "late" else 0, lambda: self.write(whole[:half]))
            self.later(2.1, lambda: self.write(whole[half:]))
        elif does == "endless":
            self.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + whole.partition(b"\r\n\r\n")[2])
            self.later(0.1, self.close)
        elif does == "cut" and not whole.endswith(b"\r\n\r\n"):
            self.write(whole[:-1])
            self.later(0.1, self.close)
        elif does == "extra":
            self.write(whole + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
        elif does == "reset":
            self.rst()
        elif does == "garbage":
            self.write(b"SSH-2.0-x\r\n\r\n")
        elif does != "early" and not (does == "reset again" and self.count > 1):
            self.write(whole)


def _fields(head):
    return dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])


def _body(data, fields, *, is_answer=False):
    """The body at the begin of ``data``, and how many bytes it has there; ``None`` while it is not complete."""
    if b"transfer-encoding" in fields:
        body, at = b"", 0
        while (end := data.find(b"\r\n", at)) >= 0:
            size = int(data[at:end], 16)
            body += data[end + 2 : end + 2 + size]
            at = end + 4 + size
            if len(data) < at:
                break
            if not size:
                return body, at
        return body, None
    size = int(fields.get(b"content-length", len(data) + 1 if is_answer else 0))
    return data[:size], size if len(data) >= size else None


def _answers(data, asked):
    """The answers in what a client has got: status, body, whether that is complete, and whether it is the last one."""
    for each in asked:
        while True:
            head, end, data = data.partition(b"\r\n\r\n")
            if not end:
                return
            status = int(head.split()[1])
            if status >= 200:
                break
        fields = _fields(head)
        body, used = (b"", 0) if each.method == "HEAD" else _body(data, fields, is_answer=True)
        is_last = used is None or fields.get(b"connection") == b"close"
        yield each, status, body, used is not None, is_last
        data = data[used:] if used is not None else b""
        if is_last:
            break
    assert data == b"", data[:100]


class ConversationTests(AnswerCase):
    def setUp(self):
        super().setUp()
        self.random, self.asked, self.targets, self.running = (
            Random(int(os.environ.get("SMARTPROXY_SEED", "5"))),
            {},
            [],
            0,
        )
        self.network.pair, self._pair = self.pair, self.network.pair
        self.network.listenTCP(9001, self, interface=HOST)

        def route(name, letter, action):
            return Route(name=name, match={"ports": 80, "path": f"/{letter}/*"}, action=action)

        targets = {"protocol": "http", "targets": [{"host": HOST, "port": 9001}], "passiveHealth": False}
        self.log_to(
            route("forward", "f", targets),
            route("small", "g", {**targets, "http": {"maxBodySize": 1000}}),
            route("handler", "h", {"type": "handler", "handler": self.handle}),
            route("respond", "r", {"type": "respond", "protocol": "http", "response": {"body": "r"}}),
            route("block", "b", {"type": "block"}),
        )

    def doStart(self):
        """The targets listen: see :class:`twisted.internet.protocol.ServerFactory`."""

    doStop = doStart

    def buildProtocol(self, _):
        self.targets.append(Target(self))
        return self.targets[-1]

    def pair(self, near, far):
        self.network.nature = Nature(**self.nature, random=Random(self.random.random()))
        return self._pair(near, far)

    async def handle(self, exchange):
        asked = self.asked[int(exchange.path.rpartition("/")[2])]
        if asked.does == "raise":
            raise ZeroDivisionError
        if asked.does == "whole":
            asked.seen.append((await exchange.read(), True))
        await exchange.respond(200, {}, exchange.body if asked.does == "echo" else asked.answer)

    def converse(self):
        random = self.random
        self.nature = random.choice(_NATURES)
        most = 100 if (self.nature.get("sizes") or (9,))[0] == 1 else 30_000
        clients = []
        for _ in range(random.choice((1, 2, 3))):
            numbers = range(len(self.asked), len(self.asked) + random.choice((1, 3, 6)))
            asked = [Asked(random, number, most) for number in numbers]
            self.asked.update((each.number, each) for each in asked)
            clients.append((self.network.connect(80), asked))
        for end, asked in clients:
            for each in asked:
                end.write(each.wire)
                self.network.run(random.choice((0, 0, 0.1, 3)))
        for end, _ in clients:
            end.reading = random.random() < 0.8
        self.network.run(1)
        for end, _ in clients:
            end.reading = True
        self.network.run(20)
        for end, asked in clients:
            end.fin()
            self.network.run(3)
            self.assert_answered(end, asked)
            self.assertFalse(end.transport.peer.connected)

    def assert_answered(self, end, asked):
        answers = list(_answers(end.received, asked))
        for each, status, body, is_complete, _ in answers:
            about = f"{vars(each)}: {status} {body[:50]} {is_complete} {self.nature}"[:2000]
            fits = [
                status == wanted and is_complete is complete and (content is None or body == content)
                for wanted, content, complete in each.expected
            ]
            self.assertTrue(any(fits), about)
            for seen, is_whole in each.seen:
                self.assertTrue(seen == each.body if is_whole else each.body.startswith(seen), about)
            most = 2 if each.does.startswith("reset") and not each.body else 1
            self.assertLessEqual(len(each.seen), most, about)
        left = asked[len(answers) :]
        # A reset overtakes what the network delays.
        is_reset = end.was_reset and any(each.does in ("cut", "raise") for each in left)
        is_last = bool(answers) and answers[-1][-1]
        self.assertTrue(is_last or is_reset or not left, [vars(each) for each in left[:1]])

    def test_each_request_has_its_own_answer_and_nothing_is_left(self):
        for _ in range(CONVERSATIONS):
            self.converse()
            self.assertLessEqual(set(self.failures()), {ZeroDivisionError})
        self.network.run(100)
        runtime, registry = self.proxy._runtime, self.proxy.registry
        self.assertEqual(
            (list(registry.live), set(runtime.http_clients), len(runtime.targets.pool)), ([], set(), 0)
        )
        self.assertEqual([each.active for each in runtime.targets.groups.members], [0, 0])
        self.assertFalse(any(each.transport.peer.connected for each in self.targets))
        counted = {name: each for name, each in self.proxy.counters.series() if name}
        self.assertFalse(
            any(each.active or (each.requests and each.requests.active) for each in counted.values())
        )
        moved, logged, paths = Counter(), Counter(), Counter()
        for line in self.lines():
            paths[line["path"]] += 1
            logged[line["route"]] += line.get("requestBytes", line["bytesReceived"])
            moved[line["route"]] += line.get("responseBytes", line["bytesSent"])
        shown = by_route(registry, self.proxy.counters)
        self.assertEqual(
            {name: (logged[name], moved[name]) for name in logged},
            {name: tuple(shown[name]) for name in logged},
        )
        self.assertEqual([path for path, count in paths.items() if count > 1], [])
