"""Pebble as an ACME directory, with the name server in which it looks for what it verifies.

::

    pebble = Pebble(case, PEBBLE_WFE_NONCEREJECT="20")
    pebble.directory, pebble.ca         # the URL of the directory, and the file that its certificate is verified with
    pebble.http_port, pebble.tls_port   # where it connects to for http-01 and tls-alpn-01, at the address of each name
    pebble.root                         # PEM that issued chains are verified with

Every name has the address 127.0.0.1 until :meth:`Pebble.set_default_address` or :meth:`Pebble.has` changes that.
"""

from __future__ import annotations

import json
import os
import ssl
import urllib.request

from tests.live.certificates import Authority
from tests.live.programs import needed
from tests.ports import free_ports

#: Names that pebble's own certificate is for.
_HOST = "localhost"


class Pebble:
    """Runs until the test ends.

    :param validity: seconds for which its certificates are valid.
    :param external: keys of customers, in base64url, by their identifier; with one, each account needs one.
    :param options: more of its environment variables.
    :raises SkipTest: if it is not installed.
    """

    def __init__(self, case, external=None, validity=90 * 86400, **options):
        program, names = needed("pebble"), needed("pebble-challtestsrv")
        self._case = case
        self._own = case.directory / "pebble"
        self._own.mkdir()
        self._validity = validity
        authority = Authority(self._own)
        self.ca = authority.file
        self._certificate = authority.certificate(_HOST)
        self._trusts = authority.client()
        ports = free_ports(6)
        self._port, self._management, self.http_port, self.tls_port, self._dns, self._data = ports
        self.directory = f"https://{_HOST}:{self._port}/dir"
        self.management = f"https://{_HOST}:{self._management}"
        self._start_names(names)
        self._environment = {
            **os.environ,
            "PEBBLE_VA_NOSLEEP": "1",
            "PEBBLE_WFE_NONCEREJECT": "5",
            "PEBBLE_AUTHZREUSE": "0",
            **options,
        }
        self._command = (
            program, "-config", self._configuration(external or {}), "-dnsserver", f"127.0.0.1:{self._dns}",
        )  # fmt: skip
        self.start()

    def start(self):
        """Start it, or start it again: it has forgotten everything then."""
        self.program = self._case.program(*self._command, env=self._environment)
        self.program.listens(self._port)
        self.program.listens(self._management)

    def stop(self):
        """End it: the directory cannot be reached."""
        self.program.stop()

    @property
    def root(self):
        """The authority of the chains that it issues, in PEM. Another one after each start."""
        return self._fetched("/roots/0")

    @property
    def printed(self):
        """All that it has printed since it was started."""
        return self.program.printed

    # -- the DNS -----------------------------------------------------------------------------------------

    def set_default_address(self, ipv4="127.0.0.1", ipv6=""):
        """The addresses of names that have no others."""
        self._change("set-default-ipv4", ip=ipv4)
        self._change("set-default-ipv6", ip=ipv6)

    def has(self, name, *addresses):
        """From now on ``name`` has these IPv4 addresses."""
        self._change("clear-a", host=f"{name}.")
        self._change("add-a", host=f"{name}.", addresses=list(addresses))

    def allows(self, name, *authorities):
        """From now on the CAA records of ``name`` allow these authorities only."""
        self._change(
            "add-caa", host=f"{name}.", policies=[{"tag": "issue", "value": one} for one in authorities]
        )

    def add_text(self, name, value):
        """Add a TXT record.

        :param name: with its final dot.
        """
        self._change("set-txt", host=name, value=value)

    def clear_text(self, name):
        """Remove all TXT records of ``name``, which has its final dot."""
        self._change("clear-txt", host=name)

    @property
    def names_url(self):
        """Of the management API of the name server, for a command of a test: ``/set-txt``, ``/clear-txt``."""
        return f"http://127.0.0.1:{self._data}"

    def _start_names(self, program):
        server = self._case.program(
            program, "-defaultIPv4", "127.0.0.1", "-defaultIPv6", "", "-dns01", f"127.0.0.1:{self._dns}",
            "-management", f"127.0.0.1:{self._data}", "-http01", "", "-https01", "", "-tlsalpn01", "",
        )  # fmt: skip
        server.listens(self._dns)
        server.listens(self._data)

    def _change(self, what, **record):
        url, body = f"{self.names_url}/{what}", json.dumps(record).encode()
        request = urllib.request.Request(url, body, method="POST")  # noqa: S310 - the scheme is in names_url
        _open(request).close()

    # -- its files ---------------------------------------------------------------------------------------

    def _configuration(self, external):
        made = {
            "listenAddress": f"127.0.0.1:{self._port}",
            "managementListenAddress": f"127.0.0.1:{self._management}",
            "certificate": str(self._certificate),
            "privateKey": str(self._certificate),
            "httpPort": self.http_port,
            "tlsPort": self.tls_port,
            "ocspResponderURL": "",
            "certificateValidityPeriod": self._validity,
            "externalAccountBindingRequired": bool(external),
            "externalAccountMACKeys": external,
        }
        path = self._own / "pebble.json"
        path.write_text(json.dumps({"pebble": made}))
        return path

    def _fetched(self, path):
        with _open(self.management + path, context=self._trusts) as answer:
            return answer.read()


def _open(what, **options):
    return _without_proxies(**options).open(what, timeout=30)


def _without_proxies(context: ssl.SSLContext | None = None):
    return urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
    )
