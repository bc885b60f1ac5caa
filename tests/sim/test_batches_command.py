"""The options of ``flextier sim`` that batches and background responses have."""

from __future__ import annotations

import subprocess
import sys

import pytest

from .callers import eventually, raw

RUN = (
    "import sys; from flextier.cli import main; "
    "sys.exit(main(['sim', '--port', '0', *sys.argv[1:]]))"
)


def test_the_command_records_paid_lines_and_runs_fast() -> None:
    """``--record-paid`` and ``--speed`` reach the simulator, and so does a batch's weather."""
    options = ["--record-paid", "--speed", "3600", "--weather", "batch=60,batch_max_bytes=10"]
    command = [sys.executable, "-c", RUN, *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().split()[-1].removesuffix("/v1")
        try:
            assert raw(url, "GET", "/sim/paid").json()["lines"] == 0
            kind = {"content-type": "multipart/form-data; boundary=B"}
            assert raw(url, "POST", "/v1/files", b"x" * 100_000, **kind).status == 413
        finally:
            process.terminate()
    assert process.returncode == 0


def test_the_command_knows_background_responses() -> None:
    """Their weather and their speed reach the simulator, and so do outcomes over HTTP."""
    options = [
        "--token",
        "t",
        "--speed",
        "3600",
        "--weather",
        "background_8h=3600,background_windows=o3",
    ]
    command = [sys.executable, "-c", RUN, *options]
    asked = {
        "model": "o3",
        "input": "?",
        "background": True,
        "background_options": {"completion_window": "8h"},
    }
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().split()[-1].removesuffix("/v1")
        try:
            outcomes = {"outcomes": [{"outcome": "fail"}]}
            assert raw(
                url, "POST", "/sim/background", outcomes, **{"x-flextier-token": "t"}
            ).json() == {"waiting": 1}
            name = raw(url, "POST", "/v1/responses", asked).json()["id"]
            path = f"/v1/responses/{name}"
            assert raw(url, "GET", path).json()["status"] == "in_progress"
            assert eventually(lambda: raw(url, "GET", path).json()["status"] == "failed")
        finally:
            process.terminate()
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("options", "problem"),
    [(["--speed", "0"], "speed must be above 0"), (["--weather", "batch=x"], "batch=x cannot be")],
)
def test_mistakes_in_the_options_are_explained(options: list[str], problem: str) -> None:
    """An option that cannot be ends the command with status 2."""
    command = [sys.executable, "-c", RUN, *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, problem in done.stderr) == (2, True)
