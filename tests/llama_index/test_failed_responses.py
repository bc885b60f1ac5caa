"""Responses of status "failed", which come with HTTP 200."""

from __future__ import annotations

import asyncio
from typing import Any

import openai
import pytest

from flextier._openai.http_library import http
from flextier.llama_index import OpenAIResponsesFlex
from tests.client.callers import FAST, KEY

FAILED = {"id": "resp_1", "object": "response", "status": "failed", "output": []} | {
    "error": {"code": "server_error", "message": "the model stumbled"}
}


def _complete(llm: Any, *, is_async: bool) -> Any:
    return asyncio.run(llm.acomplete("Hi.")) if is_async else llm.complete("Hi.")


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_a_failed_response_is_no_empty_answer(is_async: bool) -> None:
    """LlamaIndex hands it over as an empty text, or trips over its usage; ours raises."""
    transport = http.MockTransport(lambda request: http.Response(200, json=FAILED))
    llm = OpenAIResponsesFlex(
        model="o3",
        api_key=KEY,
        policy=FAST.replace(max_retries=0, lanes=("flex",)),
        http_client=http.Client(transport=transport),
        async_http_client=http.AsyncClient(transport=transport),
    )

    with pytest.raises(openai.APIError, match="failed response") as raised:
        _complete(llm, is_async=is_async)

    assert [attempt.outcome for attempt in raised.value.report.attempts] == ["transient"]
