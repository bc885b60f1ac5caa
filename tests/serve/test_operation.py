"""Running a gateway: the ledger, budgets, pages, the log, and its end."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from flextier._openai.http_library import http
from flextier.cli import main, serve
from flextier.cli.main import _parser
from flextier.costs import Ledger
from flextier.serve.app import Gateway
from flextier.serve.log import JsonFormatter
from flextier.serve.server import GatewayServer
from flextier.serve.tokens import Token
from flextier.sim import Fault, Simulator
from tests.serve.conftest import KEY, Served, gateway, leave, running

BODY = {"model": "gpt-5-mini", "input": "A secret of mine."}


def ask(url: str, token: str = "", body: Any = BODY, **headers: str | bytes) -> Any:
    """The answer to a call."""
    named: Any = {name.replace("_", "-"): value for name, value in headers.items()}
    named["x-flextier-token"] = token
    return http.post(f"{url}/v1/responses", json=body, headers=named, timeout=60)


def test_what_calls_cost_is_counted_once_for_each_token(
    flextier_sim: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    monkeypatch.setenv("FLEXTIER_LEDGER", url)
    rich = Token("rich", "r" * 16, tags=("web",))
    poor = Token("poor", "p" * 16, budget=Decimal("0.000001"))
    with gateway(flextier_sim, tokens=(rich, poor), ledger=Ledger(url)) as served:
        flextier_sim.script(Fault.refuse())
        tags = "nächt,web".encode()  # as curl sends it
        assert ask(served.url, rich.secret, x_flextier_tags=tags).status_code == 200
        assert ask(served.url, poor.secret).status_code == 200
        spent = ask(served.url, poor.secret)
        assert (spent.status_code, spent.json()["error"]["code"]) == (402, "budget_exceeded")
        assert "--token-file" in spent.json()["error"]["message"]
        assert ask(served.url, rich.secret, {**BODY, "model": 'x"\n'}).status_code == 200
        headers = {"x-flextier-token": rich.secret}
        status = http.get(f"{served.url}/status", headers=headers).json()
        text = http.get(f"{served.url}/metrics", headers=headers).text
    with Ledger(url, readonly=True) as ledger:
        rows = list(ledger.records())
    assert [row.tags for row in rows] == [("rich", "web", "nächt"), ("poor",), ("rich", "web")]
    assert [one["name"] for one in status["tokens"]] == ["rich", "poor"]
    assert Decimal(status["tokens"][1]["spent"]) == rows[1].cost.total
    assert status["totals"]["calls"] == 3
    assert status["upstreams"] == [{"name": "", "path": "/v1", "base_url": flextier_sim.base_url}]
    assert {lane["state"] for lane in status["lanes"]} == {"open"}
    assert 'flextier_calls_total{lane="flex"} 3\n' in text
    assert 'flextier_refusals_total{lane="flex"} 1\n' in text
    assert 'flextier_cost_dollars_by_model_total{model="x\\"\\n"}' in text
    assert re.search(r'flextier_cost_dollars_by_token_total\{token="poor"\} 0\.000\d+\n', text)
    for line in text.splitlines():
        assert re.fullmatch(r"# (HELP|TYPE) flextier_.+|flextier_\w+(\{.+\})? [\d.]+", line), line


@pytest.mark.exhaustive
def test_the_report_is_that_of_the_ledger(flextier_sim: Simulator, tmp_path: Path) -> None:
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    with gateway(flextier_sim, ledger=ledger) as served:
        ask(served.url, x_flextier_tags="night")
        page = http.get(f"{served.url}/report?since=1d", timeout=120)
    assert page.headers["content-type"].startswith("text/html")
    assert "night" in page.text


def test_the_pages_without_a_ledger(shared: Served) -> None:
    for path, status in (("/healthz", 200), ("/readyz", 200), ("/report", 404)):
        assert http.get(shared.url + path).status_code == status


def test_the_log_has_a_line_for_each_call_and_no_prompt(
    shared: Served, flextier_sim: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "flextier.serve")
    flextier_sim.script(Fault.refuse(), Fault.serve(), Fault.status(400, message="A secret"))
    answer = ask(shared.url)
    assert ask(shared.url).status_code == 400
    assert ask(shared.url, x_flextier_lanes="fast").status_code == 400
    lines = [JsonFormatter().format(record) for record in caplog.records]
    served, failed = map(json.loads, lines)
    assert served["id"] == answer.headers["x-flextier-call"]
    assert (served["event"], served["status"], served["lane"]) == ("call", 200, "flex")
    assert served["attempts"] == ["capacity", "served"]
    assert (failed["status"], failed["error"]) == (400, "BadRequestError")
    assert not [line for line in lines if "secret" in line or KEY in line]


@contextmanager
def command(sim: Simulator, *options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """``flextier serve`` as a process, and its URL."""
    code = "import sys; from flextier.cli import main; sys.exit(main())"
    environment = {"OPENAI_BASE_URL": sim.base_url, "OPENAI_API_KEY": KEY}
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", code, "serve", "--port", "0", *options],
        env={**os.environ, **environment},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        line = process.stderr.readline()
        yield process, json.loads(line)["url"]
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGTERM")
def test_sigterm_lets_calls_end(flextier_sim: Simulator) -> None:
    flextier_sim.script(Fault.stall(0.5), Fault.stall())
    with command(flextier_sim, "--drain", "1s") as (process, url):
        answers: list[Any] = []
        threads = [threading.Thread(target=lambda: answers.append(ask(url))) for _ in range(2)]
        for thread in threads:
            thread.start()
        while len(flextier_sim.requests) < 2:
            time.sleep(0.005)
        process.send_signal(signal.SIGTERM)
        for thread in threads:
            thread.join()
        assert process.wait() == 0
        answered, ended = sorted(answers, key=lambda answer: answer.status_code)
        assert (answered.status_code, ended.status_code) == (200, 503)
        assert "the gateway ends" in ended.text


@pytest.mark.exhaustive
@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_a_killed_gateway_pays_for_nothing_twice(flextier_sim: Simulator, tmp_path: Path) -> None:
    """Its caller lost the connection, and repeats the call; another one asks the same."""
    journal = ("--journal", str(tmp_path / "journal.db"))
    flextier_sim.script(Fault.stall(0.2))
    with command(flextier_sim, *journal) as (process, url):
        leave(url, flextier_sim, BODY, x_stainless_retry_count="0")
        lines = iter(process.stderr or ())
        assert any('"event": "call"' in line for line in lines)
        process.kill()
    with command(flextier_sim, *journal) as (_, url):
        repeated = ask(url, x_stainless_retry_count="1")
        assert repeated.headers["x-flextier-lane"] == "journal"
        assert ask(url).headers["x-flextier-lane"] == "flex"
    assert flextier_sim.paid()["payments"] == 2


def test_upstreams_are_served_by_name(
    flextier_sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTHER_ONE_API_KEY", "sk-of-the-other")
    arguments = ["serve", "--upstream", f"other-one={flextier_sim.base_url}", "--lanes", "flex"]
    options = replace(serve._options(_parser(arguments).parse_args(arguments)), port=0)
    assert "sk-of-the-other" not in repr(options)
    with running(GatewayServer(Gateway(options))) as served:
        answer = http.post(f"{served.url}/other-one/v1/responses", json=BODY, timeout=60)
        assert answer.headers["x-flextier-lane"] == "flex"
        assert http.get(f"{served.url}/other-one/v1/models").status_code == 200
        assert http.get(f"{served.url}/v1/models").status_code == 404
    keys = {request.headers["authorization"] for request in flextier_sim.requests}
    assert keys == {"Bearer sk-of-the-other"}


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--upstream", "other"],
        ["--upstream", "other=https://llm.example/v1"],
        ["--upstream", "v1=https://llm.example/v1"],
        ["--token-file", "/nowhere"],
        ["--deadline", "1s", "--lanes", "fast"],
        ["--ledger", "oracle://x"],
    ],
    ids=" ".join,
)
def test_a_gateway_that_cannot_begin_says_why(
    arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if arguments:
        monkeypatch.setenv("OPENAI_API_KEY", "k")
    assert main(["serve", *arguments]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("flextier serve: ")
