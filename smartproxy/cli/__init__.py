"""``smartproxy``: what is done with a configuration, or with a running proxy, from a shell.

A command lives in its own module and is imported when it is asked for, so that the others do not pay for it. To add one,
name it in :data:`_COMMANDS`.

Exit codes: 0 done, 2 wrong usage or an invalid configuration, 3 a port could not be bound, 1 anything else.
"""

from __future__ import annotations

from importlib import import_module

import click

#: Each command, and where it stands.
_COMMANDS = {
    "check": "smartproxy.cli.check:check",
    "explain": "smartproxy.cli.explain:explain",
    "schema": "smartproxy.cli.schema:schema",
    "reload": "smartproxy.cli.remote:reload",
    "drain": "smartproxy.cli.remote:drain",
    "connections": "smartproxy.cli.remote:connections",
    "certificates": "smartproxy.cli.remote:certificates",
    "top": "smartproxy.cli.top:top",
}


class _Lazy(click.Group):
    """A group whose commands are imported when they are run, or listed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, _, name = _COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(import_module(module), name)
        return command


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="smartproxy")
def main() -> None:
    """Check and explain a configuration of smartproxy, and ask a running one.

    The server itself is started with: twistd smartproxy --config FILE
    """
