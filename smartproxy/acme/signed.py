"""Requests to a directory as ACME wants them: nonces, errors, and repeating what may be repeated (RFC 8555, 6).

::

    server = DirectoryRequests(directory_url, requests, clock, wall, chance)
    resources = await server.directory()
    answer = await server.post(resources.new_order, payload, sign, "order for a.example")

Each POST uses up a nonce (6.5). Every answer has a new one, so a pool of them saves a request for each. A rejected nonce is no
failure: the request is signed again with the nonce that came with the rejection.

A network error or HTTP 5xx is repeated twice after a short pause, if that cannot do the same thing twice.
"""

from __future__ import annotations

import re
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Final, TypeAlias

from twisted.internet.task import deferLater

from smartproxy.acme.documents import AcmeDirectory, AcmeDocument
from smartproxy.acme.problems import error_of
from smartproxy.acme.text import one_line
from smartproxy.errors import AcmeError, DirectoryUnavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from twisted.internet.interfaces import IReactorTime

    from smartproxy.acme.requests import AcmeAnswer, AcmeRequests

#: Seconds for which a directory's resources are not asked for again.
DIRECTORY_LIFE: Final = 86400.0
#: Nonces that are kept: as many as there are requests at once.
MAX_NONCES: Final = 16
#: Rejected nonces after which a request fails. With pebble rejecting 20 % of them, one request in ten million does.
MAX_REJECTED: Final = 10
#: Seconds before each repetition. The second half of each pause is random.
PAUSES: Final = (0.5, 2.0)
#: A directory that asks for a longer pause than this, in seconds, is not asked again here.
LONGEST_PAUSE: Final = 5.0

#: RFC 8555, 6.5.1: whatever else is no nonce, and is ignored.
_NONCE: Final = re.compile(r"[A-Za-z0-9_-]{1,512}")
_JOSE: Final = "application/jose+json"

#: Makes the body of a request, of its nonce and URL.
Sign: TypeAlias = "Callable[[str, str], bytes]"


class DirectoryRequests:
    """Sends requests to one directory.

    :param requests: sends one HTTP request.
    :param clock: for pauses, and the age of the directory's resources.
    :param wall: seconds since the epoch, for Retry-After.
    :param chance: returns a random number from 0 to 1.
    :ivar url: of the directory.
    """

    def __init__(
        self,
        url: str,
        requests: AcmeRequests,
        clock: IReactorTime,
        wall: Callable[[], float],
        chance: Callable[[], float],
    ) -> None:
        self.url = url
        self.clock = clock
        self.wall = wall
        self._requests = requests
        self._chance = chance
        self._nonces: deque[str] = deque(maxlen=MAX_NONCES)
        self._directory: tuple[float, AcmeDirectory] | None = None

    async def directory(self) -> AcmeDirectory:
        """The resources of the directory. They are asked for again after a day.

        :raises AcmeError: if they cannot be had.
        """
        now = self.clock.seconds()
        if self._directory is None or now - self._directory[0] >= DIRECTORY_LIFE:
            what = f"directory {one_line(self.url)}"
            try:
                answer = await self.get(self.url, what)
                self._directory = now, AcmeDirectory.read(AcmeDocument.parsed(answer.body, what))
            except DirectoryUnavailable:
                raise
            except AcmeError as refused:
                if refused.kind:
                    raise
                raise AcmeError(
                    f"{refused.text}; check acme.directory", retry_after=refused.retry_after
                ) from refused
        return self._directory[1]

    async def get(self, url: str, what: str) -> AcmeAnswer:
        """An answer without authentication, which only the directory itself and renewal information have.

        :raises AcmeError: if it is not a success.
        """
        return await self._repeated(partial(self._ask, "GET", url, what))

    async def post(
        self, url: str, sign: Sign, what: str, *, repeat: bool = True, accept: str | None = None
    ) -> AcmeAnswer:
        """The answer to a signed request.

        :param sign: makes its body, for each nonce again.
        :param what: what is asked for, to begin messages with.
        :param repeat: whether a request that may have succeeded can be sent again.
        :param accept: the media type that is wanted.
        :raises AcmeError: if it is not a success.
        """
        once = partial(self._post, url, sign, what, accept)
        return await (self._repeated(once) if repeat else once())

    async def _post(self, url: str, sign: Sign, what: str, accept: str | None) -> AcmeAnswer:
        headers = {"Content-Type": _JOSE} if accept is None else {"Content-Type": _JOSE, "Accept": accept}
        for _ in range(MAX_REJECTED):
            # The last nonce that was received: after a rejection that is the one in the rejection (6.5).
            nonce = self._nonces.pop() if self._nonces else await self._new_nonce(what)
            try:
                return await self._ask("POST", url, what, sign(nonce, url), headers)
            except AcmeError as refused:
                if refused.kind != "badNonce":
                    raise
        raise AcmeError(f"{what}: the directory has rejected {MAX_REJECTED} nonces in a row", "badNonce")

    async def _new_nonce(self, what: str) -> str:
        directory = await self.directory()
        await self._repeated(partial(self._ask, "HEAD", directory.new_nonce, what))
        if not self._nonces:
            raise AcmeError(f"{what}: the directory's answer has no nonce")
        return self._nonces.pop()

    async def _ask(
        self,
        method: str,
        url: str,
        what: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> AcmeAnswer:
        """Send a request, keep the nonce of its answer, and raise what is not a success."""
        try:
            answer = await self._requests(method, url, body, headers)
        except DirectoryUnavailable as failed:
            raise DirectoryUnavailable(f"{what}: {failed.text}") from failed
        except AcmeError as refused:
            raise AcmeError(f"{what}: {refused.text}") from refused
        nonce = answer.headers.get("Replay-Nonce", "")
        if _NONCE.fullmatch(nonce):
            self._nonces.append(nonce)
        if answer.status // 100 != 2:  # noqa: PLR2004 - 2xx
            raise error_of(answer, what, self.wall())
        return answer

    async def _repeated(self, send: Callable[[], Awaitable[AcmeAnswer]]) -> AcmeAnswer:
        for pause in PAUSES:
            try:
                return await send()
            except DirectoryUnavailable as failed:
                wanted = failed.retry_after or 0.0
                if wanted > LONGEST_PAUSE:
                    raise
            await deferLater(self.clock, max(wanted, pause * (0.5 + 0.5 * self._chance())))
        return await send()
