"""Pending challenges that the proxy itself answers: HTTP-01 (RFC 8555, 8.3) and TLS-ALPN-01 (RFC 8737).

::

    answers = ChallengeAnswers(in_thread)
    answers.storage = storage               # of the configuration in force
    await answers.present(challenge)        # as a Solver
    answers.http_answer(token)              # for a request; None where the token is not ours
    answers.tls_answer(server_name)         # for a ClientHello with acme-tls/1

What this process has presented is in memory, and in the store, where every other process on it finds it: the authority
may reach any of them.
"""

from __future__ import annotations

import hashlib
from functools import partial
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from twisted.internet.defer import Deferred

from smartproxy.model.plan import ChallengeType
from smartproxy.tls.challenge import TlsAnswer
from smartproxy.wire.host import is_address

if TYPE_CHECKING:
    from smartproxy.acme.interfaces import Challenge
    from smartproxy.acme.storage import AcmeStorage
    from smartproxy.flow.threads import Call

#: Between the identifier and the key authorization in the store.
_BREAK: Final = "\n"


class ChallengeAnswers:
    """Answers to pending challenges.

    :param in_thread: calls what waits for a disk.
    :ivar storage: of the configuration in force; ``None`` without ACME.
    """

    def __init__(self, in_thread: Call) -> None:
        self._in_thread = in_thread
        self.storage: AcmeStorage | None = None
        self._http: dict[str, str] = {}
        self._tls: dict[str, TlsAnswer] = {}
        self._turns: dict[str, list[Deferred[None]]] = {}

    async def present(self, challenge: Challenge) -> None:
        """Answer ``challenge`` from now on.

        :raises AcmeStoreUnusable: if other processes cannot be told.
        """
        name, content = self._kept(challenge)
        if challenge.type is ChallengeType.HTTP_01:
            self._http[name] = content
        else:
            await self._show(name, _tls_answer(content))
        if self.storage is not None:
            save = partial(self.storage.save_challenge, challenge.type, name, content)
            await self._in_thread(save)

    async def _show(self, name: str, answer: TlsAnswer) -> None:
        """Answer for ``name`` as soon as no other challenge is pending for it: one certificate can be shown at a time."""
        while self._tls.get(name, answer) != answer:
            turn: Deferred[None] = Deferred()
            self._turns.setdefault(name, []).append(turn)
            await turn
        self._tls[name] = answer

    async def cleanup(self, challenge: Challenge) -> None:
        """Answer it no more."""
        name, content = self._kept(challenge)
        if challenge.type is ChallengeType.HTTP_01:
            self._http.pop(name, None)
            await self._remove(challenge.type, name)
        elif self._tls.get(name) == _tls_answer(
            content
        ):  # another order may have had the same, and have removed it
            try:
                await self._remove(challenge.type, name)
            finally:
                self._tls.pop(name, None)
                for turn in self._turns.pop(name, ()):
                    turn.callback(None)

    async def _remove(self, kind: ChallengeType, name: str) -> None:
        if self.storage is not None:
            await self._in_thread(partial(self.storage.remove_challenge, kind, name))

    def http_answer(self, token: str) -> str | None:
        """The key authorization for ``token``; ``None`` where it is not ours."""
        found = self._http.get(token)
        if found is None and self.storage is not None:
            found = self.storage.challenge(ChallengeType.HTTP_01, token)
        return found

    def tls_answer(self, server_name: str) -> TlsAnswer | None:
        """What an authority that asks for ``server_name`` is shown; ``None`` where nothing is pending."""
        found = self._tls.get(server_name)
        if found is None and self.storage is not None:
            content = self.storage.challenge(ChallengeType.TLS_ALPN_01, server_name)
            found = None if content is None or _BREAK not in content else _tls_answer(content)
        return found

    def _kept(self, challenge: Challenge) -> tuple[str, str]:
        """The name of a challenge, and what is kept for it."""
        if challenge.type is ChallengeType.HTTP_01:
            return challenge.token, challenge.key_authorization
        return (
            server_name_of(challenge.identifier),
            challenge.identifier + _BREAK + challenge.key_authorization,
        )


def server_name_of(identifier: str) -> str:
    """The SNI with which an authority asks for a name or an address (RFC 8738, 6: a reverse name for an address)."""
    return ip_address(identifier).reverse_pointer if is_address(identifier) else identifier


def _tls_answer(content: str) -> TlsAnswer:
    identifier, _, key_authorization = content.partition(_BREAK)
    return TlsAnswer(identifier, hashlib.sha256(key_authorization.encode()).digest())
