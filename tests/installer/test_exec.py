"""flextier exec, and the children of a process that has called install(): in processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from flextier import install
from flextier.cli import exec as exec_command
from flextier.cli import main
from flextier.costs import Ledger
from flextier.installer.children import STARTUP
from flextier.sim import Simulator

FLEXTIER = (sys.executable, "-c", "import sys; from flextier.cli import main; sys.exit(main())")

ASK = """
from openai import OpenAI
print(OpenAI().responses.create(model="o4-mini", input="Name a colour.").service_tier)
"""
# Asks in itself, in a child that is started by name, and in one of multiprocessing.
FAMILY = """
import multiprocessing, subprocess, sys

def ask():
    from openai import OpenAI
    return OpenAI().responses.create(model="o4-mini", input="Name a colour.").service_tier

if __name__ == "__main__":
    lanes = [ask()]
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        lanes.append(pool.apply(ask))
        pool.close()
        pool.join()  # so that it ends by itself, and its ledger is complete
    command = [sys.executable, "-c", "import family; print(family.ask())"]
    lanes += subprocess.run(command, capture_output=True, text=True).stdout.split()
    print(*lanes)
"""


def executed(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`flextier exec` with these arguments."""
    path = [environment.pop("PYTHONPATH", ""), *sys.path]
    return subprocess.run(
        [*FLEXTIER, "exec", *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, path)), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def python(code: str, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A program of Python under it."""
    return executed(*options, "--", sys.executable, "-c", code, **environment)


# --- clients ------------------------------------------------------------------------------------


def test_a_program_and_its_children(sim: Simulator, tmp_path: Path) -> None:
    """All of them are on flex, under the policy of the options, and in the ledger."""
    (tmp_path / "family.py").write_text(FAMILY)
    ledger = tmp_path / "calls.db"
    command = ("--", sys.executable, str(tmp_path / "family.py"))
    options = ("--deadline", "10m", "--ledger", str(ledger))
    done = executed(*options, *command, PYTHONPATH=str(tmp_path))
    assert (done.stdout.split(), done.stderr) == (["flex"] * 3, "")
    with Ledger(str(ledger), readonly=True) as book:
        assert book.totals().by_lane["flex"].calls == 3


def test_the_children_of_a_process(sim: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are covered while install() is in force, unless it leaves them out."""
    monkeypatch.setenv("PYTHONPATH", path := os.pathsep.join(["", *sys.path]))
    install()
    done = subprocess.run([sys.executable, "-c", ASK], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "flex"
    assert os.environ["PYTHONPATH"] == f"{STARTUP}{os.pathsep}{path}"
    install(children=False)
    assert os.environ["PYTHONPATH"] == path


def test_a_program_without_the_sdk(sim: Simulator, tmp_path: Path) -> None:
    """Nothing of flextier is imported; the other sitecustomize is run, and found under its name."""
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.other = __file__\n")
    code = (
        "import json, sys, sitecustomize\n"
        "found = [name for name in sys.modules if name.startswith(('flextier', 'openai'))]\n"
        "startup = [path for path in sys.path if path.endswith('startup')]\n"
        "print(json.dumps([found, startup, sys.other, sitecustomize.__file__]))"
    )
    done = python(code, PYTHONPATH=str(tmp_path))
    other = str(tmp_path / "sitecustomize.py")
    assert json.loads(done.stdout) == [[], [], other, other]


@pytest.mark.parametrize(
    ("other", "program", "printed", "said"),
    [
        ("import openai", ASK, "flex", ""),  # before the program does
        ("import nothing", "print(1)", "1", "Error in sitecustomize"),  # as without flextier
        (
            "import os, sys\n"
            "if 'startup' in os.environ['PYTHONPATH']: sys.modules['flextier'] = None",
            "import openai; print(hasattr(openai.OpenAI.__init__, '__wrapped__'))",
            "False",
            "stay as they are, as flextier cannot be imported",
        ),
    ],
    ids=["imports openai", "fails", "no flextier"],
)
def test_another_sitecustomize(
    other: str, program: str, printed: str, said: str, sim: Simulator, tmp_path: Path
) -> None:
    """It may import the SDK, fail, or be of an environment without flextier."""
    (tmp_path / "sitecustomize.py").write_text(other)
    done = python(program, PYTHONPATH=str(tmp_path))
    assert done.stdout.strip() == printed
    assert said in done.stderr
    assert bool(said) == bool(done.stderr)


def test_a_gateway(monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs get its base URL and its token, and the SDK's clients stay as they are."""
    for name in ("FLEXTIER_GATEWAY", "OPENAI_API_KEY", "OPENAI_BASE_URL", "PYTHONPATH"):
        monkeypatch.setenv(name, STARTUP)
    monkeypatch.setenv("FLEXTIER_GATEWAY_TOKEN", "of-the-gateway")
    done: list[str] = []
    monkeypatch.setattr(exec_command, "_run_instead", lambda program: done.extend(program) or 0)
    assert main(["exec", "--gateway", "http://host:8484", "node", "app.js"]) == 0
    assert done == ["node", "app.js"]
    assert os.environ["OPENAI_BASE_URL"] == "http://host:8484/v1"
    assert os.environ["OPENAI_API_KEY"] == "of-the-gateway"
    assert os.environ["FLEXTIER_GATEWAY"] == "http://host:8484"
    assert "PYTHONPATH" not in os.environ


# --- processes ----------------------------------------------------------------------------------


def test_the_exit_status(capfd: pytest.CaptureFixture[str]) -> None:
    """That of the command, whose arguments are handed on as they are."""
    command = ["sh", "-c", 'echo "$@"; exit 7', "sh", "--", "--lanes", "x y"]
    done = executed("--", *command)
    assert (done.returncode, done.stdout) == (7, "-- --lanes x y\n")
    assert exec_command._run_beside(command) == 7  # as on Windows
    assert capfd.readouterr().out == "-- --lanes x y\n"


@pytest.mark.skipif(os.name == "nt", reason="there are no such signals")
def test_signals() -> None:
    """They reach the command, which has the process's id; those that Python ignores are reset."""
    code = (
        "import os, signal, sys\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(9))\n"
        "print(os.getpid(), flush=True)\n"
        "signal.pause()"
    )
    command = [*FLEXTIER, "exec", "--", sys.executable, "-c", code]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        assert int(process.stdout.readline()) == process.pid
        process.send_signal(signal.SIGTERM)
    assert process.returncode == 9
    ended = executed("--", "sh", "-c", "kill -PIPE $$")
    assert ended.returncode == -signal.SIGPIPE


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        ([], 2, "no command is given"),
        (["--deadline", "5m"], 2, "no command is given"),
        (["--lanes", "fast", "--", "true"], 2, "FLEXTIER_LANES='fast'"),
        (["--gateway", "host:8484", "--", "true"], 2, "must be an address such as"),
        (["--gateway", "http://h:1", "--lanes", "flex", "true"], 2, "--lanes has no effect"),
        (["--", "no-such-command"], 127, "no-such-command: no such command"),
        (["--", os.curdir], 126, "Permission denied"),
    ],
)
def test_errors(
    arguments: list[str],
    status: int,
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One line, and the status that shells give it."""
    handlers = [(number, signal.getsignal(number)) for number in (signal.SIGPIPE, signal.SIGXFSZ)]
    for name in ("FLEXTIER_LANES", "FLEXTIER_DEADLINE", "OPENAI_BASE_URL", "PYTHONPATH"):
        monkeypatch.setenv(name, "")  # put back after the test
    try:
        assert main(["exec", *arguments]) == status
    finally:
        for number, handler in handlers:
            signal.signal(number, handler)
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("address", "base_url"),
    [
        ("http://host:8484", "http://host:8484/v1"),
        ("http://host:8484/", "http://host:8484/v1"),
        ("https://host/azure/v1", "https://host/azure/v1"),
    ],
)
def test_the_base_url_of_a_gateway(address: str, base_url: str) -> None:
    """Its address alone is that of its first upstream."""
    assert exec_command._base_url(address) == base_url
