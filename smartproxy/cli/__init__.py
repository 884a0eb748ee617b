"""The command ``smartproxy``: forwards a port, works on a configuration file, or on a running proxy through its admin API.

A command is imported when it is run, so that ``smartproxy check`` does not wait for Twisted and treq. To add one, write
its module and name it in :data:`_COMMANDS`. Give it a ``short_help`` that is a whole phrase: click would cut the first
sentence of its docstring to the width of the list in ``smartproxy --help``.

Exit codes: 0 success, 2 wrong usage or an invalid configuration, 3 a port could not be bound, 1 anything else.
"""

from __future__ import annotations

from importlib import import_module

import click

#: Command name to ``module:function``, in the order of ``--help``.
_COMMANDS = {
    "forward": "smartproxy.cli.forward:forward",
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
    """A group that imports a command when it is run or listed."""

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
    """Forward a port, check and explain a configuration, and control a running proxy.

    To start a proxy with a configuration: twistd smartproxy --config FILE
    """
