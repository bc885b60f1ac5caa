"""What a request's headers say of its call: policy, deadline, tags, run, id, and its repeats."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from flextier.calls.continuation import checked_continuation_id
from flextier.errors import PolicyError
from flextier.policy import FlexPolicy

OF_ONE_MACHINE = frozenset({"budget", "gateway", "journal"})
"""Fields of a policy that name what the gateway has, and a caller may not set."""
MAX_TAGS = 20
FRAMES = "x-flextier-frames"
"""``1``: the caller is one of flextier's clients, and reads the call as frames."""
_PREFIX = "x-flextier-"
_ID = re.compile(r"[A-Za-z0-9._-]{8,128}")
_TAG = re.compile(r"[^\x00-\x1f\x7f]{1,100}")
_READ_TIMEOUTS = ("x-stainless-read-timeout", "x-stainless-timeout")
"""How long the SDKs for Python and for JavaScript wait, in seconds."""
_MARGIN = 5.0


class CallHeaders(NamedTuple):
    """What the headers of a call say."""

    changes: dict[str, Any]
    """Fields of the policy."""
    tags: tuple[str, ...]
    run: str | None
    """The run that it is a step of; None: of none."""
    call_id: str | None
    """The caller's id of it, which its repeats have, too; None: it has none."""
    is_repeat: bool
    """Whether the caller has made the same request before."""
    may_repeat: bool
    """Whether the caller would repeat it, should the connection be lost."""
    read_timeout: float | None
    """Seconds of silence after which the caller leaves; None: not known."""
    framed: bool
    """Whether the caller is one of flextier's clients, which reads frames."""

    @classmethod
    def of(
        cls, headers: Mapping[str, str], policy: FlexPolicy, *, owner: str, stream: bool
    ) -> CallHeaders:
        """Read the headers of a call under ``policy`` by ``owner``, whose answers are its own.

        The deadline of a call that is not streamed is its ``x-flextier-deadline``, else a little
        less than the time after which its client would leave, else the policy's.

        Raises:
            PolicyError: one of them is wrong.
        """
        ours = {name: _text(value) for name, value in headers.items() if name.startswith(_PREFIX)}
        changes = _policy_fields(ours.get("x-flextier-policy", ""))
        for field in ("lanes", "deadline"):
            if value := ours.get(f"x-flextier-{field}"):
                changes[field] = value
        timeout = _read_timeout(headers)
        if timeout is not None and not stream and "deadline" not in changes:
            changes["deadline"] = timeout - min(_MARGIN, timeout / 5)
        call_id, retries = ours.get("x-flextier-call"), headers.get("x-stainless-retry-count")
        if call_id is not None and not _ID.fullmatch(call_id):
            raise PolicyError("x-flextier-call: must be 8 to 128 letters, digits and ._-")
        if policy.journal is not None and (owner or call_id):
            # Found again after a restart, even if others ask the same.
            base = changes.get("journal_namespace", policy.journal_namespace)
            changes["journal_namespace"] = f"{base}/{owner}/{call_id or ''}"
        if changes:
            FlexPolicy.check(changes)
        run = _plain_or_json(ours.get("x-flextier-continuation"))
        return cls(
            {name: tuple(v) if isinstance(v, list) else v for name, v in changes.items()},
            _tags(ours.get("x-flextier-tags", "")),
            None if run is None else checked_continuation_id(run),
            call_id,
            retries not in (None, "", "0"),
            retries is not None or call_id is not None,
            timeout,
            headers.get(FRAMES) == "1",
        )


def _text(value: str) -> str:
    """A header in UTF-8, as curl sends it; in Latin-1 if it is none."""
    try:
        return value.encode("latin-1").decode()
    except UnicodeError:
        return value


def _policy_fields(text: str) -> dict[str, Any]:
    try:
        fields = json.loads(text) if text else {}
    except (ValueError, RecursionError) as error:
        raise PolicyError(f"x-flextier-policy: must be an object of JSON: {error}") from None
    if not isinstance(fields, dict):
        raise PolicyError("x-flextier-policy: must be an object of JSON")
    if own := OF_ONE_MACHINE & fields.keys():
        raise PolicyError(f"x-flextier-policy: {', '.join(sorted(own))} is set at the gateway only")
    return fields


def _plain_or_json(value: str | None) -> Any:
    """A value that may be JSON, as headers are ASCII: a text in quotation marks, or an array."""
    try:
        return json.loads(value) if value and value[0] in '"[' else value
    except (ValueError, RecursionError):
        return value


def _tags(text: str) -> tuple[str, ...]:
    given = _plain_or_json(text)
    tags = tuple(map(str, given if isinstance(given, list) else given.split(",")))
    tags = tuple(tag.strip() for tag in tags if tag.strip())
    if len(tags) > MAX_TAGS or not all(map(_TAG.fullmatch, tags)):
        raise PolicyError(f"x-flextier-tags: at most {MAX_TAGS}, of 1 to 100 characters each")
    return tags


def _read_timeout(headers: Mapping[str, str]) -> float | None:
    for name in _READ_TIMEOUTS:
        try:
            seconds = float(headers.get(name, ""))
        except ValueError:
            continue
        if 0 < seconds < 1e6:
            return seconds
    return None
