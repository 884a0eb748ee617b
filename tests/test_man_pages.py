"""The manual pages are those that ``docs/make_man.py`` renders, and name every command, option, exit code and signal."""

from __future__ import annotations

import runpy
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import click
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.cli import main
from smartproxy.tap import Options

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCS = Path(__file__).resolve().parent.parent / "docs"


class ManPageTests(SynchronousTestCase):
    pages: ClassVar = {path.name: path.read_text(encoding="utf-8") for path in (DOCS / "man").iterdir()}

    def named(self, page: str) -> str:
        return self.pages[page].replace(r"\-", "-")

    def test_the_pages_equal_what_is_rendered(self) -> None:
        made = runpy.run_path(str(DOCS / "make_man.py"))["pages"]()
        self.assertEqual(self.pages, made, "run: python docs/make_man.py")

    def commands(self, group: click.Group, context: click.Context) -> Iterator[tuple[str, click.Command]]:
        """Every command with its name; those of a group have the name of the group before theirs."""
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            assert command is not None
            yield name, command
            if isinstance(command, click.Group):
                for inner, below in self.commands(command, context):
                    yield f"{name} {inner}", below

    def test_every_command_and_option_is_named(self) -> None:
        page = self.named("smartproxy.1")
        context = click.Context(main)
        for name, command in self.commands(main, context):
            section = page.partition(f".SS smartproxy {name}")[2].partition(".SS")[0]
            self.assertTrue(section.strip(), name)
            options = [option for each in command.params for option in each.opts if option.startswith("--")]
            self.assertEqual([option for option in options if option not in section], [], name)

    def test_the_server_page_names_options_exit_codes_and_signals(self) -> None:
        page = self.named("twistd-smartproxy.1")
        for name in Options().longOpt:
            self.assertIn(f"--{name.removesuffix('=')}", page)
        for term in ("SIGTERM", "SIGHUP", "SIGUSR1", "0", "1", "2", "3"):
            self.assertIn(f".B {term}\n", page)

    def test_man_formats_the_pages_without_a_warning(self) -> None:
        groff = shutil.which("groff")
        if groff is None:
            self.skipTest("groff is not installed")
        for name in self.pages:
            done = subprocess.run(
                [groff, "-man", "-Tutf8", "-ww", "-z", str(DOCS / "man" / name)],
                capture_output=True,
                text=True,
                check=True,
            )
            self.assertEqual(done.stderr, "", name)
