"""An ACME directory in memory. It checks what a real one checks, and fails on demand.

It is called as :class:`smartproxy.acme.requests.AcmeRequests` is, and answers at once::

    directory = MemoryDirectory()
    client = directory.client()
    directory.faults["new-order"] = [rate_limited(60)]      # the next answer of that resource

Resources are named by the first part of their path: ``directory``, ``new-nonce``, ``new-account``, ``new-order``, ``account``,
``order``, ``authz``, ``challenge``, ``finalize``, ``certificate``, ``key-change`` and ``renewal-info``.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import itertools
import json
from typing import Any, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from smartproxy.acme.client import AcmeClient
from smartproxy.acme.jose import AccountKey, thumbprint_of
from smartproxy.acme.requests import AcmeAnswer, AnswerHeaders
from smartproxy.errors import DirectoryUnavailable
from tests.tls.made import PEM, Authority, Pair, builder, named

BASE = "https://acme.test/"
URN = "urn:ietf:params:acme:error:"
#: The time of the tests: 2023-11-14 22:13:20 UTC.
WALL = 1_700_000_000.0


class Refusal(Exception):
    """An error answer."""

    def __init__(self, kind: str, detail: str = "no", status: int = 400, **more: Any) -> None:
        super().__init__(kind)
        self.status = status
        self.headers = more.pop("headers", {})
        self.problem = {"type": f"{URN}{kind}", "detail": detail, **more}


class Account(NamedTuple):
    url: str
    jwk: dict[str, str]
    contact: list[str]
    key_id: str | None


def rate_limited(seconds: int) -> AcmeAnswer:
    problem = {"type": f"{URN}rateLimited", "detail": "too many certificates already issued"}
    return answer(429, problem, **{"Retry-After": str(seconds)})


def answer(status: int, body: Any = b"", **headers: str) -> AcmeAnswer:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return AcmeAnswer(status, AnswerHeaders(headers), content)


def decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def verified(jwk: dict[str, str], body: dict[str, str]) -> None:
    """Check an ES256 signature."""
    numbers = ec.EllipticCurvePublicNumbers(
        int.from_bytes(decoded(jwk["x"]), "big"), int.from_bytes(decoded(jwk["y"]), "big"), ec.SECP256R1()
    )
    raw = decoded(body["signature"])
    assert len(raw) == 64
    signature = encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
    signed = f"{body['protected']}.{body['payload']}".encode()
    numbers.public_key().verify(signature, signed, ec.ECDSA(hashes.SHA256()))


class MemoryDirectory:
    """See above.

    :ivar asked: ``METHOD RESOURCE`` of each request.
    :ivar payloads: resource and parsed payload of each signed request that was accepted.
    :ivar faults: by resource, what is answered in place of the next answers: an answer, or an exception; ``None``
        is the real answer.
    :ivar altered: by resource, a function that changes the real answer before it is sent.
    :ivar lost: resources whose next answer is lost after it had its effect.
    :ivar bad_nonces: how many of the next nonces are rejected.
    :ivar decides: by name, the problem that makes its challenge invalid.
    :ivar processing: how often an order or an authorization is asked for before it changes.
    :ivar offers: by name, the types of challenges that are offered.
    :ivar reused: names whose authorization is valid already.
    """

    def __init__(self) -> None:
        self.clock = Clock()
        self.authority = Authority("memory authority")
        self.meta: dict[str, Any] = {"termsOfService": f"{BASE}terms"}
        self.without: set[str] = set()
        self.accounts: dict[str, Account] = {}
        self.external: dict[str, bytes] = {}
        self.orders: dict[str, dict[str, Any]] = {}
        self.authorizations: dict[str, dict[str, Any]] = {}
        self.asked: list[str] = []
        self.payloads: list[tuple[str, Any]] = []
        self.fetched: list[dict[str, str]] = []
        self.faults: dict[str, list[Any]] = {}
        self.altered: dict[str, Any] = {}
        self.lost: list[str] = []
        self.bad_nonces = 0
        self.decides: dict[str, dict[str, Any]] = {}
        self.processing = 0
        self.retry_after: str | None = None
        self.offers: dict[str, list[str]] = {}
        self.reused: set[str] = set()
        self.shown: dict[str, str] = {}
        self.window = ("2023-11-20T00:00:00Z", "2023-11-21T00:00:00Z")
        self._nonces: set[str] = set()
        self._numbers = itertools.count(1)

    def client(self, key: AccountKey | None = None) -> AcmeClient:
        return AcmeClient(
            f"{BASE}directory", self, key or AccountKey.generate(), self.clock, lambda: WALL, lambda: 0.5
        )

    # -- requests ------------------------------------------------------------------------------------

    def __call__(
        self, method: str, url: str, body: bytes | None = None, headers: Any = None
    ) -> Deferred[AcmeAnswer]:
        resource, _, number = url.removeprefix(BASE).partition("/")
        self.asked.append(f"{method} {resource}")
        self.fetched.append(dict(headers or {}))
        planned = self.faults.get(resource) or [None]
        fault = planned.pop(0)
        if isinstance(fault, Exception):
            return fail(fault)
        if isinstance(fault, Deferred):
            return fault
        made = fault if fault is not None else self._answered(method, url, resource, number, body)
        if fault is None and resource in self.altered:
            made = self.altered[resource](made)
        if resource in self.lost:
            self.lost.remove(resource)
            return fail(DirectoryUnavailable("acme.test: connection lost"))
        if method != "GET" and "Replay-Nonce" not in made.headers:
            made = made._replace(headers=AnswerHeaders({**made.headers, "Replay-Nonce": self._nonce()}))
        return succeed(made)

    def _nonce(self) -> str:
        nonce = f"nonce-{next(self._numbers)}"
        self._nonces.add(nonce)
        return nonce

    def _answered(self, method: str, url: str, resource: str, number: str, body: bytes | None) -> AcmeAnswer:
        try:
            if method == "POST":
                header, payload, account = self._opened(url, resource, json.loads(body or b""))
                self.payloads.append((resource, payload))
                handler = getattr(self, f"_post_{resource.replace('-', '_')}")
                return handler(number, payload, account, header)
            return getattr(self, f"_{method.lower()}_{resource.replace('-', '_')}")(number)
        except Refusal as refused:
            return answer(refused.status, refused.problem, **refused.headers)

    def _opened(self, url: str, resource: str, body: dict[str, str]) -> tuple[Any, Any, Account | None]:
        """Header, payload and account of a signed request, checked (RFC 8555, 6.2 to 6.5)."""
        header = json.loads(decoded(body["protected"]))
        assert header["alg"] == "ES256"
        assert header["url"] == url, (header["url"], url)
        assert ("jwk" in header) == (resource == "new-account"), header
        nonce = header["nonce"]
        if nonce not in self._nonces or self.bad_nonces > 0:
            self._nonces.discard(nonce)
            self.bad_nonces -= 1
            raise Refusal("badNonce", "JWS has an invalid anti-replay nonce")
        self._nonces.remove(nonce)
        account = self.accounts.get(header.get("kid", ""))
        if account is None and resource != "new-account":
            raise Refusal("accountDoesNotExist", "no such account")
        verified(account.jwk if account else header["jwk"], body)
        payload = decoded(body["payload"])
        return header, json.loads(payload) if payload else None, account

    # -- resources -----------------------------------------------------------------------------------

    def _get_directory(self, _: str) -> AcmeAnswer:
        names = ("newNonce", "newAccount", "newOrder", "keyChange", "revokeCert", "renewalInfo")
        paths = {name: BASE + "".join(f"-{c.lower()}" if c.isupper() else c for c in name) for name in names}
        kept = {name: url for name, url in paths.items() if name not in self.without}
        return answer(200, {**kept, "meta": self.meta, "random": "ignored"})

    def _head_new_nonce(self, _: str) -> AcmeAnswer:
        return answer(200)

    def _post_new_account(self, _: str, asked: Any, account: None, header: Any) -> AcmeAnswer:
        jwk = header["jwk"]
        for known in self.accounts.values():
            if known.jwk == jwk:
                return answer(200, {"status": "valid"}, Location=known.url)
        if asked.get("onlyReturnExisting"):
            raise Refusal("accountDoesNotExist", "no account has this key")
        assert asked["termsOfServiceAgreed"] is True
        url = f"{BASE}account/{next(self._numbers)}"
        key_id = self._bound(asked.get("externalAccountBinding"), jwk)
        self.accounts[url] = Account(url, jwk, asked.get("contact", []), key_id)
        return answer(201, {"status": "valid"}, Location=url)

    def _bound(self, binding: Any, jwk: dict[str, str]) -> str | None:
        """The customer that an account is bound to (RFC 8555, 7.3.4)."""
        if binding is None:
            if self.meta.get("externalAccountRequired"):
                raise Refusal("externalAccountRequired")
            return None
        header = json.loads(decoded(binding["protected"]))
        assert header["alg"] == "HS256"
        assert header["url"] == f"{BASE}new-account"
        assert "nonce" not in header
        assert json.loads(decoded(binding["payload"])) == jwk
        signed = f"{binding['protected']}.{binding['payload']}".encode()
        made = hmac.digest(self.external.get(header["kid"], b"?"), signed, "sha256")
        if made != decoded(binding["signature"]):
            raise Refusal("unauthorized", "the MAC is wrong", 403)
        return header["kid"]

    def _post_account(self, _: str, asked: Any, account: Account, header: Any) -> AcmeAnswer:
        self.accounts[account.url] = account._replace(contact=asked["contact"])
        return answer(200, {"status": "valid"})

    def _post_key_change(self, _: str, inner: Any, account: Account, header: Any) -> AcmeAnswer:
        described = json.loads(decoded(inner["protected"]))
        assert described["url"] == header["url"]
        assert "nonce" not in described
        verified(described["jwk"], inner)
        content = json.loads(decoded(inner["payload"]))
        assert content == {"account": account.url, "oldKey": account.jwk}
        self.accounts[account.url] = account._replace(jwk=described["jwk"])
        return answer(200, {})

    def _post_new_order(self, _: str, asked: Any, account: Account, header: Any) -> AcmeAnswer:
        number = str(next(self._numbers))
        urls = [self._authorization(one, account) for one in asked["identifiers"]]
        self.orders[number] = {
            "names": [one["value"] for one in asked["identifiers"]],
            "authorizations": urls,
            "left": self.processing,
            "leaf": None,
        }
        return answer(201, self._order(number), Location=f"{BASE}order/{number}")

    def _authorization(self, identifier: dict[str, str], account: Account) -> str:
        number, name = str(next(self._numbers)), identifier["value"]
        wildcard = name.startswith("*.")
        types = self.offers.get(name) or (["dns-01"] if wildcard else ["http-01", "dns-01", "tls-alpn-01"])
        self.authorizations[number] = {
            "identifier": {**identifier, "value": name.removeprefix("*.")},
            "status": "valid" if name in self.reused else "pending",
            "challenges": [
                {"type": each, "url": f"{BASE}challenge/{number}-{place}", "token": f"token-{number}", "status": "pending"}
                for place, each in enumerate(types)
            ],
            **({"wildcard": True} if wildcard else {}),
        }  # fmt: skip
        self.shown[number] = f"token-{number}.{thumbprint_of(account.jwk)}"
        return f"{BASE}authz/{number}"

    def _post_authz(self, number: str, asked: Any, account: Account, header: Any) -> AcmeAnswer:
        assert asked is None
        found = self.authorizations[number]
        if found["status"] == "processing":
            found["left"] -= 1
            if found["left"] < 0:
                found["status"] = found["decided"]
        hidden = ("left", "decided")
        shown = {key: value for key, value in found.items() if key not in hidden}
        shown["status"] = "pending" if shown["status"] == "processing" else shown["status"]
        return answer(200, shown, **self._later())

    def _later(self) -> dict[str, str]:
        return {"Retry-After": self.retry_after} if self.retry_after is not None else {}

    def _post_challenge(self, number: str, asked: Any, account: Account, header: Any) -> AcmeAnswer:
        assert asked == {}
        authorization, _, place = number.partition("-")
        found = self.authorizations[authorization]
        if found["status"] != "pending":
            raise Refusal("malformed", "authorization must be pending")
        challenge = found["challenges"][int(place)]
        problem = self.decides.get(found["identifier"]["value"])
        if problem is not None:
            challenge["error"] = problem
        challenge["status"] = "processing"
        found.update(
            status="processing", left=self.processing, decided="invalid" if problem is not None else "valid"
        )
        return answer(200, challenge)

    def _post_order(self, number: str, asked: Any, account: Account, header: Any) -> AcmeAnswer:
        assert asked is None
        self.orders[number]["left"] -= 1
        return answer(200, self._order(number), **self._later())

    def _order(self, number: str) -> dict[str, Any]:
        order = self.orders[number]
        states = {self.authorizations[url.rpartition("/")[2]]["status"] for url in order["authorizations"]}
        status = "ready" if states == {"valid"} else "invalid" if "invalid" in states else "pending"
        shown = {"authorizations": order["authorizations"], "finalize": f"{BASE}finalize/{number}"}
        if order["leaf"] is not None:
            status = "valid" if order["left"] <= 0 else "processing"
            shown["certificate"] = f"{BASE}certificate/{number}"
        return {**shown, "status": status}

    def _post_finalize(self, number: str, asked: Any, account: Account, header: Any) -> AcmeAnswer:
        order = self.orders[number]
        if self._order(number)["status"] != "ready":
            raise Refusal("orderNotReady", "it is not ready", 403)
        request = x509.load_der_x509_csr(decoded(asked["csr"]))
        assert request.is_signature_valid
        alternatives = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = [str(one.value) for one in alternatives]
        if sorted(names) != sorted(order["names"]):
            raise Refusal("badCSR", f"{names} is not {order['names']}")
        order.update(leaf=self._signed(request, alternatives), left=self.processing)
        return answer(200, self._order(number), Location=f"{BASE}order/{number}")

    def _signed(self, request: x509.CertificateSigningRequest, alternatives: Any) -> bytes:
        made = builder(named("memory"), self.authority.subject, Pair(request.public_key()))
        made = made.add_extension(alternatives, critical=False)
        return made.sign(self.authority.key, hashes.SHA256()).public_bytes(PEM)

    def _post_certificate(self, number: str, asked: Any, account: Account, header: Any) -> AcmeAnswer:
        assert asked is None
        return answer(200, self.orders[number]["leaf"] + b"\n" + self.authority.pem)

    def _get_renewal_info(self, number: str) -> AcmeAnswer:
        start, end = self.window
        return answer(200, {"suggestedWindow": {"start": start, "end": end}}, **self._later())


def dns_value(text: str) -> str:
    """What a TXT record has for a key authorization (RFC 8555, 8.4)."""
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
