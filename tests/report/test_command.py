"""``flextier report``: every format, and what bad input ends with."""

from __future__ import annotations

import csv
import io
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from flextier.calls.report import Attempt
from flextier.cli import main
from flextier.costs import CallRecord, CostTotals, record_of
from flextier.ledger import Ledger
from tests.costs.records import report as a_report
from tests.ledger.calls import call, environment
from tests.report.records import HOSTILE, estimated, fortnight, unpriced

Keep = Callable[[Iterable[CallRecord]], Path]


def report(file: Path, *options: str) -> int:
    """Run the command over a ledger."""
    return main(["report", "--ledger", f"sqlite:///{file}", "--since", "all", *options])


def test_a_table(keep: Keep, capsys: pytest.CaptureFixture[str]) -> None:
    """Lanes, models and tags, each with the sum of all."""
    assert report(keep(fortnight())) == 0

    lines = capsys.readouterr().out.splitlines()
    totals = CostTotals(fortnight())
    assert [line.split()[0] for line in lines if line.strip()][1:] == [
        *("lane", "flex", "standard", "all"),
        *("model", "o3", "gpt-5", "all"),
        *("tag", "nightly", "all"),
    ]
    assert f"${totals.saved:.2f}" in next(line for line in lines if line.startswith("all"))


@pytest.mark.parametrize("by", ["model", "lane", "tag", "day"])
def test_csv_is_exact(by: str, keep: Keep, capsys: pytest.CaptureFixture[str]) -> None:
    """A line a group, with the digits of the sums themselves."""
    assert report(keep(fortnight()), "--by", by, "--format", "csv") == 0

    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    totals = CostTotals(fortnight()).to_dict()
    if by == "day":
        assert [row["day"] for row in rows][:2] == ["2026-11-02", "2026-11-03"]
        assert len(rows) == 14
        return
    expected = totals[f"by_{by}"]
    assert {row.pop(by): row for row in rows} == {
        name: {key: str(value) for key, value in sums.items()} for name, sums in expected.items()
    }


def test_json_is_exact(keep: Keep, capsys: pytest.CaptureFixture[str]) -> None:
    """Money as strings; the same sums as those of the records."""
    assert report(keep(fortnight()), "--format", "json") == 0

    printed = json.loads(capsys.readouterr().out)
    totals = CostTotals(fortnight()).to_dict()
    assert {key: printed[key] for key in ("by_model", "by_lane", "by_tag")} == {
        key: totals[key] for key in ("by_model", "by_lane", "by_tag")
    }
    assert printed["total"]["cost"] == totals["cost"]
    assert sum(one["refused"] for one in printed["flex_tries"]) == totals["refusals"]
    assert len(printed["slowest"]) == 10


def test_times_in_json_have_their_offset(keep: Keep, capsys: pytest.CaptureFixture[str]) -> None:
    """A program need not know the report's zone."""
    report(keep([call()]), "--format", "json", "--tz", "Asia/Kathmandu")
    printed = json.loads(capsys.readouterr().out)
    times = [printed[name] for name in ("first", "last")]
    times += [one["at"] for name in ("slowest", "dearest") for one in printed[name]]
    assert len(times) == 4
    assert all(time.endswith("+05:45") for time in times)
    assert printed["until"].endswith("+00:00")


def test_a_page_in_a_file(keep: Keep, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``--output`` takes the page; nothing is printed."""
    page = tmp_path / "report.html"
    assert report(keep(fortnight()), "--format", "html", "--output", str(page)) == 0
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert capsys.readouterr().out == ""


def test_the_last_week_is_the_default(keep: Keep, capsys: pytest.CaptureFixture[str]) -> None:
    """Without --since, older calls are left out, and that is said."""
    file = keep(fortnight())
    assert main(["report", "--ledger", str(file), "--until", "2026-11-30"]) == 0
    assert "2026-11-" in capsys.readouterr().out.splitlines()[0]


def test_the_variables_ledger_is_the_default(
    keep: Keep, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that ``FLEXTIER_LEDGER`` has every call recorded in; the option wins."""
    monkeypatch.setenv("FLEXTIER_LEDGER", str(keep(fortnight())))
    assert main(["report", "--since", "all"]) == 0
    assert "nightly" in capsys.readouterr().out
    assert main(["report", "--since", "all", "--ledger", "sqlite:///missing.db"]) == 2


@pytest.mark.parametrize("form", ["table", "json", "csv", "html"])
def test_an_empty_ledger(form: str, keep: Keep, capsys: pytest.CaptureFixture[str]) -> None:
    """Every format can say that there is nothing."""
    assert report(keep(()), "--format", form) == 0
    printed = capsys.readouterr().out
    assert {"table": "No calls", "json": '"calls": 0', "csv": "lane,", "html": "No calls"}[
        form
    ] in printed


def test_what_is_not_in_the_sums(keep: Keep, capsys: pytest.CaptureFixture[str]) -> None:
    """Calls without a price or with an estimate, and possibly billed attempts, are mentioned."""
    stalled = record_of(
        a_report(Attempt("flex", "timeout", 900.0), Attempt("flex", "served", 1.0), id="stalled")
    )
    report(keep([unpriced(id="one"), unpriced(id="two"), estimated(), stalled]))

    printed = capsys.readouterr().out
    assert "2 calls without a known price" in printed
    assert "1 call priced by an estimate: a rule (1)." in printed
    assert "1 attempt without an answer may have been billed: at most $" in printed


def test_many_reasons_of_estimates(keep: Keep, capsys: pytest.CaptureFixture[str]) -> None:
    """The three most frequent are named, the others counted."""
    rules = [f"rule {number}" for number in range(5) for _ in range(9 - number)]
    made = [replace(call(), cost=replace(estimated().cost, reason=rule)) for rule in rules]
    report(keep(made))
    expected = ": rule 0 (9); rule 1 (8); rule 2 (7); other reasons (11)."
    assert f"35 calls priced by an estimate{expected}" in capsys.readouterr().out


def test_groups_without_a_price(keep: Keep, capsys: pytest.CaptureFixture[str]) -> None:
    """They are ``unpriced`` in tables and in CSV, where 0 would be a price."""
    stalled = replace(call(answered=False, usage=None), attempts=(Attempt("flex", "timeout", 9.0),))
    file = keep([unpriced(id="one"), unpriced(id="two"), replace(stalled, model="o1"), call()])

    report(file, "--by", "model")
    rows = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line}
    assert rows["house-model"].split()[-3:] == ["unpriced"] * 3
    assert "(2 unpriced)" in rows["all"]

    report(file, "--by", "model", "--format", "csv")
    lines = {row["model"]: row for row in csv.DictReader(io.StringIO(capsys.readouterr().out))}
    unknown = {lines["house-model"][name] for name in ("cost", "standard_cost", "saved")}
    assert unknown == {"unpriced"}
    assert (lines["o1"]["failed_calls"], lines["o1"]["possibly_billed"]) == ("1", "unknown")
    assert lines["o3"]["possibly_billed"] == "0"


def test_a_killed_process_is_named(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What a process had not written when it was killed is missing, and the report says so."""
    code = (
        "import os, signal, sys\n"
        "from flextier.ledger import Ledger\n"
        "from tests.ledger.calls import call\n"
        "ledger = Ledger(sys.argv[1], flush_every=60)\n"
        "ledger.add(call()); ledger.flush(); ledger.add(call())\n"
        "print(os.getpid(), flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(file)],
        capture_output=True,
        text=True,
        check=False,
        env=environment(),
    )
    assert report(file) == 0

    printed = capsys.readouterr().out
    assert f"Process {done.stdout.strip()} on " in printed
    assert "ended without closing the ledger" in printed
    assert next(line for line in printed.splitlines() if line.startswith("all")).split()[1] == "1"


def test_a_running_process_is_named(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A running process is mentioned: its ledger may grow."""
    with Ledger(file) as ledger:
        ledger.add(call())
        ledger.flush()
        report(file)
    assert f"Process {os.getpid()} on " in (printed := capsys.readouterr().out)
    assert "still writing" in printed


def test_names_that_would_command_a_program(keep: Keep, capsys: pytest.CaptureFixture[str]) -> None:
    """A terminal sees escapes, a spreadsheet no formula; JSON has the name as it is."""
    file = keep([call(model="=1+1"), call(model="\x1b[2J")])
    report(file, "--by", "model")
    assert "\x1b" not in capsys.readouterr().out
    report(file, "--by", "model", "--format", "csv")
    assert "\n'=1+1," in capsys.readouterr().out
    report(file, "--format", "json")
    assert set(json.loads(capsys.readouterr().out)["by_model"]) == {"=1+1", "\x1b[2J"}


def test_a_carriage_return_in_a_tag(keep: Keep, tmp_path: Path) -> None:
    """It begins no row of a CSV file, whose first cell would be a formula."""
    rows = keep([call(tags=("a\r=2+2",)), call(tags=("\r=3+3",))])
    output = tmp_path / "tags.csv"
    report(rows, "--by", "tag", "--format", "csv", "--output", str(output))
    content = output.read_bytes()
    assert b"\r" not in content
    assert b"\na\\r=2+2," in content
    assert b"\n'\\r=3+3," in content


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--since", "yesterday"], ["--since 'yesterday'", "7d"]),
        (["--until", "2026-13-01"], ["--until '2026-13-01'"]),
        (["--since", "999999w"], ["--since 999999w"]),
        (["--since", "2026-11-02", "--until", "2026-11-01"], ["--since", "--until"]),
        (["--tz", "Middle/Earth"], ["--tz 'Middle/Earth'", "Europe/Vienna"]),
        (["--tz", "../etc"], ["--tz"]),
        (["--ledger", "mysql://host/db"], ["--ledger", "sqlite", "postgresql"]),
        (["--output", "no/such/folder/report.txt"], ["--output", "No such file"]),
    ],
)
def test_bad_options(
    options: list[str], words: list[str], keep: Keep, capsys: pytest.CaptureFixture[str]
) -> None:
    """Status 2, and a line that names the option and what it takes."""
    assert main(["report", "--ledger", str(keep([call()])), *options]) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("flextier report: ")
    assert all(word in printed for word in words)


def _foreign(file: Path) -> None:
    connection = sqlite3.connect(file)
    connection.execute("CREATE TABLE songs (name TEXT)")
    connection.close()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda file: None, "does not exist"),
        (lambda file: file.write_bytes(b"not a database, " * 100), "not a SQLite database"),
        (lambda file: file.touch(), "empty"),
        (lambda file: file.mkdir(), "cannot be"),
        (_foreign, "another program, with the tables songs"),
    ],
)
def test_a_file_that_is_no_ledger(
    make: Callable[[Path], object], words: str, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is named, what is wrong with it is said, and nothing is written."""
    make(file)
    before = file.read_bytes() if file.is_file() else None

    assert report(file) == 2

    printed = capsys.readouterr().err
    assert "--ledger" in printed
    assert str(file) in printed
    assert words in printed
    assert (file.read_bytes() if file.is_file() else None) == before


def test_a_truncated_ledger(keep: Keep, capsys: pytest.CaptureFixture[str]) -> None:
    """A damaged file ends with one line, not with a traceback."""
    file = keep(fortnight())
    content = file.read_bytes()
    file.write_bytes(content[:8_192] + b"\0" * 4_096)
    assert report(file) == 2
    assert str(file) in capsys.readouterr().err


def test_help_needs_no_extra() -> None:
    """`flextier --help` loads neither a database library nor a plotting one."""
    code = (
        "import sys; from flextier.cli import main\n"
        "try: main(['report', '--help'])\n"
        "except SystemExit: pass\n"
        "assert not {'sqlalchemy', 'altair', 'jinja2', 'vl_convert'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.parametrize(
    ("missing", "form", "extra"),
    [
        ("sqlalchemy", "table", "ledger"),
        ("altair", "html", "report"),
        ("vl_convert", "html", "report"),
    ],
)
def test_it_names_the_extra_it_lacks(missing: str, form: str, extra: str, keep: Keep) -> None:
    """Without an optional dependency the command ends with the line that installs it."""
    code = (
        f"import sys; sys.modules[{missing!r}] = None\n"
        "from flextier.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    arguments = ["report", "--ledger", str(keep([call()])), "--format", form]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert f"flextier[{extra}]" in done.stderr


def test_hostile_names_in_a_table(keep: Keep, capsys: pytest.CaptureFixture[str]) -> None:
    """Markup is no danger to a terminal: it is shown as it is."""
    report(keep([call(model=HOSTILE)]), "--by", "model")
    assert HOSTILE[:20] in capsys.readouterr().out


def test_a_terminal_without_the_signs(keep: Keep) -> None:
    """What its encoding cannot show is written as an escape, and ends nothing."""
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; from flextier.cli import main; sys.exit(main(sys.argv[1:]))",
            *("report", "--since", "all", "--ledger", str(keep([call(model="mod\u00e8le")]))),
        ],
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"},
    )
    assert done.returncode == 0
    assert rb"mod\xe8le" in done.stdout


def test_many_tags_do_not_make_a_long_table(keep: Keep, capsys: pytest.CaptureFixture[str]) -> None:
    """The fifty dearest are shown; CSV has all."""
    file = keep(call(tags=(f"run-{number}",)) for number in range(60))
    report(file, "--by", "tag")
    assert "and 10 more" in capsys.readouterr().out
    report(file, "--by", "tag", "--format", "csv")
    assert len(capsys.readouterr().out.splitlines()) == 61
