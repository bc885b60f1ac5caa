"""Input files of batches: lines are checked one by one, and written to disk."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeAlias

from flextier._openai.private_names import dumps
from flextier.batch.spool_file import MAX_LINES, SpoolFile

Line: TypeAlias = "Mapping[str, Any] | tuple[str, Mapping[str, Any]]"
"""A request's body, a ``(custom_id, body)``, or a complete line: a mapping with ``custom_id`` or
``body``."""

Lines: TypeAlias = "str | os.PathLike[str] | Iterable[Line]"
"""The path of a JSONL file, or lines."""

_MAX_BYTES = 200_000_000
_MAX_TEXTS = 50_000
_EMBEDDINGS = "/v1/embeddings"
_BOM = b"\xef\xbb\xbf"
_FIELDS = ("custom_id", "method", "url", "body")


class BatchLineError(ValueError):
    """A line that the Batch API would reject; nothing was sent."""

    def __init__(self, line: int, field: str, problem: str) -> None:
        super().__init__(f"line {line}: {field}: {problem}" if field else f"line {line}: {problem}")
        self.line = line
        """Its number in the file, or in the iterable, from 1."""
        self.field = field
        """Such as ``custom_id`` or ``body.model``; empty: the whole line is wrong."""
        self._problem = problem

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.line, self.field, self._problem)


class BatchInputFile(SpoolFile):
    """A batch's input file, written line by line."""

    def __init__(self, endpoint: str | None) -> None:
        super().__init__()
        self._endpoint = None if endpoint is None else _with_v1(endpoint)
        self._model: str | None = None
        self._ids: set[str] = set()
        self._texts = 0

    @property
    def endpoint(self) -> str:
        """The endpoint of all lines, with ``/v1``; a ValueError if there are none."""
        if self._endpoint is None or not self.lines:
            raise ValueError("there are no lines: a batch needs at least one")
        return self._endpoint

    def add_line(self, number: int, given: Any) -> None:
        """Write a line to the file; a :class:`BatchLineError` if the Batch API would reject it."""
        line, raw = _complete_line(number, given)
        body = line.get("body")
        if not isinstance(body, Mapping):
            raise BatchLineError(number, "body", "is not a JSON object")
        custom_id = line.get("custom_id")
        if not isinstance(custom_id, str) or not custom_id:
            raise BatchLineError(number, "custom_id", f"{custom_id!r} is not a string, or empty")
        if custom_id in self._ids:
            raise BatchLineError(number, "custom_id", f"{custom_id!r} is used by an earlier line")
        self._ids.add(custom_id)
        if line.setdefault("method", "POST") != "POST":
            raise BatchLineError(number, "method", f"{line['method']!r} is not POST")
        self._check_url(number, line, body)
        self._check_body(number, body)
        try:
            encoded = raw or dumps({**{name: line[name] for name in _FIELDS}, "body": dict(body)})
        except (TypeError, ValueError, RecursionError) as error:
            message = f"cannot be written as JSON: {error}"
            raise BatchLineError(number, "body", message) from error
        if self.lines >= MAX_LINES:
            raise BatchLineError(number, "", f"a batch takes at most {MAX_LINES:,} lines")
        if self.size + len(encoded) + 1 > _MAX_BYTES:
            raise BatchLineError(number, "", "a batch takes at most 200 MB")
        self.add(encoded + b"\n")

    def _check_url(self, number: int, line: dict[str, Any], body: Mapping[str, Any]) -> None:
        url = line.setdefault("url", self._endpoint or _infer_endpoint(number, body))
        if not isinstance(url, str) or not url.startswith("/v1/"):
            raise BatchLineError(number, "url", f"{url!r} is not an endpoint such as /v1/responses")
        self._endpoint = self._endpoint or url
        if url != self._endpoint:
            message = f"{url} differs from {self._endpoint}: a batch has one endpoint"
            raise BatchLineError(number, "url", message)

    def _check_body(self, number: int, body: Mapping[str, Any]) -> None:
        model = body.get("model")
        if not isinstance(model, str) or not model:
            raise BatchLineError(number, "body.model", f"{model!r} is not the name of a model")
        self._model = self._model or model
        if model != self._model:
            message = f"{model!r} differs from {self._model!r}: a batch has one model"
            raise BatchLineError(number, "body.model", message)
        for name in ("stream", "background"):
            if body.get(name):
                raise BatchLineError(number, f"body.{name}", "a batch does not support it")
        if self._endpoint == _EMBEDDINGS:
            given: Any = body.get("input")
            # A list of numbers is one text, as tokens.
            is_list = isinstance(given, list) and not all(isinstance(x, int) for x in given)
            self._texts += len(given) if is_list else 1
            if self._texts > _MAX_TEXTS:
                message = f"a batch takes at most {_MAX_TEXTS:,} texts to embed"
                raise BatchLineError(number, "body.input", message)


@contextmanager
def input_file(lines: Lines, endpoint: str | None) -> Iterator[BatchInputFile]:
    """An input file of all lines, checked; deleted when the context ends.

    A ``BatchLineError`` names the first line that the Batch API would reject.
    """
    file = BatchInputFile(endpoint)
    try:
        for number, line in _numbered(lines):
            file.add_line(number, line)
        _ = file.endpoint
        yield file
    finally:
        file.close()


def _numbered(lines: Lines) -> Iterator[tuple[int, Any]]:
    if not isinstance(lines, (str, os.PathLike)):
        yield from enumerate(lines, start=1)
        return
    with open(lines, "rb") as file:
        for number, line in enumerate(file, start=1):
            stripped = (line.removeprefix(_BOM) if number == 1 else line).strip()
            if stripped:
                yield number, stripped


def _complete_line(number: int, given: Any) -> tuple[dict[str, Any], bytes | None]:
    """The complete line as a dict; and its bytes, if they can be written as they are."""
    if isinstance(given, bytes):
        try:
            line = json.loads(given, parse_constant=_reject_constant)
        except (ValueError, RecursionError) as error:
            raise BatchLineError(number, "", f"is not JSON: {error}") from error
        if not isinstance(line, dict):
            raise BatchLineError(number, "", "is not a JSON object")
        return line, given if all(name in line for name in _FIELDS) else None
    if isinstance(given, Mapping):
        if "custom_id" in given or "body" in given:
            return dict(given), None
        return {"custom_id": f"request-{number}", "body": given}, None
    if isinstance(given, (tuple, list)) and len(given) == 2:
        return {"custom_id": given[0], "body": given[1]}, None
    raise BatchLineError(
        number, "", "must be a body, a (custom_id, body), or a line with custom_id and body"
    )


def _reject_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a number in JSON")


def _infer_endpoint(number: int, body: Mapping[str, Any]) -> str:
    if "messages" in body:
        return "/v1/chat/completions"
    if "input" in body and "embed" not in str(body.get("model")):
        return "/v1/responses"
    raise BatchLineError(number, "url", "the body does not show its endpoint: pass endpoint=...")


def _with_v1(endpoint: str) -> str:
    path = endpoint.strip("/")
    return f"/{path}" if path.startswith("v1/") else f"/v1/{path}"
