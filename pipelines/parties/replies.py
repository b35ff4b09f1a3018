"""Answers of services over HTTP: read up to a limit, as JSON.

Belongs here: how much is read, and that what is no JSON is nothing. Does not belong here: calls, tokens, what an answer
must hold (models of the callers).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx

MOST = 5_000_000


@dataclass(frozen=True, slots=True)
class Reply:
    """body: JSON; None where it is none, or longer than the limit."""

    status: int
    headers: httpx.Headers
    body: object


def reply_of(response: httpx.Response, most: int = MOST) -> Reply:
    """The answer of a call that was opened as a stream; of one that is longer, no more is read than shows it."""
    return Reply(response.status_code, response.headers, _json(_limited(response, most)))


def _limited(response: httpx.Response, most: int) -> bytes:
    body = bytearray()
    for piece in response.iter_bytes():
        body += piece
        if len(body) > most:
            return b""
    return bytes(body)


def _json(body: bytes) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):  # the second: brackets, thousands deep
        return None
