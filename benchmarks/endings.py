"""How the last bytes of a connection arrive, beside haproxy and beside a connection without a proxy.

Run by ``python -m benchmarks.endings [TIMES]``; each case is run five times by default. A case is a target, which handles
one accepted socket, and a client. What the receiver got is printed as its number of bytes and how they ended: ``FIN``,
``RST``, or ``open`` where nothing followed within a second. The same results are printed once, with how often they
occurred.
"""

from __future__ import annotations

import json
import socket
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import NamedTuple

from benchmarks.contestants import haproxy_program
from benchmarks.processes import LOAD_CPUS, PYTHON, Process, free_port

TIMES = 5
_HOST = "127.0.0.1"
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_STALLS_AFTER = 1.0
#: Seconds of silence that the proxies allow after one direction has ended.
_HALF_CLOSE = 2
_BULK = 200_000
_QUEUED = 6_000_000
#: Bytes a second of the slow reader, and how many it reads at once.
_RATE, _PIECE = 800_000, 40_000


class Got(NamedTuple):
    """What a receiver got."""

    count: int
    end: str

    def __str__(self) -> str:
        return f"{self.count:,} B, {self.end}"


def receive(sock: socket.socket, pace: float = 0.0) -> Got:
    """Read to the end, ``pace`` seconds a piece."""
    sock.settimeout(_STALLS_AFTER)
    count = 0
    try:
        while data := sock.recv(_PIECE):
            count += len(data)
            time.sleep(pace)
    except TimeoutError:
        return Got(count, "open")
    except ConnectionError:
        return Got(count, "RST")
    return Got(count, "FIN")


def reset(sock: socket.socket) -> None:
    """Close with a RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    sock.close()


# -- the cases: what the target does, and what the client does -----------------------------------------------


def _urgent(sock: socket.socket, part: bytes) -> None:
    sock.sendall(part)
    sock.send(b"!", socket.MSG_OOB)
    sock.sendall(part)


def _urgent_small(sock: socket.socket) -> None:
    sock.recv(1)
    _urgent(sock, b"abc")
    sock.recv(1)


def _urgent_then_waits(sock: socket.socket) -> None:
    _urgent(sock, b"abc")
    sock.settimeout(2 * _STALLS_AFTER)
    sock.recv(1)


def _urgent_bulk(sock: socket.socket) -> None:
    sock.recv(1)
    _urgent(sock, bytes(_BULK))
    sock.shutdown(socket.SHUT_WR)
    sock.recv(1)


def _answer_with_unread_input(sock: socket.socket) -> None:
    sock.recv(1)  # and leaves the rest: its close is a RST that overtakes the FIN
    sock.sendall(bytes(200))


def _answer_then_reset(sock: socket.socket) -> None:
    sock.recv(1)
    sock.sendall(bytes(1_000_000))
    time.sleep(0.5)
    reset(sock)


def _reset_at_once(sock: socket.socket) -> None:
    sock.recv(1)
    reset(sock)


def _six_megabytes(sock: socket.socket) -> None:
    sock.recv(1)
    sock.sendall(bytes(_QUEUED))


def _asks(sock: socket.socket) -> Got:
    sock.sendall(b"ask and more")
    return receive(sock)


def _asks_slowly(sock: socket.socket) -> Got:
    sock.sendall(b"ask and more")
    return receive(sock, 0.01)


def _asks_one(sock: socket.socket) -> Got:
    sock.sendall(b"?")
    return receive(sock)


def _asks_one_slowly(sock: socket.socket) -> Got:
    sock.sendall(b"?")
    return receive(sock, _PIECE / _RATE)


def _uploads(sock: socket.socket) -> Got:
    def upload() -> None:
        with suppress(OSError):
            while True:
                sock.sendall(bytes(_BULK))

    Thread(target=upload, daemon=True).start()
    return receive(sock)


def _greets(sock: socket.socket) -> Got:
    sock.sendall(b"!")
    return receive(sock)


def _says_last(sock: socket.socket) -> None:
    sock.recv(1)
    sock.sendall(bytes(200))
    reset(sock)


class Case(NamedTuple):
    """Who receives is measured: the client, or the target where ``client`` returns nothing."""

    name: str
    target: Callable[[socket.socket], Got | None]
    client: Callable[[socket.socket], Got | None]


CASES = (
    Case("abc, urgent byte, abc, to the client", _urgent_small, _asks_one),
    Case("abc, urgent byte, abc, to the target", receive, _urgent_then_waits),
    Case("200 kB, urgent byte, 200 kB, FIN", _urgent_bulk, _asks_one),
    Case("answer of 200 B, close with unread input", _answer_with_unread_input, _asks),
    Case("answer of 1 MB, a moment, RST, slow reader", _answer_then_reset, _asks_slowly),
    Case("answer of 200 B to an upload, close", _answer_with_unread_input, _uploads),
    Case("client's last 200 B, RST", _greets, _says_last),
    Case("target resets at once", _reset_at_once, _asks),
    Case(f"6 MB and FIN to 800 kB/s, half-close timeout {_HALF_CLOSE} s", _six_megabytes, _asks_one_slowly),
)


# -- the proxies ----------------------------------------------------------------------------------------------


def _smartproxy(acceleration: str) -> Callable[[int, int, Path], list[str]]:
    def command(port: int, target: int, directory: Path) -> list[str]:
        settings = {
            "acceleration": acceleration,
            "halfCloseTimeout": f"{_HALF_CLOSE}s",
            "routes": [
                {
                    "name": "all",
                    "match": {"ports": [port], "address": _HOST},
                    "action": {"targets": [{"host": _HOST, "port": target}]},
                }
            ],
        }
        path = directory / f"{acceleration}.json"
        path.write_text(json.dumps(settings))
        twistd = Path(PYTHON[0]).with_name("twistd")
        return [*PYTHON, str(twistd), "-n", "--pidfile=", "smartproxy", "--config", str(path)]

    return command


def _haproxy(port: int, target: int, directory: Path) -> list[str]:
    path = directory / "haproxy.cfg"
    path.write_text(
        f"""global
    nbthread 1
defaults
    mode tcp
    option splice-auto
    timeout connect 5s
    timeout client 1m
    timeout server 1m
    timeout client-fin {_HALF_CLOSE}s
    timeout server-fin {_HALF_CLOSE}s
listen all
    bind {_HOST}:{port}
    server s {_HOST}:{target}
"""
    )
    return [haproxy_program(), "-db", "-f", str(path)]


CONTESTANTS = {"auto": _smartproxy("auto"), "off": _smartproxy("off"), "haproxy": _haproxy}


class Target:
    """Listens; the target of every contestant."""

    def __init__(self, stack: ExitStack) -> None:
        self.listening = stack.enter_context(socket.create_server((_HOST, 0)))
        self.port: int = self.listening.getsockname()[1]

    def run(self, case: Case, port: int) -> Got:
        """One connection of ``case`` through ``port``."""
        heard: list[Got | None] = []

        def serve() -> None:
            sock, _ = self.listening.accept()
            with sock:
                sock.settimeout(60)
                heard.append(case.target(sock))

        serving = Thread(target=serve)
        serving.start()
        with socket.create_connection((_HOST, port), 10) as sock:
            got = case.client(sock)
        serving.join()
        result = got or heard[0]
        assert result is not None
        return result


def main(times: int = TIMES) -> None:
    """Print a table of results."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(TemporaryDirectory()))
        target = Target(stack)
        ports = {"direct": target.port}
        for name, command in CONTESTANTS.items():
            port = ports[name] = free_port()
            ready = Thread(target=target.listening.accept)  # of the look whether the proxy listens
            ready.start()
            made = command(port, target.port, directory)
            process = stack.enter_context(Process(name, made, directory / f"{name}.log", LOAD_CPUS))
            process.wait_until_listening(_HOST, port)
            ready.join()
        for case in CASES:
            print(case.name, flush=True)
            for name, port in ports.items():
                results = Counter(str(target.run(case, port)) for _ in range(times))
                told = "; ".join(f"{count} x {result}" for result, count in results.most_common())
                print(f"    {name:8} {told}", flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
