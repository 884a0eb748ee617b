"""The words of other proxies and of people, and the keys that have their meaning here.

They come from the configurations of HAProxy, nginx, Traefik, Caddy, Envoy and Kubernetes. A word is compared in lower case and
without ``_`` and ``-``.
"""

from __future__ import annotations

from typing import Final

#: The keys from the top level to the one that a word means, and the words.
_WORDS: Final[dict[str, str]] = {
    "routes": "rules routers proxies virtualhosts vhosts frontends sites",
    "routes.name": "id title label",
    "routes.priority": "weight order rank",
    "routes.match.ports": "port listen listenport listens listener listeners bind binds entrypoint entrypoints frontend localport",
    "routes.match.address": "ip listenaddress bindaddress interface",
    "routes.match.domains": "domain host hosts hostname hostnames servername servernames sni hostsni serveralias subdomain names",
    "routes.match.path": "location locations paths pathprefix prefix uri url",
    "routes.match.methods": "method verb verbs",
    "routes.match.headers": "header",
    "routes.match.query": "queries querystring queryparam queryparams params urlparam args",
    "routes.match.clientIp": "clientips sourceip sourceips source src remoteip remoteaddr from",
    "routes.match.alpn": "protocols nextprotos",
    "routes.match.protocol": "proto scheme",
    "routes.action.targets": (
        "target upstream upstreams backend backends defaultbackend usebackend server servers service services endpoint endpoints "
        "proxypass reverseproxy proxy forward forwardto destination destinations dest origin origins pool cluster clusters nodes"
    ),
    "routes.action.to": "redirectto redirecturl return location url",
    "routes.action.type": "kind",
    "routes.action.targets.host": "address ip addr url uri hostname server hosts endpoint",
    "routes.action.targets.port": "targetport backendport",
    "routes.action.targets.tls": "ssl https secure",
    "routes.action.sendProxyProtocol": "sendproxy sendproxyv2 proxyprotocolout",
    "routes.action.tls": "ssl https sslcertificate sslcertificatekey certificates cert crt certs pem key tlscert tlskey",
    "routes.action.tls.mode": "passthrough sslpassthrough termination terminate",
    "routes.action.tls.certificate": "certificates cert crt certfile keyfile pem selfsigned",
    "routes.action.tls.certificate.certFile": "certificate certificatefile crt pem fullchain sslcertificate file chain",
    "routes.action.tls.certificate.keyFile": "privatekey privkey sslcertificatekey",
    "routes.action.tls.upstream": "reencrypt backendtls origintls client",
    "routes.action.tls.upstream.serverName": "sni hostname servername name",
    "routes.action.tls.upstream.verify": "insecure insecureskipverify skipverify sslverify",
    "routes.action.tls.upstream.ca": "cafile rootca rootcas cacert trustedca",
    "routes.action.tls.clientAuth": "mtls clientca clientcert verifyclient sslverifyclient mutual",
    "routes.action.tls.minVersion": "version versions sslprotocols minprotocol tlsversion",
    "routes.action.tls.profile": "ciphers sslciphers ciphersuites",
    "routes.action.headers": "requestheaders responseheaders setheader addheader customheaders proxysetheader headerup headerdown",
    "routes.action.rewrite": "replacepath uristrip setpath",
    "routes.action.rewrite.stripPrefix": "stripprefixes trimprefix prefix",
    "routes.action.rewrite.host": "hostheader hostrewrite passhostheader",
    "routes.security": "acl access firewall",
    "routes.security.ipAllowList": "allow allowlist allowed allowedips whitelist ipwhitelist sourcerange ipallow permit",
    "routes.security.ipBlockList": "deny denylist block blocklist blocked blacklist ipblacklist banned ipblock reject",
    "routes.security.maxConnections": "maxconn maxconns limitconn connectionlimit connections limit",
    "routes.action.loadBalancing": "balance balancer loadbalancer lb algorithm strategy policy lbpolicy",
    "proxyIPs": "trustedips trustedproxies trusted setrealipfrom realipfrom trustedips proxies",
    "acceptProxyProtocol": "acceptproxy proxyproto useproxyprotocol",
    "connectionTimeout": "connecttimeout timeoutconnect proxyconnecttimeout dialtimeout",
    "inactivityTimeout": (
        "idletimeout timeoutclient timeoutserver proxytimeout readtimeout writetimeout clienttimeout servertimeout idle"
    ),
    "halfCloseTimeout": "timeoutclientfin timeoutserverfin finwaittimeout",
    "maxConnectionLifetime": "timeouttunnel maxlifetime lifetime maxage maxduration",
    "gracefulShutdownTimeout": "hardstopafter gracetimeout shutdowntimeout draintimeout graceperiod graceful",
    "maxConnections": "maxconn maxconns workerconnections limitconn",
    "connectionRateLimitPerMinute": "ratelimit limitreq rate connrate",
    "keepAlive": "tcpka clitcpka srvtcpka sokeepalive tcpkeepalive",
    "admin": "api stats dashboard status management control entrypointadmin",
    "metrics": "prometheus statistics",
    "accessLog": "log logs logging httplog tcplog",
    "tls": "ssl",
    "acme": "letsencrypt certbot certresolver certresolvers certificatesresolvers autocert autohttps",
    "acme.directory": "caserver acmeca directoryurl",
    "acme.email": "contact",
    "tls.certificates": "crtbase certdir certificatedirectory certs crt",
    "workers": "nbthread nbproc workerprocesses threads processes",
    "defaults": "default global common settings",
    "include": "import imports includes files",
}  # fmt: skip

#: By the name of a table, words for one of its own keys that are also keys, or words, of other tables. A dot is before a key of a
#: table in it.
_HERE: Final[dict[str, dict[str, str]]] = {
    "action": {"port": "targets.port"},
    "targetGroups": {"port": "targets.port"},
    "admin": {"host": "address", "listen": "address", "bind": "address", "socket": "unix"},
    "accessLog": {"file": "path", "filename": "path", "output": "path"},
    "healthCheck": {"status": "expectStatus", "host": "hostHeader", "body": "expectBody"},
    "loadBalancing": {
        "method": "algorithm",
        "type": "algorithm",
        "policy": "algorithm",
        "strategy": "algorithm",
    },
    "response": {"code": "status", "text": "body", "content": "body"},
    "pool": dict.fromkeys(("idle", "timeout", "inactivitytimeout", "keepalivetimeout"), "idleTimeout"),
    "websocket": {
        **dict.fromkeys(("idle", "timeout", "inactivitytimeout"), "idleTimeout"),
        "origin": "origins",
    },
}

#: Words with several meanings.
_NOTES: Final = {
    "proxyprotocol": '"acceptProxyProtocol" is for the headers of peers in proxyIPs, "sendProxyProtocol" for those to targets',
    "redirect": '"type: redirect" in "action" needs the URL in "to"',
    "timeout": '"inactivityTimeout" is for silence, "connectionTimeout" for dialing a target',
    "timeouts": '"inactivityTimeout" is for silence, "connectionTimeout" for dialing a target',
}

#: What the options of twistd set, and no key.
_OPTIONS: Final = {
    "user": "-u", "uid": "-u", "group": "-g", "gid": "-g", "pidfile": "--pidfile", "pid": "--pidfile", "daemon": "-n",
    "daemonize": "-n", "errorlog": "--logfile", "logfile": "--logfile", "chroot": "--chroot",
}  # fmt: skip


def plain(key: str) -> str:
    """A word in lower case, without ``_`` and ``-``."""
    return key.lower().replace("_", "").replace("-", "")


_KEYS: Final[dict[str, list[tuple[str, ...]]]] = {}
for _place, _words in _WORDS.items():
    for _word in _words.split():
        _KEYS.setdefault(_word, []).append(tuple(_place.split(".")))


def meant(key: str) -> list[tuple[str, ...]]:
    """The keys that a foreign word may mean, each from the top level."""
    return _KEYS.get(plain(key), [])


def meant_in(table: str, key: str) -> str | None:
    """The key of the table with this name that a word means there; of a table in it with a dot."""
    return _HERE.get(table, {}).get(plain(key))


def note(key: str) -> str | None:
    """What to choose from, for a word with several meanings."""
    return _NOTES.get(plain(key))


def option(key: str) -> str | None:
    """The option of twistd that sets what a word means."""
    return _OPTIONS.get(plain(key))
