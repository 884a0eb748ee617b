"""Shell completion as ``docs/operations.rst`` describes it, in interactive shells."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import subprocess
import sys

from tests.live.case import LiveCase
from tests.live.programs import ROOT, environment, needed, tied
from tests.live.waiting import PATIENCE, until

_PROMPT = b"ready$ "
#: Each shell without the user's files, and what sets the prompt.
_SHELLS = {
    "bash": (["--norc", "--noprofile", "-i"], "PS1='rea''dy$ '"),
    "zsh": (["-f", "-i"], "autoload -Uz compinit && compinit -u -D; PROMPT='rea''dy$ '"),
    "fish": (["--no-config", "-i"], "function fish_prompt; echo -n 'rea''dy$ '; end"),
}


class CompletionTests(LiveCase):
    def setUp(self):
        super().setUp()
        self.done = self.directory / "done"
        script = self.file(
            "smartproxy",
            f"#!/bin/sh\n"
            f'[ -n "$_SMARTPROXY_COMPLETE" ] || {{ echo "$@" >>{self.done}; exit; }}\n'
            f"exec {sys.executable} -c 'from smartproxy.cli import main; main(prog_name=\"smartproxy\")'\n",
        )
        script.chmod(0o755)

    def start(self, shell):
        """An interactive shell with completion set up; the other end of its terminal."""
        options, prompt = _SHELLS[shell]
        page = (ROOT / "docs" / "operations.rst").read_text(encoding="utf-8")
        (line,) = re.findall(rf"^    (.*_SMARTPROXY_COMPLETE={shell}_source.*)$", page, re.MULTILINE)
        keyboard, terminal = pty.openpty()
        self.addCleanup(os.close, keyboard)
        path = f"{self.directory}:{os.environ['PATH']}"
        running = subprocess.Popen(
            tied(needed("setsid"), "--ctty", needed(shell), *options),  # fish requires a controlling terminal
            stdin=terminal, stdout=terminal, stderr=terminal, cwd=self.directory,
            env={**environment(), "PATH": path, "TERM": "xterm", "HOME": str(self.directory)},
        )  # fmt: skip
        os.close(terminal)
        os.set_blocking(keyboard, False)
        self.addCleanup(running.wait, PATIENCE)
        self.addCleanup(running.kill)
        self.printed = bytearray()
        os.write(keyboard, f"{prompt}; {line}\n".encode())
        self.shows(keyboard, _PROMPT)
        return keyboard

    def read(self, keyboard):
        with contextlib.suppress(BlockingIOError):
            self.printed += os.read(keyboard, 1 << 16)

    def shows(self, keyboard, words):
        def look():
            self.read(keyboard)
            return words in self.printed

        until(look, f"{words} in {bytes(self.printed)}")

    def completed(self, keyboard, typed):
        """The words of the command that ``typed``, a tab and Enter run."""
        self.done.unlink(missing_ok=True)
        del self.printed[:]
        os.write(keyboard, f"{typed}\t".encode())
        until(lambda: self.read(keyboard) or len(self.printed) > len(typed), "an echo")
        os.write(keyboard, b"\n")

        def look():
            self.read(keyboard)
            return self.done.exists() and self.done.read_text().strip()

        return until(look, f"a command, after {bytes(self.printed)}")

    def test_each_shell_completes_commands_options_and_values(self):
        self.file("proxy.yaml", "")
        for shell in _SHELLS:
            with self.subTest(shell):
                keyboard = self.start(shell)
                for typed, expected in (
                    ("smartproxy rel", "reload"),
                    ("smartproxy top --so", "top --sort"),
                    ("smartproxy top --sort na", "top --sort name"),
                    ("smartproxy reload --config pro", "reload --config proxy.yaml"),
                    ("smartproxy certificates ren", "certificates renew"),
                    ("smartproxy certificates renew --no", "certificates renew --no-wait"),
                    ("smartproxy target app 127.0.0.1:80 dr", "target app 127.0.0.1:80 drain"),
                ):
                    self.assertEqual(self.completed(keyboard, typed), expected)
