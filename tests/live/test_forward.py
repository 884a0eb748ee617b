"""``smartproxy forward`` as a command: traffic, the line of each connection, its exit codes and its end."""

from __future__ import annotations

import os
import re
import signal
import ssl
import sys
from pathlib import Path

from tests.live.backends import echo
from tests.live.case import LiveCase
from tests.live.certificates import Authority
from tests.live.programs import Program, environment, run
from tests.live.proxy import twistd
from tests.live.waiting import until

LINE = r"(\S+) -> (\S+): (\d+) bytes received, (\d+) sent, (\d+\.\d{3}) s, (\w+)"


def smartproxy():
    """Command line of ``smartproxy``: the script of this Python's environment, or the module."""
    beside = Path(sys.executable).with_name("smartproxy")
    return (
        [str(beside)]
        if beside.exists()
        else [sys.executable, "-c", "from smartproxy.cli import main; main()"]
    )


class ForwardCase(LiveCase):
    def forwarding(self, *arguments):
        """The command, once it listens; standard output and standard error are in one file."""
        log = self.directory / "forward.log"
        program = Program([*smartproxy(), "forward", *arguments], log, env=environment(), cwd=self.directory)
        self.addCleanup(program.stop)
        until(lambda: "Ctrl-C stops" in program.printed or program.ended is not None, "the start")
        self.assertIsNone(program.ended, program.printed)
        return program

    def lines(self, program, count):
        """The lines of connections, once there are ``count``."""
        found = until(
            lambda: re.findall(f"^{LINE}$", program.printed, re.MULTILINE)[count - 1 :] and program.printed,
            f"{count} lines of connections in {program.printed}",
        )
        return re.findall(f"^{LINE}$", found, re.MULTILINE)

    def fails(self, *arguments):
        done = run(*smartproxy(), "forward", *arguments, env=environment(), cwd=self.directory)
        return done.returncode, done.stdout, done.stderr


class TrafficTests(ForwardCase):
    def test_every_connection_is_a_line_with_its_end(self):
        """Nothing else is printed, besides one line at the start."""
        front, backend = self.port(), self.backend(echo)
        program = self.forwarding(str(front), f"127.0.0.1:{backend.port}")
        clients = []
        for words in (b"hello", bytes(1_000_000)):
            client = self.connect(front)
            client.sendall(words)
            self.assertEqual(self.read(client, len(words)), words)
            clients.append("{}:{}".format(*client.getsockname()))
            client.close()
            self.lines(program, len(clients))
        target = f"127.0.0.1:{backend.port}"
        found = self.lines(program, 2)
        self.assertEqual(
            [(line[:4], line[5]) for line in found],
            [
                ((clients[0], target, "5", "5"), "normal"),
                ((clients[1], target, "1000000", "1000000"), "normal"),
            ],
        )
        self.assertEqual(len(program.printed.splitlines()), 3, program.printed)
        program.signal(signal.SIGINT)
        self.assertEqual(program.wait(), 0)
        self.assertEqual(len(program.printed.splitlines()), 3, program.printed)

    def test_ipv6_on_both_sides(self):
        front = self.port()
        backend = self.backend(echo, host="::1")
        program = self.forwarding(f"[::1]:{front}", f"[::1]:{backend.port}")
        client = self.connect(front, "::1")
        self.assert_echoes(client)
        client.close()
        ((peer, target, *_),) = self.lines(program, 1)
        self.assertEqual((peer[:6], target), ("[::1]:", f"[::1]:{backend.port}"))
        with self.assertRaises(ConnectionRefusedError):
            self.connect(front)

    def test_refused_target_is_one_line_and_its_cause(self):
        front, target = self.port(), self.port()
        program = self.forwarding(str(front), f"127.0.0.1:{target}")
        self.assert_refused(front)
        ((_, named, received, sent, _, reason),) = self.lines(program, 1)
        self.assertEqual(
            (named, received, sent, reason), (f"127.0.0.1:{target}", "0", "0", "upstream_refused")
        )
        until(lambda: f"127.0.0.1:{target}: Connection refused" in program.printed, "the cause")
        self.assertNotIn("refused 1 connection", program.printed)

    def test_tls_is_terminated(self):
        """With a certificate that is made at start, and with files."""
        authority = Authority(self.directory)
        pem = authority.certificate("live.test")
        backend = self.backend(echo)
        for tls in (("selfSigned",), (pem.name, pem.name)):
            front = self.port()
            program = self.forwarding("--tls", *tls, str(front), f"127.0.0.1:{backend.port}")
            context = ssl.create_default_context(cafile=authority.file)
            if tls == ("selfSigned",):
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            with context.wrap_socket(self.connect(front), server_hostname="live.test") as client:
                self.assert_echoes(client)
                client.unwrap().close()
            ((*_, reason),) = self.lines(program, 1)
            self.assertEqual(reason, "normal")
            program.stop()

    def test_proxy_header_and_admin_api(self):
        front = self.port()
        backend = self.backend(echo)
        program = self.forwarding(f"127.0.0.1:{front}", f"127.0.0.1:{backend.port}", "--send-proxy", "1")
        client = self.connect(front)
        client.sendall(b"x")
        port = client.getsockname()[1]
        header = f"PROXY TCP4 127.0.0.1 127.0.0.1 {port} {front}\r\n".encode()
        self.assertEqual(self.read(client, len(header) + 1), header + b"x")
        client.close()
        ((_, _, received, sent, *_),) = self.lines(program, 1)
        self.assertEqual((received, sent), ("1", str(len(header) + 1)))


class EndTests(ForwardCase):
    def test_port_in_use_exits_3(self):
        taken = self.backend(echo).port
        code, out, err = self.fails(f"127.0.0.1:{taken}", "127.0.0.1:1")
        self.assertEqual((code, out), (3, ""))
        self.assertEqual(
            err,
            f"smartproxy forward: cannot listen on 127.0.0.1:{taken}: [Errno 98] Address already in use\n",
        )

    def test_wrong_usage_exits_2_before_anything_listens(self):
        code, out, err = self.fails(str(self.port()), "9000")
        self.assertEqual((code, out), (2, ""))
        self.assertIn("needs a host and a port, for example 127.0.0.1:9000", err)

    def test_second_interrupt_ends_open_connections(self):
        """The first waits for them, as the stop of a server does, and says so."""
        front, backend = self.port(), self.backend(echo)
        program = self.forwarding(str(front), f"127.0.0.1:{backend.port}")
        client = self.connect(front)
        self.assert_echoes(client)
        program.signal(signal.SIGINT)
        until(lambda: "waiting up to 30 s for 1 connections; Ctrl-C ends them" in program.printed, "the wait")
        self.assert_echoes(client)
        program.signal(signal.SIGINT)
        self.assertEqual(program.wait(), 0)
        ((*_, reason),) = self.lines(program, 1)
        self.assertEqual(reason, "shutdown")

    def test_reader_of_its_output_that_ends_does_not_end_it(self):
        """``smartproxy forward ... | head -n 1`` goes on forwarding."""
        front, backend = self.port(), self.backend(echo)
        # The shell's pipe has no reader when the command starts; its standard error is the log.
        command = [*smartproxy(), "forward", str(front), f"127.0.0.1:{backend.port}"]
        shell = ["sh", "-c", 'trap "" INT; "$@" | true', "sh", *command]
        program = Program(shell, self.directory / "unread.log", env=environment(), cwd=self.directory)
        self.addCleanup(program.stop)
        program.listens(front)
        for _ in range(3):
            client = self.connect(front)
            self.assert_echoes(client)
            client.close()
        os.killpg(program.pid, signal.SIGINT)
        self.assertEqual(program.wait(), 0)
        self.assertNotIn("Traceback", program.printed)

    def test_printed_configuration_does_the_same(self):
        front, backend = self.port(), self.backend(echo)
        printed = run(
            *smartproxy(), "forward", f"127.0.0.1:{front}", f"127.0.0.1:{backend.port}", "--print",
            env=environment(), cwd=self.directory,
        )  # fmt: skip
        file = self.file("smartproxy.yaml", printed.stdout)
        server = self.program(
            *twistd(),
            "-n",
            "--pidfile=",
            "smartproxy",
            "--config",
            file,
            env=environment(),
            cwd=self.directory,
        )
        server.listens(front)
        self.assert_echoes(self.connect(front))
