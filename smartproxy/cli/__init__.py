"""The command ``smartproxy``: forwards a port, works on a configuration file, or on a running proxy through its admin API.

A command is imported when it is run, so that ``smartproxy check`` does not wait for Twisted and treq. To add one, write
its module and name it in :data:`_COMMANDS`. Give it a ``short_help`` that is a whole phrase: click would cut the first
sentence of its docstring to the width of the list in ``smartproxy --help``.

Exit codes: 0 success, 2 wrong usage or an invalid configuration, 3 a port could not be bound, 1 anything else.
"""

from __future__ import annotations

import os
from difflib import get_close_matches
from importlib import import_module
from typing import Any

import click

from smartproxy._version import VERSION_LINE, __version__

#: Command name to ``module:function``, in the order of ``--help``.
_COMMANDS = {
    "forward": "smartproxy.cli.forward:forward",
    "check": "smartproxy.cli.check:check",
    "explain": "smartproxy.cli.explain:explain",
    "schema": "smartproxy.cli.schema:schema",
    "reload": "smartproxy.cli.remote:reload",
    "drain": "smartproxy.cli.remote:drain",
    "connections": "smartproxy.cli.remote:connections",
    "workers": "smartproxy.cli.worker_list:workers",
    "certificates": "smartproxy.cli.certificates:certificates",
    "targets": "smartproxy.cli.targets:targets",
    "target": "smartproxy.cli.targets:target",
    "top": "smartproxy.cli.top:top",
}


#: What people type, and the command that does it.
_OTHER_WORDS = {
    "validate": ["check"], "test": ["check"], "configtest": ["check"], "lint": ["check"], "verify": ["check"],
    "run": ["twistd -n smartproxy --config FILE"], "start": ["twistd smartproxy --config FILE"],
    "serve": ["twistd -n smartproxy --config FILE"], "stats": ["top"], "status": ["top"], "monitor": ["top"],
    "servers": ["targets"], "backends": ["targets"], "upstreams": ["targets"], "groups": ["targets"],
    "certs": ["certificates"], "renew": ["certificates renew NAME"],
    "processes": ["workers"], "ps": ["workers"],
    "enable": ["target GROUP NAME up"], "disable": ["target GROUP NAME down"], "weight": ["target GROUP NAME weight N"],
}  # fmt: skip

#: The variable by which a shell asks for completions, as click names it.
_COMPLETION = "_SMARTPROXY_COMPLETE"


class _Lazy(click.Group):
    """A group that imports a command when it is run or listed."""

    def main(self, *args: Any, **more: Any) -> Any:
        """Run a command, or complete one for the shell."""
        if _COMPLETION in os.environ:
            import_module("smartproxy.cli.completion").register()
        return super().main(*args, **more)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, _, name = _COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(import_module(module), name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does; the message about an unknown command names the one that was meant."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as unknown:
            meant = _OTHER_WORDS.get(args[0]) or get_close_matches(args[0], self.list_commands(ctx), n=1)
            if not meant:
                raise
            raise click.UsageError(f"{unknown.message.rstrip('.')}; did you mean {meant[0]}?", ctx) from None


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message=VERSION_LINE)
def main() -> None:
    """Forward a port, check and explain a configuration, and control a running proxy.

    To start a proxy with a configuration: twistd smartproxy --config FILE
    """
