"""The lines of a batch's file: reading and validating them."""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from typing import Any

from flextier.sim.base import batch_errors
from flextier.sim.base.api_errors import Rejected
from flextier.sim.base.batch_errors import BatchInputError
from flextier.sim.behavior.batch_behavior import BatchWeather
from flextier.sim.model import embeddings
from flextier.sim.model.generate import input_tokens
from flextier.sim.protocol import chat, responses

#: The endpoints that batches can ask here; OpenAI's take more.
ENDPOINTS = (responses.PATH, chat.PATH, embeddings.PATH)

# How many problems a failed batch reports; what OpenAI's limit is, is not documented.
MOST_PROBLEMS = 100

_PROMPTS = {chat.PATH: "messages", responses.PATH: "input", embeddings.PATH: "input"}
_REQUIRED = ("custom_id", "method", "url", "body")


def parse(raw: bytes) -> dict[str, Any] | None:
    """A line's JSON object; None: it is none."""
    try:
        data = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None


class InputValidator:
    """What validation learns of a file, a line at a time.

    Attributes:
        model: The model of every line; empty until one was read.
        places: Where each line begins in the file, in bytes.
        tokens: The estimated input tokens of all lines.
        problems: What is wrong, in order.
    """

    def __init__(self, endpoint: str, weather: BatchWeather) -> None:
        self.model = ""
        self.places = array("Q")
        self.tokens = 0
        self.problems: list[BatchInputError] = []
        self._endpoint = endpoint
        self._weather = weather
        self._seen: set[str] = set()
        self._texts = 0

    def read(self, line_at: Callable[[int], bytes]) -> Iterator[None]:
        """Read and validate; a step a line. Stops at too many lines or problems.

        ``line_at`` gives the line that begins at a place; at the end of the file it is empty.
        """
        place, number = 0, 0
        while raw := line_at(place):
            number += 1
            if not raw.isspace():
                self.places.append(place)
                if len(self.places) > self._weather.max_lines:
                    self.problems = [batch_errors.too_many(self._weather.max_lines)]
                    return
                self.problems += self._judge(number, raw)
                if len(self.problems) >= MOST_PROBLEMS:
                    return
            place += len(raw)
            yield
        if not self.places:
            self.problems.append(batch_errors.empty())
        if self._texts > self._weather.max_lines:
            self.problems.append(batch_errors.too_many(self._weather.max_lines, "embedding inputs"))
        self._seen.clear()

    def _judge(self, number: int, raw: bytes) -> list[BatchInputError]:
        line = parse(raw)
        if line is None:
            return [batch_errors.not_json(number)]
        found = [batch_errors.missing(number, name) for name in _REQUIRED if line.get(name) is None]
        return found or list(self._judge_fields(number, line))

    def _judge_fields(self, number: int, line: dict[str, Any]) -> Iterator[BatchInputError]:
        custom_id, body = line["custom_id"], line["body"]
        if not isinstance(custom_id, str):
            yield batch_errors.wrong_shape(number, "custom_id", "a string")
        elif custom_id in self._seen:
            yield batch_errors.duplicate(number)
        else:
            self._seen.add(custom_id)
        if line["method"] != "POST":
            yield batch_errors.wrong_method(number)
        if line["url"] != self._endpoint:
            yield batch_errors.other_url(number)
        elif isinstance(body, dict):
            yield from self._judge_body(number, body)
        else:
            yield batch_errors.wrong_shape(number, "body", "an object")

    def _judge_body(self, number: int, body: dict[str, Any]) -> Iterator[BatchInputError]:
        model, prompt = body.get("model"), _PROMPTS[self._endpoint]
        if not isinstance(model, str) or not model:
            yield batch_errors.no_model(number)
            return
        if body.get(prompt) is None:
            yield batch_errors.no_prompt(number, prompt)
        if body.get("stream"):
            yield batch_errors.streaming(number, self._endpoint)
        self.model = self.model or model
        if model != self.model:
            yield batch_errors.other_model(number, model)
        elif any(fnmatchcase(model, name) for name in self._weather.unsupported_models):
            yield batch_errors.unknown_model(number, model)
        self._count(body)

    def _count(self, body: dict[str, Any]) -> None:
        try:
            if self._endpoint == embeddings.PATH:
                texts = embeddings.texts(body)
                self._texts += len(texts)
                self.tokens += embeddings.tokens(texts).input_tokens
            else:
                wire = chat if self._endpoint == chat.PATH else responses
                self.tokens += input_tokens(wire.read(body))
        except Rejected:
            return  # the line will be answered 400, and costs nothing
