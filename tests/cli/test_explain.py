"""``flextier explain``: the ladder, prices and waits, as text and as JSON."""

from __future__ import annotations

import json
import time
from datetime import datetime

import pytest

from flextier.cli import main


def test_the_ladder_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """Ranked, with prices and waits; and what is not tried, with the reason."""
    assert main(["explain", "--model", "gpt-6.2-sol", "--deadline", "10h"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("gpt-6.2-sol, 10 h to the deadline\n")
    rows = [line.split("  ") for line in printed.splitlines() if line[:1].isdigit()]
    assert [(row[0], row[1].strip()) for row in rows] == [
        ("1", "batch"),
        ("2", "background-8h"),
        ("3", "background-2h"),
        ("4", "standard"),
    ]
    assert "within 8 h (a target)" in printed
    assert "batch: for 10 calls at once or more" in printed
    assert "gpt-6.2-sol has no flex, by OpenAI's flex guide" in printed


def test_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    """The same for programs; 40 % below 2 and 10 dollars are 1.2 and 6."""
    arguments = ["explain", "--model", "gpt-6.2-sol", "--deadline", "10h", "--step", "--json"]
    assert main(arguments) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["deadline"] == 36_000
    assert printed["lanes"] == ["background-8h", "background-2h", "standard"]
    rates = {one["lane"]: one["rates"] for one in printed["considered"]}
    assert rates["background-8h"] == ["1.2", "6"]
    assert rates["flex"] is None
    assert all(one["tried"] is (one["against"] is None) for one in printed["considered"])


def test_the_deadline_of_the_environment(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without ``--deadline``, the variable counts; so do the other knobs."""
    monkeypatch.setenv("FLEXTIER_DEADLINE", "10800")
    monkeypatch.setenv("FLEXTIER_LANE_SUPPORT", "o3=background")
    assert main(["explain", "--model", "o3"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("o3, 3 h to the deadline\n")
    assert "o3 has no flex, by FlexPolicy.lane_support: o3=background" in printed


def test_a_deadline_that_is_too_short_for_the_usual_ladder(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is none for this one, which is standard alone then."""
    monkeypatch.setenv("FLEXTIER_DEADLINE", "20")
    assert main(["explain", "--model", "o3"]) == 0
    assert capsys.readouterr().out.startswith("o3, 20 s to the deadline\n")


def test_the_fewest_calls_of_a_batch(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are the ones that calls will go by."""
    monkeypatch.setenv("FLEXTIER_BATCH_MIN_CALLS", "50")
    assert main(["explain", "--model", "o3"]) == 0
    assert "batch: for 50 calls at once or more" in capsys.readouterr().out


def test_a_deadline_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    """An invalid deadline is status 2, and named in the error."""
    for text in ("soon", "06:00"):
        with pytest.raises(SystemExit, match="2"):
            main(["explain", "--model", "o3", "--deadline", text])
        assert f"--deadline: '{text}'" in capsys.readouterr().err


def test_a_time_of_day(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """``--until`` is the deadline as a time of day; with both, the earlier one counts."""
    now = datetime(2026, 11, 20, 22, 0).timestamp()
    monkeypatch.setattr(time, "time", lambda: now)
    for options, deadline in (
        ([], "8 h"),
        (["--deadline", "3h"], "3 h"),
        (["--deadline", "9h"], "8 h"),
    ):
        assert main(["explain", "--model", "o3", "--until", "06:00", *options]) == 0
        assert capsys.readouterr().out.startswith(f"o3, {deadline} to the deadline\n")
