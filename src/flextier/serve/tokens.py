"""The tokens of callers: who they are, what they may spend, how their calls are tagged."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

from flextier.calls.budget import validated_limit

_NAME = re.compile(r"[\w.-]{1,64}", re.ASCII)
_LEAST = 16
_FORM = "NAME TOKEN [budget=US$] [tags=TAG,TAG]"


@dataclass(frozen=True)
class Token:
    """A token of callers."""

    name: str
    """What logs, metrics and the ledger call it; also the first tag of its calls."""
    secret: str = field(repr=False)
    budget: Decimal | None = None
    """US$ that its calls may cost, from the gateway's start; None: no limit."""
    tags: tuple[str, ...] = ()
    """Tags of its calls in the ledger."""


def read_tokens(path: str | os.PathLike[str]) -> tuple[Token, ...]:
    """The tokens of a file: a line each, ``NAME TOKEN [budget=US$] [tags=TAG,TAG]``.

    Empty lines and those that begin with ``#`` are left out.

    Raises:
        OSError: it cannot be read.
        ValueError: a line is wrong, or there is none.
    """
    lines = Path(path).read_text("utf-8").splitlines()
    tokens = [
        _token(line.split(), f"{path}, line {number}")
        for number, line in enumerate(lines, 1)
        if line.strip() and not line.lstrip().startswith("#")
    ]
    if not tokens:
        raise ValueError(f"{path} has no token: a line is {_FORM}")
    for what in ("name", "secret"):
        if len({getattr(token, what) for token in tokens}) < len(tokens):
            raise ValueError(f"{path} has a {what} twice")
    return tuple(tokens)


def _token(parts: Sequence[str], where: str) -> Token:
    options = dict(one.partition("=")[::2] for one in parts[2:])
    if len(parts) < 2 or not _NAME.fullmatch(parts[0]) or not options.keys() <= {"budget", "tags"}:
        raise ValueError(f"{where}: a line is {_FORM}")
    name, secret = parts[:2]
    if len(secret) < _LEAST or not secret.isascii():
        raise ValueError(f"{where}: a token has {_LEAST} characters of ASCII or more")
    budget = options.get("budget")
    tags = tuple(tag for tag in options.get("tags", "").split(",") if tag)
    return Token(name, secret, None if budget is None else validated_limit(budget), tags)


def token_of(headers: Mapping[str, str], tokens: Sequence[Token]) -> Token | None:
    """The token that a request states; None: none of these.

    As ``x-flextier-token``, as the API key of an SDK, or as the password that a browser asks for.
    """
    digest = _digest(_stated(headers))
    found = None
    for token in tokens:  # all of them, so that the time says nothing
        if hmac.compare_digest(digest, _digest(token.secret)):
            found = token
    return found


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "replace")).digest()


def _stated(headers: Mapping[str, str]) -> str:
    if own := headers.get("x-flextier-token"):
        return own
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return credentials.strip()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(credentials).decode().partition(":")[2]
        except ValueError:
            return ""
    return ""
