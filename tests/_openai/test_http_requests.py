"""The HTTP requests of attempts are the SDK's own, also where an earlier one is copied."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest

from flextier import AsyncFlexOpenAI, FlexOpenAI
from flextier._openai import lean
from flextier._openai.http_library import http
from flextier._openai.private_names import FinalRequestOptions
from flextier._openai.request_with_tier import _Template
from tests.client.callers import KEY

ANSWER = {
    "id": "x", "object": "chat.completion", "created": 1, "model": "o3", "service_tier": "flex",
    "choices": [{"index": 0, "finish_reason": "stop",
                 "message": {"role": "assistant", "content": "blue"}}],
}  # fmt: skip
ASK: dict[str, Any] = {"model": "o3", "messages": [{"role": "user", "content": "Hi."}]}


def _new_key(client: Any) -> None:
    client.api_key = "sk-another"


def _new_organization(client: Any) -> None:
    client.organization = "org-1"


def _new_project(client: Any) -> None:
    client.project = "proj-1"


def _new_base_url(client: Any) -> None:
    client.base_url = "http://localhost:2/other/"


def _new_default_header(client: Any) -> None:
    client._custom_headers = {"X-Team": "blue"}


def _new_header_of_the_http_client(client: Any) -> None:
    client._client.headers["X-Proxy"] = "1"


def _new_cookie(client: Any) -> None:
    client._client.cookies.set("session", "1")


def _new_parameter(client: Any) -> None:
    client._client.params = {"key": "1"}


def _new_query(client: Any) -> None:
    client._custom_query = {"api-version": "1"}


CHANGES: list[Callable[[Any], None]] = [
    _new_key,
    _new_organization,
    _new_project,
    _new_base_url,
    _new_default_header,
    _new_header_of_the_http_client,
    _new_cookie,
    _new_parameter,
    _new_query,
]
ARGUMENTS: dict[str, dict[str, Any]] = {
    "longer": {"messages": [{"role": "user", "content": "Why is the sky blue? ä"}]},
    "a header": {"extra_headers": {"X-Request": "1"}},
    "a header removed": {"extra_headers": {"User-Agent": openai.Omit()}},
    "a header of the body": {"extra_headers": {"Content-Length": "1"}},
    "a cookie": {"extra_headers": {"Cookie": "a=b"}},
    "a query": {"extra_query": {"a": "b"}},
    "a body": {"extra_body": {"z": 1}},
    "a timeout": {"timeout": 5.0},
}


class Server:
    """A transport that keeps the requests; with a cookie, it sets one."""

    def __init__(self, cookie: bool = False) -> None:
        self.requests: list[Any] = []
        self._headers = {"set-cookie": "__cf_bm=1; path=/"} if cookie else {}

    def __call__(self, request: Any) -> Any:
        self.requests.append(request)
        return http.Response(200, json=ANSWER, headers=self._headers)

    def sent(self, number: int) -> Any:
        """A request as it was sent."""
        request = self.requests[number]
        headers = [(name.lower(), value) for name, value in request.headers.raw]
        return request.method, str(request.url), headers, request.content, request.extensions


@pytest.fixture
def copied(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """The requests that were copied."""
    copies: list[Any] = []
    make = _Template.request

    def request(self: Any, *args: Any) -> Any:
        copies.append(make(self, *args))
        return copies[-1]

    monkeypatch.setattr(_Template, "request", request)
    return copies


def _client(server: Server) -> FlexOpenAI:
    transport = http.Client(transport=http.MockTransport(server))
    return FlexOpenAI(api_key=KEY, base_url="http://localhost:1/v1", http_client=transport)


def _sent(arguments: dict[str, Any], change: Any, *, lean_path: bool, cookie: bool) -> list[Any]:
    server = Server(cookie)
    client = _client(server)
    calls = [dict(ASK), {**ASK, **arguments}, {**ASK, **arguments}, dict(ASK)]
    for number, call in enumerate(calls):
        if number == 1:
            change(client)
        if not lean_path:
            client._http_requests._templates.clear()
        client.chat.completions.create(**call)
    client.close()
    return [server.sent(number) for number in range(len(calls))]


@pytest.mark.parametrize("cookie", [False, True])
@pytest.mark.parametrize("name", ARGUMENTS)
def test_arguments(name: str, cookie: bool, copied: list[Any]) -> None:
    """Requests with and without an argument are what the SDK builds."""
    nothing: Any = lambda client: None  # noqa: E731
    ours = _sent(ARGUMENTS[name], nothing, lean_path=True, cookie=cookie)
    assert copied
    assert _comparable(ours) == _comparable(
        _sent(ARGUMENTS[name], nothing, lean_path=False, cookie=cookie)
    )


@pytest.mark.parametrize("change", CHANGES)
def test_changes(change: Any, copied: list[Any]) -> None:
    """What is changed between two calls is in the next request."""
    ours = _sent({}, change, lean_path=True, cookie=False)
    expected = {_new_parameter: 0, _new_query: 0, _new_cookie: 3}
    assert len(copied) == expected.get(change, 2)
    assert _comparable(ours) == _comparable(_sent({}, change, lean_path=False, cookie=False))


def _comparable(sent: list[Any]) -> list[Any]:
    """Cookies come before or after other headers."""
    return [(method, url, sorted(headers), *rest) for method, url, headers, *rest in sent]


def test_the_async_library(copied: list[Any]) -> None:
    """A header names it."""
    server = Server()
    transport = http.AsyncClient(transport=http.MockTransport(server))
    client = AsyncFlexOpenAI(api_key=KEY, base_url="http://localhost:1/v1", http_client=transport)

    async def call() -> None:
        for _ in range(2):
            await client.chat.completions.create(**ASK)

    asyncio.run(call())
    assert len(copied) == 1
    assert [one.headers["X-Stainless-Async"] for one in server.requests] == ["async:asyncio"] * 2
    assert server.sent(0) == server.sent(1)


def test_a_class_with_headers_of_its_own(copied: list[Any]) -> None:
    """Its requests are not copied."""

    class Client(FlexOpenAI):
        @property
        def default_headers(self) -> Any:
            return {**super().default_headers, "X-Number": str(len(server.requests))}

    server = Server()
    transport = http.Client(transport=http.MockTransport(server))
    client = Client(api_key=KEY, base_url="http://localhost:1/v1", http_client=transport)
    for _ in range(3):
        client.chat.completions.create(**ASK)
    assert [one.headers["X-Number"] for one in server.requests] == ["0", "1", "2"]
    assert not copied


@pytest.mark.parametrize(
    "values",
    [
        {"method": "post", "url": "/responses", "json_data": {"a": openai.not_given, "b": 1}},
        {"method": "post", "url": "/x", "headers": {"a": "b", "c": openai.not_given}},
        {"method": "post", "url": "/x", "timeout": 5.0, "security": {"bearer_auth": True}},
        {"method": "post", "url": "/x", "no_such_option": 1},
    ],
)
def test_options(values: dict[str, Any]) -> None:
    """They are the SDK's, to every field that was set, and share nothing with each other."""
    ours, theirs = (make.construct(**values) for make in (lean.RequestOptions, FinalRequestOptions))
    assert type(ours) is type(theirs)
    assert repr(ours) == repr(theirs)
    assert ours.model_fields_set == theirs.model_fields_set
    assert ours.model_copy() == ours
    assert ours.params is not lean.RequestOptions.construct(**values).params
