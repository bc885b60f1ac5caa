"""The other endpoints, and what is wrong with a request."""

from __future__ import annotations

import math
from typing import Any

import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flextier.sim import Simulator
from flextier.sim.model.embeddings import vector

from .callers import Chat, Responses, eventually, raw


@pytest.fixture
def client(sim: Simulator) -> Any:
    """A client that does not retry."""
    with openai.OpenAI(base_url=sim.base_url, api_key="k", max_retries=0) as client:
        yield client


def test_models_are_listed_and_shown(client: openai.OpenAI) -> None:
    """Every model of the list can be shown; others are not found."""
    listed = list(client.models.list())
    assert client.models.retrieve("o3") in listed
    with pytest.raises(openai.NotFoundError, match="No such model: o99"):
        client.models.retrieve("o99")


def test_embeddings_are_the_same_in_both_encodings(client: openai.OpenAI) -> None:
    """The SDK's base64 and plain floats bring the same vector of length one."""
    create = client.embeddings.create
    default = create(model="text-embedding-3-small", input="A cat sat.")
    floats = create(model="text-embedding-3-small", input="A cat sat.", encoding_format="float")
    assert default.data[0].embedding == pytest.approx(floats.data[0].embedding)
    assert math.hypot(*default.data[0].embedding) == pytest.approx(1, abs=1e-5)
    assert len(default.data[0].embedding) == 1536
    assert default.usage.prompt_tokens == default.usage.total_tokens == 3


def test_embeddings_take_many_texts_tokens_and_dimensions(sim: Simulator, client: Any) -> None:
    """Several texts, lists of tokens and a size are honoured, and billed."""
    create = client.embeddings.create
    many = create(model="text-embedding-3-large", input=["a", "b"], dimensions=64)
    assert [(item.index, len(item.embedding)) for item in many.data] == [(0, 64), (1, 64)]
    assert len(create(model="text-embedding-3-large", input=[1, 2, 3]).data) == 1
    assert len(create(model="text-embedding-3-large", input=[[1], [2]]).data) == 2
    assert sim.stats()["billed"]["text-embedding-3-large"]["default"]["requests"] == 3


def test_similar_texts_are_near_each_other() -> None:
    """Texts that share words are nearer than texts that do not."""

    def nearness(one: str, other: str) -> float:
        pairs = zip(vector(one, 256), vector(other, 256), strict=True)
        return sum(a * b for a, b in pairs)

    cat = "the cat sat on the mat"
    assert nearness(cat, "a cat on a mat") > nearness(cat, "stocks fell sharply today") + 0.2


@given(text=st.text(max_size=50), size=st.integers(1, 300))
def test_vectors_have_length_one(text: str, size: int) -> None:
    """Whatever the text and the size, a vector has length one and is the same every time."""
    assert math.hypot(*vector(text, size)) == pytest.approx(1, abs=1e-4)
    assert vector(text, size) == vector(text, size)


def test_files_are_kept_listed_read_and_deleted(client: openai.OpenAI) -> None:
    """An uploaded file comes back as it was, until it is deleted."""
    file = client.files.create(file=("lines.jsonl", b'{"a": 1}\n'), purpose="batch")
    other = client.files.create(file=("b.txt", b"b"), purpose="user_data")
    assert (file.filename, file.bytes, file.purpose) == ("lines.jsonl", 9, "batch")
    assert client.files.content(file.id).read() == b'{"a": 1}\n'
    assert client.files.retrieve(file.id) == file
    assert [one.id for one in client.files.list()] == [other.id, file.id]
    assert [one.id for one in client.files.list(purpose="batch")] == [file.id]
    assert client.files.delete(file.id).deleted
    with pytest.raises(openai.NotFoundError, match="No such File object"):
        client.files.content(file.id)


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", b"{}"),
        ("multipart/form-data; boundary=x", b"--x\r\n"),
        ("multipart/form-data; boundary=x", b"junk"),
        ("multipart/form-data", b"--x--"),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\nf\r\n--x--',
        ),
    ],
)
def test_bad_uploads_are_rejected(sim: Simulator, content_type: str, body: bytes) -> None:
    """An upload without a form, a file or a purpose is a 400."""
    answer = raw(sim.url, "POST", "/v1/files", body, **{"content-type": content_type})
    assert answer.status == 400
    assert sim.requests[0].outcome == "rejected"


def test_key_is_required(sim: Simulator) -> None:
    """Without an Authorization header every API path is a 401."""
    for method, path in (("GET", "/v1/models"), ("POST", Chat.path), ("GET", "/v1/nothing")):
        answer = raw(sim.url, method, path, authorization="")
        assert answer.status == 401
        assert "didn't provide an API key" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/v1/nothing"), ("DELETE", "/v1/models"), ("GET", "/"), ("GET", "/v1/files/a/b")],
)
def test_unknown_paths_are_not_found(sim: Simulator, method: str, path: str) -> None:
    """What the simulator does not serve is a 404 in OpenAI's words."""
    answer = raw(sim.url, method, path)
    assert answer.status == 404
    assert answer.json()["error"]["message"] == f"Invalid URL ({method} {path})"
    assert sim.stats()["paths"] == {"(unknown)": 1}


HELLO = [{"role": "user", "content": "Hello."}]


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        (Chat.path, {"messages": HELLO}, "model"),
        (Chat.path, {"model": 3, "messages": HELLO}, "model"),
        (Chat.path, {"model": "o3"}, "messages"),
        (Chat.path, {"model": "o3", "messages": []}, "messages"),
        (Chat.path, {"model": "o3", "messages": "Hello."}, "messages"),
        (Chat.path, {"model": "o3", "messages": [{"content": "Hello."}]}, "messages[0]"),
        (Chat.path, {"model": "o3", "messages": HELLO, "max_tokens": 0}, "max_tokens"),
        (Chat.path, {"model": "o3", "messages": HELLO, "n": 129}, "n"),
        (Chat.path, {"model": "o3", "messages": HELLO, "stop": 3}, "stop"),
        (Chat.path, {"model": "o3", "messages": HELLO, "tools": "all"}, "tools"),
        (Chat.path, {"model": "o3", "messages": HELLO, "stream_options": 1}, "stream_options"),
        (Responses.path, {"input": "Hello."}, "model"),
        (Responses.path, {"model": "o3"}, "input"),
        (Responses.path, {"model": "o3", "input": []}, "input"),
        (Responses.path, {"model": "o3", "input": ["Hello."]}, "input"),
        (Responses.path, {"model": "o3", "input": "x", "text": "json"}, "text"),
        (Responses.path, {"model": "o3", "input": "x", "include": True}, "include"),
        (Responses.path, {"model": "o3", "input": "x", "reasoning": "low"}, "reasoning"),
        ("/v1/embeddings", {"model": "e"}, "input"),
        ("/v1/embeddings", {"model": "e", "input": []}, "input"),
        ("/v1/embeddings", {"model": "e", "input": "x", "dimensions": -1}, "dimensions"),
    ],
    ids=str,
)  # fmt: skip
def test_wrong_requests_are_rejected(
    sim: Simulator, path: str, body: dict[str, Any], param: str
) -> None:
    """A missing or wrong parameter is a 400 that names it."""
    answer = raw(sim.url, "POST", path, body)
    assert answer.status == 400
    error = answer.json()["error"]
    assert (error["param"], error["type"]) == (param, "invalid_request_error")
    assert param in error["message"]
    assert sim.requests[0].outcome == "rejected"


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b"\xff"])
def test_body_must_be_a_json_object(sim: Simulator, body: bytes) -> None:
    """A body that is no JSON object is a 400 in OpenAI's words."""
    answer = raw(sim.url, "POST", Chat.path, body)
    assert answer.status == 400
    assert "could not parse the JSON body" in answer.json()["error"]["message"]


FIELDS = [
    "model",
    "messages",
    "input",
    "tools",
    "tool_choice",
    "stop",
    "n",
    "max_tokens",
    "stream",
    "stream_options",
    "logprobs",
    "response_format",
    "reasoning",
    "text",
    "service_tier",
    "role",
    "content",
    "type",
    "function",
    "parameters",
    "name",
    "instructions",
    "json_schema",
    "schema",
    "properties",
    "include",
    "metadata",
    "dimensions",
    "encoding_format",
]
anything = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from(["", "o3", "json_schema"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4)
    ),
    max_leaves=12,
)
sound = {"model": "o3", "messages": HELLO, "input": "Hello."}
# Some bodies with a sound model and prompt, so that their other fields are looked at.
bodies = st.dictionaries(st.sampled_from(FIELDS), anything).flatmap(
    lambda body: st.sampled_from([{**sound, **body}, {**body, **sound}])
)


@settings(deadline=None, max_examples=60)
@given(body=bodies, path=st.sampled_from([Chat.path, Responses.path, "/v1/embeddings"]))
def test_no_body_breaks_the_server(
    flextier_sim_server: Simulator, body: dict[str, Any], path: str
) -> None:
    """Whatever the JSON, the answer is a success or a 4xx, and the books are closed."""
    answer = raw(flextier_sim_server.url, "POST", path, body)
    assert answer.status == 200 or 400 <= answer.status < 500
    assert eventually(lambda: flextier_sim_server.in_flight == 0)
