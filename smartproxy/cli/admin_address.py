"""The admin listener that a command talks to: from ``--admin``, from a configuration file, or the default.

================================  ==========================================================================
given                             listener and token
================================  ==========================================================================
``--admin``                       that address; the token of ``--config`` if that is given, too
``--config FILE``                 those of ``admin`` in FILE
neither, ``smartproxy.yaml`` here  those of ``admin`` in it
neither                           http://127.0.0.1:8404, without a token
================================  ==========================================================================

``--token`` and ``SMARTPROXY_TOKEN`` win over the token of a file. The token of a file that the user did not name is never
sent to an address that is not in that file.
"""

from __future__ import annotations

import re
from functools import update_wrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from smartproxy.cli.admin_client import NOT_THERE, AdminClient
from smartproxy.cli.configuration import INVALID, admin_of
from smartproxy.wire.host import is_address

if TYPE_CHECKING:
    from collections.abc import Callable

    from smartproxy.model.plan import AdminPlan

#: The configuration that is looked for in the working directory.
DEFAULT_FILE = "smartproxy.yaml"
#: Where ``admin: true`` listens.
DEFAULT_PORT = 8404
_HIGHEST_PORT = 65535
#: A listener on every address is reached by loopback.
_WILDCARDS = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}
_HOST_AND_PORT = re.compile(r"(?P<host>\[[^]]*\]|[^:/\s]*):(?P<port>\d+)")
_NOT_RUNNING = "is the proxy running with this configuration? A changed `admin` needs a restart; --admin takes the former address"
_FORMS = "must be a URL, HOST:PORT, :PORT or unix:PATH"


def parse_address(given: str) -> str:
    """The base URL of an address as a user writes it, or ``unix:PATH``.

    :raises ValueError: where it is neither; the text says what it must be.
    """
    if given.startswith("unix:"):
        path = given.removeprefix("unix:")
        if not path:
            raise ValueError(f"{_FORMS}: unix: needs a path")
        return "unix:" + re.sub("^//+", "/", path)
    if "://" in given:
        return _url(given)
    if is_address(given):  # an IPv6 address has colons, too
        return base_url(given, DEFAULT_PORT)
    found = _HOST_AND_PORT.fullmatch(given)
    if found is None:
        hint = f'; did you mean "unix:{given}"?' if "/" in given else ""
        hint = f'; did you mean ":{given}"?' if given.isdigit() else hint
        raise ValueError(_FORMS + hint)
    return base_url(found["host"].strip("[]"), _port(found["port"]))


def _url(given: str) -> str:
    try:
        parts = urlsplit(given)
        host, port = parts.hostname, parts.port
    except ValueError as problem:
        raise ValueError(f"{_FORMS}: {problem}") from None
    if parts.scheme not in {"http", "https"} or not host:
        raise ValueError(f"{_FORMS}; a URL begins with http:// or https://")
    if host not in _WILDCARDS:
        return given.rstrip("/")
    return base_url(host, port or DEFAULT_PORT, parts.scheme) + parts.path.rstrip("/")


def _port(digits: str) -> int:
    port = int(digits)
    if not 1 <= port <= _HIGHEST_PORT:
        raise ValueError(f"the port must be 1..{_HIGHEST_PORT} (got {digits})")
    return port


def base_url(host: str, port: int, scheme: str = "http") -> str:
    """``http://HOST:PORT`` for a listener on ``host``; a wildcard address is reached by loopback."""
    host = _WILDCARDS.get(host, host)
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def find(address: str | None, config: Path | None, token: str | None) -> AdminClient:
    """The listener for these options; see the head of this module.

    :param address: ``--admin``, parsed.
    :raises click.exceptions.Exit: with code 2 where a configuration has no admin listener, or cannot be read.
    """
    file = config
    if file is None and address is None and Path(DEFAULT_FILE).exists():
        file = Path(DEFAULT_FILE)
    plan = None if file is None else admin_of(file, with_token=token is None)
    hint = NOT_THERE
    if address is not None:
        origin = "--admin"
    elif file is None:
        address, origin = base_url("", DEFAULT_PORT), f"the default, as there is no {DEFAULT_FILE} here"
    elif plan is None:
        raise _without_admin(file)
    else:
        address, origin, hint = _address_of(plan), f"admin in {file}", _NOT_RUNNING
    if token is not None:
        return AdminClient(address, token, origin, "--token or SMARTPROXY_TOKEN", hint)
    return AdminClient(address, None if plan is None else plan.token, origin, f"admin.token in {file}", hint)


def _address_of(plan: AdminPlan) -> str:
    if plan.unix is not None:
        return f"unix:{plan.unix}"
    return base_url(plan.address, plan.port)


def _without_admin(file: Path) -> click.exceptions.Exit:
    click.echo(
        f"{file}: has no admin listener: add `admin: true` and restart the proxy (SIGHUP reloads without one), "
        "or give the address of another one with --admin",
        err=True,
    )
    return click.exceptions.Exit(INVALID)


def parsed_option(_context: click.Context, _option: click.Parameter, value: str | None) -> str | None:
    """Parse the value of ``--admin``."""
    if value is None:
        return None
    try:
        return parse_address(value)
    except ValueError as problem:
        raise click.BadParameter(str(problem)) from None


def admin_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that select an admin listener. The command gets an :class:`AdminClient` as ``admin``.

    Those that are not given are taken from the group of the command, which has them by :func:`admin_parameters`:
    ``smartproxy certificates --admin :8405 renew a.example``.
    """

    def with_admin(*, address: str | None, config: Path | None, token: str | None, **rest: Any) -> None:
        context = click.get_current_context()
        own = {"address": address, "config": config, "token": token}
        command(admin=find(**_with_those_of_group(context, own)), **rest)

    return admin_parameters(update_wrapper(with_admin, command))


def _with_those_of_group(context: click.Context, own: dict[str, Any]) -> dict[str, Any]:
    """The values of the options: of the command, else of its group, else of the environment."""
    given = {} if context.parent is None else context.parent.params
    return {
        name: value
        if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
        else given.get(name) or value
        for name, value in own.items()
    }


def admin_parameters(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that select an admin listener. The command gets them as the arguments of :func:`find`."""
    options = [
        click.option(
            "--config",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="Configuration of the running proxy, from which its admin listener and token are taken.  "
            f"[default: {DEFAULT_FILE}, if there is one]",
        ),
        click.option(
            "--admin",
            "address",
            metavar="ADDRESS",
            callback=parsed_option,
            help="Address of the admin listener: a URL, HOST:PORT, :PORT or unix:PATH.  "
            f"[default: that of the configuration, or else {base_url('', DEFAULT_PORT)}]",
        ),
        click.option(
            "--token",
            envvar="SMARTPROXY_TOKEN",
            show_envvar=True,
            help="Token of the admin listener.  [default: admin.token of the configuration]",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command
