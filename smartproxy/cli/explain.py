"""``smartproxy explain``: shows which route takes a connection, and why. Nothing is started.

The options are converted to the bytes that a client would send, and these are parsed by the parsers of the proxy. So a
name, a host or a path is normalised, accepted and refused exactly as in the running proxy.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import click

from smartproxy.cli import configuration
from smartproxy.model.address import Endpoint
from smartproxy.model.facts import Accepted, Announced, ApplicationProtocol, Detected
from smartproxy.routing import domains
from smartproxy.routing.explain import explain as explained
from smartproxy.routing.table import RouteTable, listener_name
from smartproxy.settings.tables.rules import tlv_value
from smartproxy.tls.store import ConfiguredCertificates
from smartproxy.wire import client_hello, http_head, proxy_tlv
from smartproxy.wire.host import normalise_address
from smartproxy.wire.proxy_header import ProxyHeader, Tlv
from smartproxy.wire.verdict import Malformed, NeedMore

if TYPE_CHECKING:
    from smartproxy.model.plan import ProxyPlan, TerminationPlan
    from smartproxy.wire.client_hello import ClientHello
    from smartproxy.wire.http_head import RequestHead
    from smartproxy.wire.verdict import Verdict

T = TypeVar("T")

_REQUEST_NOT_USED = (
    "note: inside TLS a request is not seen; --method, --host, --path and --header were not used"
)


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
@click.option("--port", type=click.IntRange(1, 65535), required=True, help="Port of the connection.")
@click.option("--address", help="Local address, if routes are bound to addresses.")
@click.option("--sni", help="Server name of a TLS client.")
@click.option("--alpn", multiple=True, help="Protocol that a TLS client offers; repeatable.")
@click.option("--method", help="Method of a request.  [default: GET]")
@click.option("--host", help="Host of a request.")
@click.option("--path", help="Path of a request.  [default: /]")
@click.option("--header", "headers", multiple=True, metavar="'K: V'", help="Header of a request; repeatable.")
@click.option("--client-ip", metavar="IP", help="Address of the client.")
@click.option("--silent", is_flag=True, help="The client sends nothing, and waits for the server.")
@click.option(
    "--proxy-tlv", "tlvs", multiple=True, metavar="TYPE=VALUE", help="TLV of its PROXY header; repeatable."
)
def explain(
    *,
    file: Path,
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
    silent: bool,
) -> None:
    """Show which route of FILE takes a connection, why, and why each earlier one does not.

    The options describe the connection: --sni and --alpn a TLS client; --method, --host, --path and --header an HTTP
    request; without any of them, the client speaks neither. Nothing is started.
    """
    plan = configuration.compiled(file)
    table = RouteTable(plan.routes)
    announced = _announced(table, address, port, client_ip)._replace(header=_header(tlvs))
    query = _Query(method, host, path, headers)
    hello = _hello(sni, alpn) if sni is not None or alpn else None
    request = _request(query) if query.is_given else None
    if silent and (hello is not None or request is not None):
        raise click.UsageError("--silent: such a client sends neither a ClientHello nor a request")
    explanation = explained(table, _detected(table, announced, hello, request, silent=silent))
    for line in explanation.lines():
        click.echo(line)
    if hello is not None and explanation.route is not None and explanation.route.tls is not None:
        click.echo(_certificate(plan, explanation.route.tls, hello, address or ""))
    if hello is not None and request is not None:
        click.echo(_REQUEST_NOT_USED)


def _certificate(plan: ProxyPlan, tls: TerminationPlan, hello: ClientHello, address: str) -> str:
    """The line about the certificate that the client would get."""
    if tls.certificate_for is not None:
        return "certificate: chosen by a callable for each handshake"
    shown = ConfiguredCertificates(plan).find(tls, hello, lambda: address)
    if shown is None:
        return "certificate: none for this name; refused with unrecognized_name"
    names = ", ".join(shown.names) or "no name"
    return f"certificate: {names} ({shown.plan.source}, {shown.key_type.name}), expires {shown.not_after:%Y-%m-%d %H:%M} UTC"


def _announced(table: RouteTable, address: str | None, port: int, client_ip: str | None) -> Announced:
    if address is None:
        # "" (every address) sorts first; if the port has no such listener, take its first one.
        address = min((at for at, number in table.listeners() if number == port), default="")
    try:
        client = Endpoint(normalise_address(client_ip) if client_ip is not None else "", 0)
    except ValueError:
        raise click.BadParameter(f"{client_ip!r} is not an IP address", param_hint="--client-ip") from None
    return Announced(Accepted(listener_name(address, port), port, client, 0.0), client)


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
    *,
    silent: bool,
) -> Detected:
    """The facts that detection would produce from these first bytes.

    Without any, the client sends something that is neither TLS nor HTTP, where a route of the port needs first bytes at all.
    """
    if hello is not None:
        return Detected(announced, ApplicationProtocol.TLS, hello=hello)
    if request is not None:
        return Detected(announced, ApplicationProtocol.HTTP, request=request)
    address, _, port = announced.accepted.listener.rpartition(":")
    inspected = table.needs_first_bytes(address, int(port))
    if inspected and silent:
        return Detected(announced, silent=True)
    return Detected(announced, ApplicationProtocol.RAW if inspected else ApplicationProtocol.UNSEEN)
