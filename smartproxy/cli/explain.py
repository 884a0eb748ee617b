"""``smartproxy explain``: shows which route takes a connection, why, and what happens to it then. Nothing is started.

The options are converted to the bytes that a client would send, and these are parsed by the parsers of the proxy. So a
name, a host or a path is normalised, accepted and refused exactly as in the running proxy.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import click

from smartproxy.cli import configuration, remote
from smartproxy.cli.admin_address import find, parsed_option
from smartproxy.cli.admin_client import call, printable
from smartproxy.cli.dry_run import DryRun
from smartproxy.cli.effects import Effects
from smartproxy.cli.target_effects import TargetEffects
from smartproxy.model.address import Endpoint
from smartproxy.model.facts import Accepted, Announced, ApplicationProtocol, Detected
from smartproxy.model.plan import AcceptHeader
from smartproxy.routing import domains
from smartproxy.routing.matchers import is_heard_on
from smartproxy.routing.table import RouteTable, listener_name
from smartproxy.settings.compile.plans import match_plan
from smartproxy.settings.tables.rules import tlv_value
from smartproxy.wire import client_hello, http_head, proxy_tlv
from smartproxy.wire.host import is_address, normalise_address
from smartproxy.wire.proxy_header import ProxyHeader, Tlv
from smartproxy.wire.verdict import Malformed, NeedMore

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smartproxy.cli.admin_client import AdminClient, ICommandReactor
    from smartproxy.model.plan import ProxyPlan
    from smartproxy.settings import Settings
    from smartproxy.wire.client_hello import ClientHello
    from smartproxy.wire.http_head import RequestHead
    from smartproxy.wire.verdict import Verdict

T = TypeVar("T")

_REQUEST_NOT_USED = (
    "inside TLS no request is looked at here; --method, --host, --path and --header were not used"
)
_CHOSEN_AGAIN = "the route is chosen again by what is inside TLS; --method, --host, --path and --header describe a request there"


class _Query(NamedTuple):
    """The options that describe a request."""

    method: str | None
    host: str | None
    path: str | None
    headers: tuple[str, ...]

    @property
    def is_given(self) -> bool:
        """Whether any of the options was given."""
        return bool(self.headers) or any(option is not None for option in self[:3])

    def bytes(self) -> bytes:
        """The request head that a client would send; HTTP/1.0 without a Host, because HTTP/1.1 requires one."""
        headers = [*([f"Host: {self.host}"] if self.host is not None else []), *self.headers]
        named = any(header.lower().startswith("host:") for header in headers)
        line = f"{self.method or 'GET'} {self.path or '/'} HTTP/1.{int(named)}"
        return "\r\n".join([line, *headers, "", ""]).encode("utf-8", "surrogateescape")


@click.command("explain", short_help="Show which route takes a connection, and why.")
@click.argument("file", type=click.Path(path_type=Path))
@configuration.format_option
@click.option("--port", type=click.IntRange(1, 65535), required=True, help="Port of the connection.")
@click.option("--address", help="Local address, if routes are bound to addresses.")
@click.option("--sni", help="Server name of a TLS client; or the address that it connects to without one.")
@click.option("--alpn", multiple=True, help="Protocol that a TLS client offers; repeatable.")
@click.option("--method", help="Method of a request.  [default: GET]")
@click.option("--host", help="Host of a request.")
@click.option("--path", help="Path of a request, with its query.  [default: /]")
@click.option("--header", "headers", multiple=True, metavar="'K: V'", help="Header of a request; repeatable.")
@click.option("--client-ip", metavar="IP", help="Address of the client.")
@click.option(
    "--admin",
    "asked",
    metavar="ADDRESS",
    callback=parsed_option,
    help="Also ask the running proxy with this admin listener for the state of the targets.",
)
@click.option(
    "--token",
    envvar="SMARTPROXY_TOKEN",
    help="Its token.  [default: admin.token of FILE]",
)
@click.option("--silent", is_flag=True, help="The client sends nothing, and waits for the server.")
@click.option(
    "--proxy-tlv", "tlvs", multiple=True, metavar="TYPE=VALUE", help="TLV of its PROXY header; repeatable."
)
def explain(
    *,
    file: Path,
    format_: str | None,
    port: int,
    address: str | None,
    sni: str | None,
    alpn: tuple[str, ...],
    method: str | None,
    host: str | None,
    path: str | None,
    headers: tuple[str, ...],
    client_ip: str | None,
    tlvs: tuple[str, ...],
    asked: str | None,
    token: str | None,
    silent: bool,
) -> None:
    """Show which route of FILE (- is standard input) takes a connection, why, why each earlier one does not, and what happens to it then.

    The options describe the connection: --sni and --alpn a TLS client; --method, --host, --path and --header an HTTP
    request; without any of them, the client speaks neither. Nothing is started.

    The first line is "route NAME" or "no route". A connection that would be refused has a line "refused: REASON". Then
    come the certificate, the limits, the effective timeouts, the target group, its targets in the order in which they are
    tried, and who would be next: while every target is up, or with --admin as the running proxy would decide now.
    """
    settings = configuration.read(file, format_)
    plan = configuration.compiled(settings)
    table = RouteTable(plan.routes)
    announced = _announced(table, address, port, client_ip)._replace(header=_header(tlvs))
    query = _Query(method, host, path, headers)
    hello = _hello(sni, alpn) if sni is not None or alpn else None
    request = _request(query) if query.is_given else None
    if silent and (hello is not None or request is not None):
        raise click.UsageError("--silent: such a client sends neither a ClientHello nor a request")
    local = _local(address, sni)
    detected = _detected(table, announced, hello, request, local, silent=silent)
    run = DryRun(plan, detected, request, local, _disabled(settings, announced))
    for line in run.explanation.lines():
        click.echo(line)
    at, number = announced.accepted.listener.rpartition(":")[0], announced.accepted.port
    seconds = table.first_bytes_timeout(at, number)
    for line in Effects(settings, plan, run, detected, seconds, foresee=asked is None).lines():
        click.echo(line)
    for note in _notes(plan, run, detected, request):
        click.echo(f"note: {note}")
    if asked is not None:
        _ask(settings, run, detected, find(asked, None if str(file) == "-" else file, token))


def _ask(settings: Settings, run: DryRun, detected: Detected, admin: AdminClient) -> None:
    """Print what the running proxy knows of the targets of the route."""
    route = run.route
    if route is None or route.group is None:
        return
    effects = TargetEffects(settings, route, detected)
    query = {"group": route.group.name}
    if detected.client_ip:
        query["clientIp"] = detected.client_ip

    async def request(reactor: ICommandReactor) -> None:
        reply = await call(reactor, admin, "GET", "/api/v1/targets", query)
        for line in effects.running_lines(reply, admin.name):
            click.echo(printable(line))

    remote.run(request, admin)


def _disabled(settings: Settings, announced: Announced) -> tuple[str, ...]:
    """The names of disabled routes that would be on the listener, or on its port where there is none."""
    at, port = announced.accepted.listener.rpartition(":")[0], announced.accepted.port
    matches = [(route.name, match_plan(route.match)) for route in settings.routes if not route.enabled]
    return tuple(
        name
        for name, match in matches
        if is_heard_on(match, at) and any(port in ports for ports in match.ports)
    )


def _notes(plan: ProxyPlan, run: DryRun, detected: Detected, request: RequestHead | None) -> Iterator[str]:
    """What was not used of the options, and what else may happen."""
    hello, admin = detected.hello, plan.admin
    if (
        run.explanation.route is None
        and admin is not None
        and admin.unix is None
        and admin.port == detected.port
    ):
        yield f"port {admin.port} is the admin listener"
    if run.waits:
        yield "its first bytes are waited for without a limit (initialDataTimeout 0)"
    if hello is not None and hello.bad_name:
        yield "an IP address is no server name (RFC 6066, section 3): the client has none"
    if hello is not None and request is not None and not run.looks_inside:
        yield _REQUEST_NOT_USED
    if run.looks_inside and request is None and run.certificate is not None:
        yield _CHOSEN_AGAIN
    client = detected.client_ip
    if plan.trusted is not None and client in plan.trusted and plan.accept_header is not AcceptHeader.NEVER:
        required = plan.accept_header is AcceptHeader.REQUIRE
        without = (
            "without one it is refused (proxy_header_missing)" if required else "with one, that client counts"
        )
        yield f"{client} is in proxyIPs, so it may announce a client with a PROXY header; {without}"


def _announced(table: RouteTable, address: str | None, port: int, client_ip: str | None) -> Announced:
    at = _listening(table, port, _address(address, "--address") if address else address)
    client = Endpoint("" if client_ip is None else _address(client_ip, "--client-ip"), 0)
    return Announced(Accepted(listener_name(at, port), port, client, 0.0), client)


def _listening(table: RouteTable, port: int, address: str | None) -> str:
    """The address of the listener that gets connections to ``address``: the kernel prefers the most specific one.

    :param address: ``None`` is any: "" (every address) sorts first, else the first one that the port has is taken.
    """
    addresses = {at for at, number in table.listeners() if number == port}
    if address is None:
        return min(addresses, default="")
    wider = ("0.0.0.0", "") if ":" not in address else ("",)
    return next((at for at in (address, *wider) if at in addresses), address)


def _address(text: str, option: str) -> str:
    try:
        return normalise_address(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is not an IP address", param_hint=option) from None


def _local(address: str | None, sni: str | None) -> str:
    """The address that the client connects to, or nothing: ``--address``, or the address that ``--sni`` has in place of a name."""
    if address:
        return _address(address, "--address")
    return normalise_address(sni) if sni is not None and is_address(sni) else ""


def _header(tlvs: tuple[str, ...]) -> ProxyHeader | None:
    """The PROXY header with these TLVs; ``None`` without any."""
    found = []
    for written in tlvs:
        name, is_given, value = written.partition("=")
        try:
            found.append(Tlv(proxy_tlv.type_of(name), tlv_value(value)))
        except ValueError:
            is_given = ""
        if not is_given:
            message = f"{written!r} is not TYPE=VALUE, like authority=example.com or 0xEA=hex:01"
            raise click.BadParameter(message, param_hint="--proxy-tlv")
    return ProxyHeader(2, tlvs=tuple(found)) if found else None


def _hello(sni: str | None, alpn: tuple[str, ...]) -> ClientHello:
    try:
        name = sni if sni is None or sni.isascii() else domains.normalise_pattern(sni)
        sent = client_hello.build(name, alpn)
    except (ValueError, OverflowError) as problem:
        raise click.UsageError(f"--sni, --alpn: {problem}") from None
    return _parsed(client_hello.parse(sent), "--sni, --alpn")


def _request(query: _Query) -> RequestHead:
    return _parsed(http_head.parse(query.bytes()), "--method, --host, --path, --header")


def _parsed(verdict: Verdict[T], options: str) -> T:
    if isinstance(verdict, Malformed):
        raise click.UsageError(f"{options}: {verdict.why}")
    if isinstance(verdict, NeedMore):
        raise click.UsageError(f"{options}: longer than a client may send")
    return verdict.value


def _detected(
    table: RouteTable,
    announced: Announced,
    hello: ClientHello | None,
    request: RequestHead | None,
    local: str,
    *,
    silent: bool,
) -> Detected:
    """The facts that detection would produce from these first bytes, for a client that connects to ``local``.

    Without any, the client sends something that is neither TLS nor HTTP, where a route of the port needs first bytes at all.
    """
    address, _, port = announced.accepted.listener.rpartition(":")
    if hello is not None:
        is_known = bool(local) and hello.server_name is None and table.has_addresses(address, int(port))
        return Detected(announced, ApplicationProtocol.TLS, hello=hello, local=local if is_known else None)
    if request is not None:
        return Detected(announced, ApplicationProtocol.HTTP, request=request)
    inspected = table.needs_first_bytes(address, int(port))
    if inspected and silent:
        return Detected(announced, silent=True)
    return Detected(announced, ApplicationProtocol.RAW if inspected else ApplicationProtocol.UNSEEN)
