"""``flextier rehearse``: figures in words, a table and JSON, and one line for mistakes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from flextier.cli import main
from flextier.rehearsal.baselines import PEERS
from flextier.rehearsal.trace import names


@pytest.fixture
def trace(tmp_path: Path) -> str:
    """A file with 10 calls: 2 slots for 100 s, then none."""
    path = tmp_path / "mine.json"
    weather = {"steps": [[0, 2], [100, 0]], "flex_latency": 3, "standard_latency": 2}
    path.write_text(json.dumps({"about": "Two slots.", "weather": weather, "jobs": 10}))
    return str(path)


def test_figures(trace: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What is rehearsed, and a line for each figure."""
    assert main(["rehearse", trace, "--jobs", "4", "--deadline", "60"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[:3] == [
        "mine: Two slots.",
        "4 calls at once, each to be answered within 60 s; seed 1",
        "",
    ]
    figures = {line.split()[0]: " ".join(line.split()[1:]) for line in printed[3:]}
    assert list(figures) == [
        "cost", "clairvoyant", "late", "failed", "answers", "refusals", "stalls", "seconds", "time",
    ]  # fmt: skip
    assert figures["cost"].startswith(
        "0.500 of standard's: $0.0062 instead of $0.012, at 1,200 tokens"
    )
    assert figures["clairvoyant"] == "0.500, none late; this was +0.0% of that"
    assert (figures["late"], figures["failed"], figures["answers"]) == ("none", "none", "4 flex")
    assert figures["stalls"] == "0; 0 abandoned, possibly billed"
    assert "an answer" in figures["refusals"]
    assert " s virtual, " in figures["time"]


def test_policy_fields(trace: str, capsys: pytest.CaptureFixture[str]) -> None:
    """``--policy`` takes any field, as text, more than once."""
    options = ["--policy", "lanes=standard", "--policy", "max-retries=0", "--seed", "7"]
    assert main(["rehearse", trace, *options, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["lanes"] == {"standard": 10}
    assert (printed["cost"], printed["seed"]) == (1, 7)
    assert (printed["policy"]["lanes"], printed["policy"]["max_retries"]) == (["standard"], 0)


def test_environment(
    trace: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What ``--policy`` does not say, the environment does."""
    monkeypatch.setenv("FLEXTIER_LANES", "standard")
    assert main(["rehearse", trace]) == 0
    assert "10 standard" in capsys.readouterr().out


def test_failures_are_named(trace: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What ended calls without an answer is said; there is no cost then."""
    options = ["--policy", "lanes=flex", "--policy", "patience=0", "--jobs", "4"]
    assert main(["rehearse", trace, *options]) == 0
    printed = capsys.readouterr().out
    assert "2: RateLimitError 2" in printed


def test_against(trace: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A table of everybody on the same trace, the clairvoyant at the end."""
    assert main(["rehearse", trace, "--against"]) == 0
    rows = capsys.readouterr().out.splitlines()[-len(PEERS) - 3 :]
    words = ("cost", "late", "failed", "refusals", "an answer", "rate-limited", "95 %", "longest")
    assert rows[0].split() == " ".join(words).split()
    assert [row.split("  ")[0] for row in rows[1:]] == ["flextier", *PEERS, "(clairvoyant)"]
    assert main(["rehearse", trace, "--against", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert [other["name"] for other in printed["against"]] == list(PEERS)


def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    """Names and what each trace shows."""
    assert main(["rehearse", "--list"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in printed] == names()
    assert all(line.endswith(".") for line in printed)
    assert main(["rehearse", "--list", "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)) == names()


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ([], "TRACE is missing"),
        (["nothing"], "no trace is called 'nothing'; there are: day, "),
        (["no/such.json"], "No such file"),
        (["outages", "--jobs", "0"], "jobs must be above 0"),
        (["outages", "--policy", "patiense=1"], "FlexPolicy has no field 'patiense'"),
        (["outages", "--policy", "patience=long"], "FlexPolicy(patience='long')"),
        (["outages", "--policy", "patience"], "--policy patience: a field and its value"),
    ],
)
def test_mistakes(options: list[str], problem: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Status 2, one line, and the thing to change in it."""
    assert main(["rehearse", *options]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("flextier rehearse: ")
    assert problem in said.err
    assert said.err.count("\n") == 1


def test_bare_install(trace: str) -> None:
    """Neither a server nor LangChain is needed; peers that need one are left out, and said so."""
    missing = "('uvicorn', 'starlette', 'rich', 'langchain_core', 'langchain_openai')"
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({missing}))\n"
        f"from flextier.cli import main; sys.exit(main(['rehearse', {trace!r}, '--against']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "backoff until the deadline" in done.stdout
    assert done.stderr.count('pip install "flextier[langchain]"') == 2
