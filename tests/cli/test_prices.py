"""``flextier prices``: lanes side by side, errors that name what to change."""

from __future__ import annotations

import pytest

from flextier.cli import main
from flextier.costs import PriceBook, set_price_book
from flextier.lanes import BACKGROUND
from flextier.pricing.table import is_known


def rows(printed: str) -> dict[tuple[str, str], list[str]]:
    """The cells after model and lane, by model and lane."""
    found: dict[tuple[str, str], list[str]] = {}
    model = ""
    for line in printed.splitlines()[3:]:
        if not line:
            break
        cells = [cell.strip() for cell in line.split("  ") if cell.strip()]
        if not line.startswith(" "):
            model = cells.pop(0)
        found[model, cells[0]] = cells[1:]
    return found


def test_the_launch_of_flex(capsys: pytest.CaptureFixture[str]) -> None:
    """The table of April 2025, as it was announced."""
    assert main(["prices", "o3", "o4-mini", "--at", "2025-04-17"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("US$ per million tokens, 2025-04-17\n")
    found = rows(printed)
    assert found["o3", "standard"] == ["exact", "10", "2.5", "10", "40"]
    assert found["o3", "flex"] == ["estimated [1]", "5", "1.25", "5", "20"]
    assert found["o4-mini", "standard"] == ["exact", "1.1", "0.275", "1.1", "4.4"]
    assert found["o4-mini", "flex"] == ["estimated [3]", "0.55", "0.1375", "0.55", "2.2"]
    assert "[1] no flex rate of openai/o3 is listed before 2026-10-12: taken as 0.5" in printed


def test_lanes_side_by_side(capsys: pytest.CaptureFixture[str]) -> None:
    """Those that have a price, standard and flex always; long prompts in lines of their own."""
    assert main(["prices", "gpt-5.4", "gemini-2.5-flash", "--at", "2026-11-01"]) == 0
    found = rows(capsys.readouterr().out)
    assert found["gpt-5.4", "flex"] == ["exact", "1.25", "0.13", "1.25", "7.5"]
    assert found["gpt-5.4", "flex > 272,000"] == ["exact", "2.5", "0.25", "2.5", "11.25"]
    assert found["gpt-5.4", "priority > 272,000"][0].startswith("unpriced")
    assert found["gemini-2.5-flash", "standard"] == ["exact", "0.3", "0.03", "0.3", "2.5"]
    assert found["gemini-2.5-flash", "flex"][1:] == ["-", "-", "-", "-"]
    assert ("gemini-2.5-flash", "priority") not in found


def test_what_a_usage_costs(capsys: pytest.CaptureFixture[str]) -> None:
    """Two more columns, and only the rates of its length."""
    spec = "input=300000,cached=100000,output=10000,reasoning=9000"
    assert main(["prices", "gpt-5.4", "--at", "2026-11-01", "--usage", spec]) == 0
    found = rows(capsys.readouterr().out)
    assert ("gpt-5.4", "flex") not in found
    # 2.50 x 200,000 + 0.25 x 100,000 + 11.25 x 10,000 per million, and twice that on standard.
    assert found["gpt-5.4", "flex > 272,000"][-2:] == ["0.6375", "0.6375"]
    assert found["gpt-5.4", "standard > 272,000"][-2:] == ["1.275", "0"]
    assert found["gpt-5.4", "priority > 272,000"][-2:] == ["-", "-"]


def test_background_windows(capsys: pytest.CaptureFixture[str]) -> None:
    """Of models that are known to have them, or that the book has rates for."""
    own = {"gpt-5": {"background-8h": {"input": "0.5", "output": "4"}}}
    book = PriceBook(rates={**own, "gpt-6.2-astra": {"input": "5", "output": "30"}})
    before = set_price_book(book)
    try:
        models = ["gpt-6.2-sol", "gpt-6.2-astra", "gpt-6.1-terra", "o3", "gpt-5"]
        assert main(["prices", *models, "--at", "2026-12-01"]) == 0
    finally:
        set_price_book(before)
    printed = capsys.readouterr().out
    found = rows(printed)
    assert found["gpt-6.2-sol", "standard"] == ["exact", "2", "0.1", "2.5", "10"]
    assert found["gpt-6.2-sol", "background-2h"][1:] == ["1.4", "0.07", "1.75", "7"]
    assert found["gpt-6.2-sol", "background-8h > 272,000"][1:] == ["2.4", "0.12", "3", "9"]
    assert found["gpt-6.2-sol", "flex"][1:] == ["-", "-", "-", "-"]
    assert found["gpt-6.1-terra", "background-8h"][0].startswith("estimated")
    assert found["gpt-5", "background-8h"] == ["exact", "0.5", "0.5", "0.5", "4"]
    assert found["gpt-6.2-astra", "background-8h"][1:] == ["3", "3", "3", "18"]
    shown = {model for model, lane in found if lane.startswith("background")}
    assert shown == {"gpt-6.2-sol", "gpt-6.2-astra", "gpt-6.1-terra", "gpt-5"}
    assert ("gpt-5", "background-2h") not in found
    assert "taken as 0.6 of standard (https://developers.openai.com/" in printed


@pytest.mark.parametrize(
    ("entry", "has"),
    [
        ("openai/gpt-6.1-terra", True),
        ("openai/gpt-6.2-sol", True),
        ("openai/gpt-6.10-luna", True),
        ("openai/gpt-7-nova", True),
        ("openai/gpt-6.1-sol", False),
        ("openai/gpt-5.6-sol", False),
        ("openai/gpt-4.1", False),
        ("openai/o3", False),
        ("azure/gpt-6.2-sol", False),
        ("the price book", False),
        (None, False),
    ],
)
def test_who_has_windows(entry: str | None, has: bool) -> None:
    """OpenAI's own models: those whose pages say so, and GPT-6.2 and later."""
    assert is_known(BACKGROUND["2h"], entry) is has


def test_an_unknown_model(capsys: pytest.CaptureFixture[str]) -> None:
    """It is named with others like it; the rest is printed, and the status is not 0."""
    assert main(["prices", "gpt-6.9-sol", "o3", "qqqq", "whisper-1", "--at", "2026-11-01"]) == 1
    captured = capsys.readouterr()
    assert rows(captured.out)["o3", "flex"][0] == "exact"
    unknown, gibberish, audio = captured.err.splitlines()
    assert "'gpt-6.9-sol' is listed; close to it: gpt-6.2-sol, gpt-6.1-sol" in unknown
    assert gibberish.endswith("no price of a model 'qqqq' is listed")
    assert audio.endswith("openai/whisper-1 is not sold by the token")


def test_a_day_before_the_model(capsys: pytest.CaptureFixture[str]) -> None:
    """The option is named, with the first day there is a price."""
    assert main(["prices", "gpt-5", "o3", "--at", "2025-05-01"]) == 1
    captured = capsys.readouterr()
    assert ("o3", "flex") in rows(captured.out)
    assert "--at: no price of gpt-5 is known before 2025-08-07" in captured.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--at", "tomorrow"], "--at: 'tomorrow'"),
        (["--at", "2025-02-30"], "--at: '2025-02-30'"),
        (["--usage", "in=5"], "--usage: 'in=5'"),
        (["--usage", "input=many"], "--usage: 'input=many'"),
        (["--usage", "input=-5"], "--usage: 'input=-5'"),
        (["--usage", "input=5,cached=6"], "--usage: cached_input_tokens=6"),
        (["--usage", "output=5,reasoning=6"], "--usage: reasoning_tokens=6"),
        (["--usage", ""], "--usage: ''"),
    ],
)
def test_options_that_cannot_be(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Status 2, and a line that names the option and what is wrong with it."""
    with pytest.raises(SystemExit) as ended:
        main(["prices", "o3", *arguments])
    assert ended.value.code == 2
    assert words in capsys.readouterr().err


def test_no_model(capsys: pytest.CaptureFixture[str]) -> None:
    """At least one is needed."""
    with pytest.raises(SystemExit) as ended:
        main(["prices"])
    assert ended.value.code == 2
    assert "MODEL" in capsys.readouterr().err


def test_the_book_of_the_process(capsys: pytest.CaptureFixture[str]) -> None:
    """The command goes by it, as everything does."""
    before = set_price_book(PriceBook(rates={"mine": {"flex": {"input": "1", "output": "2"}}}))
    try:
        assert main(["prices", "mine"]) == 0
    finally:
        set_price_book(before)
    found = rows(capsys.readouterr().out)
    assert found["mine", "flex"] == ["exact", "1", "1", "1", "2"]
