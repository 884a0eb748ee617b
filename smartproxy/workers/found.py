"""What one worker has found out is told to the others: they need not ask a target, or an OCSP responder, themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.logger import Logger

from smartproxy.workers import commands
from smartproxy.workers.passed_values import as_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from twisted.protocols.amp import Command

    from smartproxy.workers.forking import Forking
    from smartproxy.workers.worker_link import WorkerLink

log = Logger()


def tell_others(
    link: WorkerLink,
    command: type[Command],
    result: Mapping[str, Any],
    serving: Iterable[WorkerLink],
    forking: Forking,
) -> None:
    """Tell the workers that serve what ``link`` has found, and the process that forks later ones.

    :param command: for them, with the arguments ``result``.
    """
    for other in serving:
        if other is not link and other.is_connected:
            other.callRemote(command, **result)
    if command is commands.OcspAsked and result["response"]:
        with as_file((result["fingerprint"], result["response"])) as descriptor:
            asked = forking.ask({"do": "staple"}, descriptor)
        asked.addErrback(
            lambda why: log.debug("{why}", why=why.getErrorMessage())
        )  # that is logged elsewhere
