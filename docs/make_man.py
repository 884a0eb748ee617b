"""Renders the manual pages in ``docs/man`` from the options of the commands and from ``docs/operations.rst``.

After a change of a command, an option, an exit code or a signal::

    python docs/make_man.py

A test compares the files in the repository with what this renders. The markup is man(7).
"""

from __future__ import annotations

import re
from configparser import ConfigParser
from pathlib import Path
from typing import TYPE_CHECKING

import click

from smartproxy.cli import main
from smartproxy.tap import Options

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

DOCS = Path(__file__).resolve().parent
PAGES = DOCS / "man"

_BLANK = "\n\n"
#: Wider than any help text, so that none is wrapped.
_WIDE = 10_000
_TWISTD_OPTION = re.compile(r"^ +(?:(-\w), )? *(--[\w-]+=?) +(.*)$", re.MULTILINE)
_ROW = re.compile(r"^(?P<first>\S+) {2,}(?P<rest>.+)$")

_FILES = (
    ("/etc/smartproxy/smartproxy.yaml", "The usual place of the configuration. Paths in it are relative to its directory."),
    (
        "PREFIX/share/doc/smartproxy/examples",
        "Example configurations, a container file, and an application for twistd. PREFIX is that of the installation.",
    ),
    ("PREFIX/lib/systemd/system/smartproxy.service", "A unit for systemd."),
)  # fmt: skip


def pages() -> dict[str, str]:
    """The text of each page by its file name."""
    return {
        "smartproxy.1": "\n".join(_command_page()) + "\n",
        "twistd-smartproxy.1": "\n".join(_server_page()) + "\n",
    }


def _command_page() -> Iterator[str]:
    context = click.Context(main, info_name="smartproxy", max_content_width=_WIDE)
    yield from _head("smartproxy", "check and explain a proxy configuration, and control a running proxy")
    yield from (".SH SYNOPSIS", r"\fBsmartproxy\fR \fICOMMAND\fR [\fIOPTIONS\fR]")
    yield ".SH DESCRIPTION"
    yield from _prose(main.help or "")
    yield ".SH OPTIONS"
    yield from _options(main, context)
    yield ".SH COMMANDS"
    for name in main.list_commands(context):
        command = main.get_command(context, name)
        if command is not None and not command.hidden:
            yield from _command(command, click.Context(command, context, name, max_content_width=_WIDE))
    yield ".SH ENVIRONMENT"
    for variable, help_ in _environment(context):
        yield from _item(variable, help_)
    yield from _exit_codes()
    yield from _files()
    yield from (".SH SEE ALSO", ".BR twistd-smartproxy (1)")


def _server_page() -> Iterator[str]:
    yield from _head("twistd-smartproxy", "run the TCP and TLS proxy")
    yield from (
        ".SH SYNOPSIS",
        r"\fBtwistd\fR [\fITWISTD OPTIONS\fR] \fBsmartproxy\fR [\fIOPTIONS\fR]",
    )
    yield ".SH DESCRIPTION"
    yield from _prose(f"{Options.longdesc}\n\n{_operations('Running it').partition(_BLANK)[0]}")
    yield ".SH OPTIONS"
    for short, long, help_ in _TWISTD_OPTION.findall(Options().getUsage(width=_WIDE)):
        name = f"{long.removesuffix('=')} FILE" if long == "--config=" else long.removesuffix("=")
        yield from _item(", ".join(filter(None, (short, name))), help_)
    yield ".SH SIGNALS"
    for signal, effect in _rows("Signals"):
        yield from _item(signal, effect)
    yield ".SH STOPPING"
    yield from _prose(_operations("Stopping and draining"))
    yield from _exit_codes()
    yield from _files()
    yield from (".SH SEE ALSO", ".BR smartproxy (1),", ".BR twistd (1)")


# -- parts of a page ---------------------------------------------------------------------------------------


def _head(name: str, what: str) -> Iterator[str]:
    setup = ConfigParser()
    setup.read(DOCS.parent / "setup.cfg", encoding="utf-8")
    yield r".\" Made by docs/make_man.py. Change the commands or docs/operations.rst, then run it."
    yield f'.TH {name.upper()} 1 "" "smartproxy {setup["metadata"]["version"]}"'
    yield from (".SH NAME", rf"{_escaped(name)} \- {what}")


def _command(command: click.Command, context: click.Context) -> Iterator[str]:
    usage = " ".join(command.collect_usage_pieces(context)).replace("[OPTIONS]", "[options]")
    yield f".SS {_escaped(f'{context.command_path} {usage}'.strip())}"
    yield from _prose(command.help or "")
    yield from _options(command, context)
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from _command(inner, click.Context(inner, context, name, max_content_width=_WIDE))


def _options(command: click.Command, context: click.Context) -> Iterator[str]:
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if isinstance(parameter, click.Option) and record is not None and "--help" not in parameter.opts:
            yield from _item(*record)


def _environment(context: click.Context) -> Iterator[tuple[str, str]]:
    """Each environment variable that an option of a command is read from, once."""
    found: dict[str, str] = {}
    for name in main.list_commands(context):
        command = main.get_command(context, name)
        for parameter in () if command is None else command.params:
            if isinstance(parameter, click.Option) and isinstance(parameter.envvar, str):
                found.setdefault(parameter.envvar, f"Used where {parameter.opts[0]} is not given.")
    yield from found.items()


def _exit_codes() -> Iterator[str]:
    yield ".SH EXIT STATUS"
    for code, meaning in _rows("Exit codes"):
        yield from _item(code, meaning)


def _files() -> Iterator[str]:
    yield ".SH FILES"
    for path, what in _FILES:
        yield from _item(path, what)


# -- what docs/operations.rst has --------------------------------------------------------------------------


def _operations(title: str) -> str:
    """The text below a heading, up to the next one, without literal blocks."""
    page = (DOCS / "operations.rst").read_text(encoding="utf-8")
    below = re.split(rf"^{re.escape(title)}\n[-~]+\n", page, maxsplit=1, flags=re.MULTILINE)[1]
    section = re.split(r"^.+\n[-~]{4,}\n", below, maxsplit=1, flags=re.MULTILINE)[0]
    kept = [paragraph for paragraph in section.strip().split("\n\n") if not paragraph.startswith((" ", "::"))]
    return "\n\n".join(kept).replace("``", "")


def _rows(title: str) -> Iterator[tuple[str, str]]:
    """The rows of the table below a heading, without its header; a row may continue on further lines."""
    rows: list[list[str]] = []
    for line in _operations(title).splitlines():
        found = _ROW.match(line)
        if found is not None and not line.startswith("="):
            rows.append([found["first"], found["rest"]])
        elif rows and line.startswith("  "):
            rows[-1][1] += f" {line.strip()}"
    yield from ((first, rest) for first, rest in rows[1:])


# -- markup ------------------------------------------------------------------------------------------------


def _item(term: str, text: str) -> Iterator[str]:
    yield from (".TP", f".B {_escaped(term)}", _line(" ".join(text.split())))


def _prose(text: str) -> Iterator[str]:
    r"""Paragraphs; one that begins with ``\b``, click's mark, keeps its lines."""
    for index, paragraph in enumerate(re.split(r"\n\s*\n", text.strip())):
        lines = [line.strip() for line in paragraph.strip("\n").splitlines()]
        if index:
            yield ".PP"
        if lines[0] == "\b":
            yield from (".nf", *map(_line, lines[1:]), ".fi")
        else:
            yield _line(" ".join(lines))


def _line(text: str) -> str:
    escaped = _escaped(text)
    # A line that begins with one of these is a request to roff.
    return rf"\&{escaped}" if escaped.startswith((".", "'")) else escaped


def _escaped(text: str) -> str:
    return text.replace("\\", r"\e").replace("-", r"\-")


def write(made: Iterable[tuple[str, str]], directory: Path = PAGES) -> None:
    """Write the pages into ``directory``."""
    directory.mkdir(exist_ok=True)
    for name, text in made:
        (directory / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write(pages().items())
