"""``smartproxy explain``: which route would take such a connection, and why. Nothing is started.

The options are made into the bytes that a client would send, and these are parsed as the path parses them. So
a name, a host or a path means here what it means there, in every corner.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import click

from smartproxy.errors import ConfigurationError
from smartproxy.model.address import Endpoint, normalised
from smartproxy.model.facts import Accepted, Announced, ApplicationProtocol, Detected
from smartproxy.routing import domains
from smartproxy.routing.explain import explain as explained
from smartproxy.routing.table import RouteTable, listener_name
from smartproxy.settings import Settings
from smartproxy.tls.store import ConfiguredCertificates
from smartproxy.wire import client_hello, http_head
from smartproxy.wire.verdict import Malformed, NeedMore

if TYPE_CHECKING:
    from smartproxy.model.plan import ProxyPlan, TerminationPlan
    from smartproxy.wire.client_hello import ClientHello
    from smartproxy.wire.http_head import RequestHead
    from smartproxy.wire.verdict import Verdict

T = TypeVar("T")

_UNSEEN_REQUEST = (
    "note: inside TLS a request is not seen; --method, --host, --path and --header were not used"
)


class _Query(NamedTuple):
    """The options that describe a request."""

    method: str | None
    host: str | None
    path: str | None
    headers: tuple[str, ...]

    @property
    def anything(self) -> bool:
        """Whether any of them was given."""
        return bool(self.headers) or any(option is not None for option in self[:3])

    def bytes(self) -> bytes:
        """The head that a client would send; without any host, one of HTTP/1.0, where none is due."""
        headers = [*([f"Host: {self.host}"] if self.host is not None else []), *self.headers]
        named = any(header.lower().startswith("host:") for header in headers)
        line = f"{self.method or 'GET'} {self.path or '/'} HTTP/1.{int(named)}"
        return "\r\n".join([line, *headers, "", ""]).encode("utf-8", "surrogateescape")


@click.command("explain")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--port", type=click.IntRange(1, 65535), required=True, help="Where the connection comes in.")
@click.option("--address", help="The address that it comes in on, where routes are bound to some.")
@click.option("--sni", help="The server name of a TLS client.")
@click.option("--alpn", multiple=True, help="A protocol that a TLS client offers; may be repeated.")
@click.option("--method", help="The method of a request.  [default: GET]")
@click.option("--host", help="The Host of a request.")
@click.option("--path", help="The path of a request.  [default: /]")
@click.option("--header", "headers", multiple=True, metavar="'K: V'", help="A header; may be repeated.")
@click.option("--client-ip", metavar="IP", help="The address of the client.")
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
) -> None:
    """Tell which route of FILE takes a connection, why, and why each earlier one does not."""
    plan = _plan(file)
    table = RouteTable(plan.routes)
    announced = _announced(table, address, port, client_ip)
    asked = _Query(method, host, path, headers)
    hello = _hello(sni, alpn) if sni is not None or alpn else None
    request = _request(asked) if asked.anything else None
    explanation = explained(table, _detected(table, announced, hello, request))
    for line in explanation.lines():
        click.echo(line)
    if hello is not None and explanation.route is not None and explanation.route.tls is not None:
        click.echo(_certificate(plan, explanation.route.tls, hello))
    if hello is not None and request is not None:
        click.echo(_UNSEEN_REQUEST)


def _plan(file: Path) -> ProxyPlan:
    try:
        return Settings.load(file).compile()
    except ConfigurationError as error:
        for problem in error.problems:
            click.echo(problem, err=True)
        raise SystemExit(2) from None


def _certificate(plan: ProxyPlan, tls: TerminationPlan, hello: ClientHello) -> str:
    """Which certificate such a client would be shown."""
    if tls.certificate_for is not None:
        return "certificate: chosen by a callable when it is asked for"
    shown = ConfiguredCertificates(plan).find(tls, hello)
    if shown is None:
        return "certificate: none for this name; refused with unrecognized_name"
    names = ", ".join(shown.names) or "no name"
    return f"certificate: {names} ({shown.plan.source}, {shown.key_type.name}), expires {shown.not_after:%Y-%m-%d %H:%M} UTC"


def _announced(table: RouteTable, address: str | None, port: int, client_ip: str | None) -> Announced:
    if address is None:
        # The listener for every address sorts first; where there is none, any of the port's is as good.
        address = min((at for at, number in table.listeners() if number == port), default="")
    try:
        client = Endpoint(normalised(client_ip) if client_ip is not None else "", 0)
    except ValueError:
        raise click.BadParameter(f"{client_ip!r} is not an IP address", param_hint="--client-ip") from None
    return Announced(Accepted(listener_name(address, port), port, client, 0.0), client)


def _hello(sni: str | None, alpn: tuple[str, ...]) -> ClientHello:
    try:
        name = sni if sni is None or sni.isascii() else domains.normalised(sni)
        sent = client_hello.build(name, alpn)
    except (ValueError, OverflowError) as problem:
        raise click.UsageError(f"--sni, --alpn: {problem}") from None
    return _parsed(client_hello.parse(sent), "--sni, --alpn")


def _request(asked: _Query) -> RequestHead:
    return _parsed(http_head.parse(asked.bytes()), "--method, --host, --path, --header")


def _parsed(verdict: Verdict[T], options: str) -> T:
    if isinstance(verdict, Malformed):
        raise click.UsageError(f"{options}: {verdict.why}")
    if isinstance(verdict, NeedMore):
        raise click.UsageError(f"{options}: longer than a client may send")
    return verdict.value


def _detected(
    table: RouteTable, announced: Announced, hello: ClientHello | None, request: RequestHead | None
) -> Detected:
    """What the path would know: of a TLS client its hello, and without first bytes that they were not TLS."""
    if hello is not None:
        return Detected(announced, ApplicationProtocol.TLS, hello=hello)
    if request is not None:
        return Detected(announced, ApplicationProtocol.HTTP, request=request)
    address, _, port = announced.accepted.listener.rpartition(":")
    looked = table.needs_first_bytes(address, int(port))
    return Detected(announced, ApplicationProtocol.RAW if looked else ApplicationProtocol.UNSEEN)
