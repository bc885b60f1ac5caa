"""Quotes: calls of every kind are counted, nothing is sent, and the words say what is known."""

from __future__ import annotations

import json
import socket
import threading
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import openai
import pytest
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.tools import tool
from pydantic import BaseModel

from flextier import AsyncFlexOpenAI, FlexOpenAI, budget, override, quote, track
from flextier.bulk import BulkError
from flextier.cli import main
from flextier.costs import Ledger, Usage, price, record_calls
from flextier.journal import begin_again
from flextier.langchain import ChatOpenAIFlex
from flextier.sim import Simulator
from tests.bulk.helpers import write_jsonl

ROWS = [{"text": f"The tide of day {number} is high."} for number in range(30)]
LADDER = ("batch", "flex", "standard")


@pytest.fixture
def account(flextier_sim: Simulator) -> Any:
    """Where clients call; nothing does, while a quote is made."""
    yield {"base_url": flextier_sim.base_url, "api_key": "quote"}
    assert flextier_sim.requests == []


def messages(row: dict[str, Any]) -> Any:
    return [{"role": "user", "content": row["text"]}]


def asking(client: Any, **more: Any) -> Any:
    """A function that makes one call, async or not."""

    def ask(row: dict[str, Any]) -> Any:
        return client.chat.completions.create(model="o4-mini", messages=messages(row), **more)

    return ask


@pytest.mark.parametrize("kind", [FlexOpenAI, AsyncFlexOpenAI, openai.OpenAI, openai.AsyncOpenAI])
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
def test_one_call_a_row(kind: Any, stream: bool, account: Any) -> None:
    """Its tokens times the rates, on each lane; flextier's clients take the lanes, others not."""
    client, seen = kind(**account), []

    async def ask(row: dict[str, Any]) -> None:
        answer: Any = asking(client, stream=stream)(row)
        answer = await answer if hasattr(answer, "__await__") else answer
        if not stream:
            seen.append(answer.choices[0].message.content)
        elif hasattr(answer, "__aiter__"):
            parts = [part.choices[0].delta.content or "" async for part in answer if part.choices]
            seen.append("".join(parts))
        else:
            parts = [part.choices[0].delta.content or "" for part in answer if part.choices]
            seen.append("".join(parts))

    found = quote(ask, ROWS, {"lanes": LADDER}, output_tokens=100)
    assert (found.rows, found.sampled, found.calls.expected, found.errors) == (30, 30, 1, {})
    assert [len(text) for text in seen] == [400] * 30
    (model,) = found.models
    routed = kind in (FlexOpenAI, AsyncFlexOpenAI)
    lanes = LADDER[stream:] if routed else ("standard",)  # the Batch API has no streams
    assert model.lanes == lanes
    assert model.input_tokens.low < 30 * 12 < model.input_tokens.high
    assert model.output_tokens.to_dict() == {"low": 2250, "expected": 3000, "high": 3750}
    usage = Usage(model.input_tokens.expected, 3000)
    for lane, span in found.lanes.items():
        total = price(usage, model="o4-mini", lane=lane).total
        assert span.expected == pytest.approx(total)
        assert span.low < total < span.high
    assert found.expected == found.lanes[lanes[0]].expected
    assert found.low == found.lanes[lanes[0]].low
    assert found.high == found.lanes["standard"].high


def test_a_chain_of_calls(account: Any) -> None:
    """The next call is made with the answer to the one before, as long as it is expected to be."""
    model = ChatOpenAIFlex(model="o4-mini", **account)
    first = ChatPromptTemplate.from_template("Translate: {text}") | model | StrOutputParser()
    second = ChatPromptTemplate.from_template("Judge: {answer}") | model | StrOutputParser()
    with track() as calls, budget("0.01"), record_calls(scope="process") as totals:
        found = quote({"answer": first} | second, ROWS, output_tokens=1000)
    assert found.calls.to_dict() == {"low": 2, "expected": 2, "high": 2}
    assert found.models[0].input_tokens.expected > 30 * 900
    assert "2 calls a row" in str(found)
    assert len(calls) == 60
    assert totals.calls == 0


class Verdict(BaseModel):
    """An answer in a form."""

    correct: bool
    reason: str


def test_structured_output_and_tools(account: Any) -> None:
    """Simulated answers fit schemas, and call tools: what follows is called and counted."""
    model = ChatOpenAIFlex(model="o4-mini", max_tokens=500, **account)
    verdicts = []

    @tool
    def look_up(place: str) -> str:
        """The height of the tide at a place."""
        return "2 m"

    def judge(row: dict[str, Any]) -> None:
        verdicts.append(model.with_structured_output(Verdict).invoke(row["text"]))
        asked: Any = [("human", row["text"])]
        answer: Any = model.bind_tools([look_up]).invoke(asked)
        asked += [answer, *(look_up.invoke(call) for call in answer.tool_calls)]
        assert model.bind_tools([look_up]).invoke(asked).content

    found = quote(judge, ROWS[:3])
    assert isinstance(verdicts[0], Verdict)
    assert (found.calls.expected, found.errors) == (3, {})
    assert found.models[0].output_tokens.to_dict() == {"low": 9, "expected": None, "high": 4500}
    assert (found.expected, found.high is None) == (None, False)


def test_nothing_is_sent(account: Any) -> None:
    """Other requests fail, without retries; a thread that a row starts is covered, too."""
    stock, port = openai.OpenAI(**account), int(account["base_url"].rsplit(":")[-1].split("/")[0])
    problems: list[str] = []

    def tries(row: dict[str, Any]) -> None:
        def connect() -> None:
            try:
                socket.create_connection(("127.0.0.1", port))
            except OSError as error:
                problems.append(str(error))

        thread = threading.Thread(target=connect)
        thread.start()
        thread.join()
        stock.embeddings.create(model="text-embedding-3-small", input=row["text"])
        with pytest.raises(openai.APIStatusError, match="nothing is sent"):
            stock.models.list()
        urllib.request.urlopen(account["base_url"])

    found = quote(tries, ROWS[:2])
    assert (
        problems
        == [f"nothing is sent while a quote is made: a connection to {('127.0.0.1', port)}"] * 2
    )
    ((error, times),) = found.errors.items()
    assert error.startswith("URLError: <urlopen error nothing is sent")
    assert times == 2
    assert found.models[0].model == "text-embedding-3-small"
    with socket.create_connection(("127.0.0.1", port)):
        pass  # after the quote, connections are as before


def test_lanes_of_the_policy(account: Any) -> None:
    """The lanes are those that the calls would take: the policy's, the model's, the deadline's."""
    client = FlexOpenAI(**account, policy={"lanes": ("flex",)})
    assert quote(asking(client), ROWS[:1]).models[0].lanes == ("flex",)
    found = quote(asking(client), ROWS[:1], {"lanes": "auto", "deadline": "8h"})
    assert found.models[0].lanes == ("batch", "flex", "standard")
    assert found.ends_by is not None
    assert (found.ends_by - found.at).total_seconds() == pytest.approx(8 * 3600, abs=60)


def test_lanes_that_a_model_does_not_have(account: Any) -> None:
    """A request there is rejected and not paid: it does not make the cost unknown."""
    client = FlexOpenAI(**account)

    def ask(row: dict[str, Any]) -> Any:
        return client.responses.create(model="gpt-4.1", input=row["text"])

    found = quote(ask, ROWS[:1], {"lanes": ("flex", "standard")}, output_tokens=10)
    assert found.models[0].lanes == ("standard",)
    assert found.cost == found.lanes["standard"]
    assert quote(ask, ROWS[:1], {"lanes": ("flex",)}, output_tokens=10).high is None


def test_a_sample(account: Any) -> None:
    """Of many rows a few are called; the range then has what the sample may be wrong by."""
    rows = [{"text": "word " * (10 + number % 90)} for number in range(400)]
    ask = asking(FlexOpenAI(**account))
    few, all_rows = (quote(ask, rows, sample=x, output_tokens=50) for x in (40, 400))
    assert (few.rows, few.sampled, all_rows.sampled) == (400, 40, 400)
    exact = all_rows.models[0].input_tokens
    assert few.models[0].input_tokens.low < exact.low
    assert few.models[0].input_tokens.high > exact.high


def test_expected_output(account: Any, tmp_path: Path) -> None:
    """Stated, or what a ledger's calls of the model took; without either, only the limit counts."""
    ask, url = asking(FlexOpenAI(**account)), f"sqlite:///{tmp_path}/costs.db"
    unknown = quote(ask, ROWS)
    assert (unknown.expected, unknown.high) == (None, None)
    assert "unknown: the calls set no limit" in str(unknown)
    client = FlexOpenAI(**account, http_client=answering(300))
    with client, Ledger(url) as ledger, record_calls(ledger):
        for _ in range(5):
            asking(client)(ROWS[0])
        journal = str(tmp_path / "calls.db")
        for _ in range(2):  # the second is replayed: that is no answer of no tokens
            begin_again(journal)
            with override(journal=journal):
                asking(client)(ROWS[1])
    found = quote(ask, ROWS, ledger=url)
    assert found.models[0].output_source == "300 a call, as 6 calls in the ledger, ±89 %"
    assert found.models[0].output_tokens.expected == 9000


def answering(tokens: int) -> Any:
    """An HTTP client whose answers took that many output tokens."""
    from flextier._openai.http_library import http

    def respond(request: Any) -> Any:
        usage = {"prompt_tokens": 10, "completion_tokens": tokens, "total_tokens": tokens + 10}
        message = {"role": "assistant", "content": "Yes."}
        choice = {"index": 0, "finish_reason": "stop", "message": message}
        answer = {"id": "x", "object": "chat.completion", "created": 1, "model": "o4-mini"}
        return http.Response(
            200, json={**answer, "service_tier": "flex", "choices": [choice], "usage": usage}
        )

    return http.Client(transport=http.MockTransport(respond))


def test_a_file(account: Any, tmp_path: Path) -> None:
    """A path is read as a run reads it; a row that cannot be read costs nothing."""
    source = write_jsonl(tmp_path / "in.jsonl", [*ROWS, "no JSON"])
    assert quote(asking(FlexOpenAI(**account)), source).rows == 30
    with pytest.raises(BulkError, match="no such file"):
        quote(print, tmp_path / "none.csv")
    assert quote(print, []).expected == 0


async def test_in_a_running_event_loop(account: Any) -> None:
    """As in a notebook."""
    assert quote(asking(FlexOpenAI(**account)), ROWS, output_tokens=1).high is not None


def test_prices(account: Any) -> None:
    """Each has its source, and the day that the list is of; an unknown model has no price."""

    def ask(row: dict[str, Any]) -> Any:
        for model in ("o4-mini", "gpt-6.2-sol", "my-own"):
            FlexOpenAI(**account).responses.create(model=model, input=row["text"])

    found = quote(ask, ROWS[:1], output_tokens=10)
    sources = {source.model: source for source in found.prices if source.lane == "standard"}
    assert sources["o4-mini"].source.startswith("openai/o4-mini in genai-prices 0.")
    assert "flextier's own list, checked 20" in sources["gpt-6.2-sol"].source
    assert (sources["my-own"].basis, sources["my-own"].checked) == ("unpriced", None)
    assert (found.low, found.expected, found.high) == (None, None, None)
    json.dumps(found.to_dict())


def test_a_resumed_run(
    flextier_sim: Simulator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Finished rows are not in the quote, but the tokens of their answers are what is expected."""
    source = write_jsonl(tmp_path / "in.jsonl", ROWS[:10])
    place = {"base_url": flextier_sim.base_url, "api_key": "quote"}
    (tmp_path / "quoted_work.py").write_text(
        "from flextier import FlexOpenAI\n"
        f"client = FlexOpenAI(**{place!r})\n"
        "def ask(row):\n"
        "    return client.responses.create(model='o4-mini', input=row['text'])\n"
    )
    monkeypatch.chdir(tmp_path)
    assert main(command(tmp_path, source)) == 0
    write_jsonl(source, ROWS)
    flextier_sim.reset()
    capsys.readouterr()
    assert main(command(tmp_path, source, "--lanes", "batch", "--quote", "--json")) == 0
    assert flextier_sim.requests == []
    found = json.loads(capsys.readouterr().out)
    assert (found["event"], found["rows"]) == ("quote", 20)
    assert found["models"][0]["lanes"] == ["batch"]
    assert "as 10 calls of this run" in found["models"][0]["output_source"]
    receipt = tmp_path / "receipt.json"
    assert main(command(tmp_path, source, "--json", "--receipt", str(receipt))) == 0
    *_, result = map(json.loads, capsys.readouterr().out.splitlines())
    written = json.loads(receipt.read_text())
    assert result["receipt"] == written
    assert written["within_quote"] is True
    assert Decimal(written["quoted"]["low"]) > Decimal(found["cost"]["low"])  # and what was spent
    assert written["lanes"]["flex"]["calls"] == 30
    assert main(command(tmp_path, source, "--key", "text", "--quote")) == 2
    assert "belongs to another run" in capsys.readouterr().err
    assert main(command(tmp_path, source, "--key", "text", "--quote", "--overwrite", "--json")) == 1
    assert json.loads(capsys.readouterr().out)["rows"] == 30


def command(place: Path, source: Path, *more: str) -> list[str]:
    """The command over the work of a directory."""
    return ["run", "quoted_work:ask", str(source), str(place / "out.jsonl"), *more]


@pytest.mark.skipif(find_spec("llama_index") is None, reason="LlamaIndex takes openai<3")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_llama_index(account: Any) -> None:
    """An engine whose index embeds the question: the embedding is in the quote, on standard."""
    from llama_index.core import MockEmbedding, VectorStoreIndex
    from llama_index.core.schema import TextNode
    from llama_index.embeddings.openai import OpenAIEmbedding

    from flextier.llama_index import OpenAIFlex

    place = {"api_base": account["base_url"], "api_key": account["api_key"]}
    nodes = [TextNode(text="The tide is high.", embedding=[1.0] * 1536)]
    index = VectorStoreIndex(nodes, embed_model=MockEmbedding(1536))
    engine = index.as_query_engine(
        llm=OpenAIFlex(model="o4-mini", **place), embed_model=OpenAIEmbedding(**place)
    )
    found = quote(engine, ["How high is it?"], output_tokens=30)
    assert found.errors == {}
    assert [(one.model, one.lanes) for one in found.models] == [
        ("text-embedding-ada-002", ("standard",)),
        ("o4-mini", ("flex", "standard")),
    ]
    assert found.high > found.lanes["flex"].high > Decimal(0)


def test_threads_that_a_quote_has_started(flextier_sim: Simulator) -> None:
    """A pool's thread keeps the context of the quote; its calls after the quote are real ones."""
    client = FlexOpenAI(base_url=flextier_sim.base_url, api_key="quote")
    with ThreadPoolExecutor(1) as pool:

        def ask(row: dict[str, Any]) -> Any:
            return pool.submit(asking(client), row).result()

        found = quote(ask, ROWS[:3], {"lanes": ("batch",)}, output_tokens=10)
        assert (found.calls.expected, found.models[0].lanes) == (1, ("batch",))
        assert flextier_sim.requests == []
        with record_calls(scope="process") as totals:
            ask(ROWS[0])
    assert [request.tier for request in flextier_sim.requests] == ["flex"]
    assert totals.calls == 1


def test_a_deadline_that_is_too_short_for_a_lane(account: Any) -> None:
    """The lanes are those that are left."""
    ask = asking(FlexOpenAI(**account))
    found = quote(ask, ROWS[:1], {"lanes": LADDER, "deadline": "10m"}, output_tokens=10)
    assert found.models[0].lanes == ("flex", "standard")


def test_rows_that_raise(account: Any) -> None:
    """Before their first call they are quoted as the others are, or not at all; never as free."""
    ask = asking(FlexOpenAI(**account))

    def some(row: dict[str, Any]) -> Any:
        if row["text"].endswith("0 is high."):
            raise SystemExit("closed")
        return ask(row)

    every = quote(ask, ROWS, output_tokens=100)
    found = quote(some, ROWS, output_tokens=100)
    assert found.errors == {"SystemExit: closed": 3}
    assert found.expected == pytest.approx(every.expected)
    assert found.low == pytest.approx((every.low or 0) * 9 / 10)
    assert found.calls.to_dict() == {"low": 0, "expected": 1, "high": 1}
    none = quote(lambda row: row["txt"], ROWS, output_tokens=100)
    assert (none.low, none.expected, none.high) == (0, None, None)

    def each(row: dict[str, Any]) -> Any:
        raise ValueError(row["text"])

    assert str(quote(each, ROWS)).endswith("25 sample rows raised other errors")


def test_rows_that_cannot_be_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """They are left out, and counted; a key column that the input lacks is an error."""
    source = write_jsonl(tmp_path / "in.jsonl", [*ROWS[:2], "no JSON", {"other": 1}])
    (tmp_path / "quoted_nothing.py").write_text("def work(row): return row['text']\n")
    monkeypatch.chdir(tmp_path)
    quoting = ["run", "quoted_nothing:work", str(source), "out.jsonl", "--quote", "--key"]
    assert main([*quoting, "text"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("2 rows, 0 calls a row")
    assert "2 more rows cannot be run, and cost nothing" in shown
    for more, wrong in (
        (["--submit"], "leave --submit and --collect out"),
        (["--output-tokens", "0"], "output_tokens (--output-tokens) must be at least 1, not 0"),
    ):
        assert main([*quoting, "text", *more]) == 2
        assert wrong in capsys.readouterr().err
    assert main([*quoting, "nothing"]) == 2
    assert "key (--key): no column 'nothing'" in capsys.readouterr().err
