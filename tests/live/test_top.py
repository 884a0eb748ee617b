"""``smartproxy top`` in a terminal, with a proxy that stops meanwhile."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios

from tests.live.backends import echo
from tests.live.case import LiveCase, route
from tests.live.programs import environment, tied
from tests.live.waiting import PATIENCE, until


class TopTests(LiveCase):
    def start(self, url):
        """Start the command; the process, and the other end of its terminal."""
        keyboard, terminal = pty.openpty()
        self.addCleanup(os.close, keyboard)
        self.resize(keyboard, 40, 100)
        command = [
            sys.executable,
            "-c",
            "from smartproxy.cli import main; main()",
            "top",
            "--interval",
            "0.2",
            "--admin",
            url,
        ]
        running = subprocess.Popen(
            tied(*command),
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            env={**environment(), "TERM": "xterm"},
        )
        os.close(terminal)
        os.set_blocking(keyboard, False)
        self.addCleanup(running.wait, PATIENCE)
        self.addCleanup(running.kill)
        return running, keyboard

    def resize(self, keyboard, lines, columns):
        fcntl.ioctl(keyboard, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def shows(self, keyboard, words):
        """Wait until ``words`` are displayed."""
        held = bytearray()

        def look():
            try:
                held.extend(os.read(keyboard, 1 << 16))
            except BlockingIOError:
                return False
            return words in held

        until(look, f"{words} on the terminal")

    def test_top_shows_a_proxy_survives_its_stop_and_quits_by_q(self):
        front = self.port()
        proxy = self.proxy(route("the-echo", front, self.backend(echo)))
        self.assert_echoes(self.connect(front))
        top, keyboard = self.start(f"http://127.0.0.1:{proxy.admin_port}")
        self.shows(keyboard, b"the-echo")
        self.shows(keyboard, b"1 active of 1")
        os.write(keyboard, b"g")
        self.shows(keyboard, b"1 target\xe2\x96\xb2")
        os.write(keyboard, b"g")
        self.shows(keyboard, b"1 route")
        os.write(keyboard, b"/nothing\r")
        self.shows(keyboard, b"0 routes")
        self.resize(keyboard, 30, 60)
        self.shows(keyboard, b"[nothing]")
        proxy.stop()
        self.shows(keyboard, b"STALE: retrying")
        self.assertIsNone(top.poll())
        os.write(keyboard, b"q")
        self.assertEqual(top.wait(PATIENCE), 0)
