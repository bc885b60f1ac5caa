"""The edges of the package: the command, the plugin, what is imported when."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import flextier.sim

from .callers import Chat, raw

RUN = "import argparse, sys; from flextier.cli import sim as cli; "
RUN += "parser = argparse.ArgumentParser(); cli.add_arguments(parser); "
RUN += "sys.exit(cli.run(parser.parse_args()))"


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    """A fresh interpreter."""
    command = [sys.executable, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@contextmanager
def killed(process: subprocess.Popen[str]) -> Iterator[None]:
    """Let no failed test wait for the process."""
    try:
        yield
    finally:
        process.kill()


def test_a_port_in_use() -> None:
    """The error names the port, and the option."""
    with flextier.sim.Simulator() as simulator:
        port = int(simulator.url.rpartition(":")[2])
        named = rf"port {port} of 127\.0\.0\.1 cannot be used.*\(--port\)"
        with pytest.raises(OSError, match=named):
            flextier.sim.Simulator(port=port).start()
        ended = python("-c", RUN, "--port", str(port))
    assert ended.returncode == 2
    assert re.fullmatch(f"flextier sim: {named}.*\n", ended.stderr)
    with pytest.raises(OSError, match="port 65536"):
        flextier.sim.Simulator(port=65536).start()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_command_serves_until_it_is_stopped(number: signal.Signals) -> None:
    """The command prints its address and how to use it, serves there, and ends with status 0."""
    options = ["--port", "0", "--weather", "slots=0", "--seed", "3"]
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process, killed(process):
        assert process.stdout is not None
        assert process.stderr is not None
        lines = [process.stdout.readline() for _ in range(6)]
        (base_url,) = re.findall(r"OPENAI_BASE_URL=(\S+)", "".join(lines))
        assert re.findall(r"OPENAI_API_BASE=(\S+)", "".join(lines)) == [base_url]
        assert "OPENAI_API_KEY=" in lines[-1]
        url = base_url.removesuffix("/v1")
        refused = raw(url, "POST", Chat.path, Chat(url).body({"service_tier": "flex"}))
        process.send_signal(number)
        assert process.wait() == 0
        assert process.stderr.read() == ""
    assert refused.status == 429


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--weather", "refuse=2"], "refuse must be a probability"),
        (["--weather-file", "no/such/file.json"], "No such file"),
        (["--latency", "-1"], "latency must be"),
    ],
)
def test_command_explains_bad_options(options: list[str], problem: str) -> None:
    """Options that cannot be end with status 2 and one line about why."""
    ended = python("-c", RUN, "--port", "0", *options)
    assert ended.returncode == 2
    assert problem in ended.stderr
    assert "Traceback" not in ended.stderr


def test_weather_file_is_read(tmp_path: Path) -> None:
    """A mistake in a weather file is found, so the file was read."""
    path = tmp_path / "weather.json"
    path.write_text('{"slots": -1}')
    ended = python("-c", RUN, "--port", "0", "--weather-file", str(path))
    assert "slots must be 0 or more" in ended.stderr


def test_missing_libraries_are_named_with_their_extra() -> None:
    """Without the extra's libraries the simulator says how to install them."""
    code = "import sys; sys.modules['uvicorn'] = None; from flextier.sim import Simulator"
    ended = python("-c", code)
    assert 'ImportError: the simulator needs: pip install "flextier[sim]"' in ended.stderr


def test_weather_and_faults_need_no_extra() -> None:
    """Weather, faults and the command's options import nothing but the standard library."""
    code = (
        "import sys; sys.modules['starlette'] = sys.modules['uvicorn'] = None; "
        "import flextier.cli.sim; "
        "from flextier.sim import Fault, Weather; Weather(); Fault.refuse()"
    )
    assert python("-c", code).stderr == ""


def test_plugin_loads_no_server() -> None:
    """Loading the pytest plugin imports no web server."""
    code = (
        "import sys, flextier.sim.pytest_plugin; "
        "print([name for name in ('uvicorn', 'starlette') if name in sys.modules])"
    )
    assert python("-c", code).stdout.strip() == "[]"


def test_plugin_gives_every_test_a_fresh_simulator(tmp_path: Path) -> None:
    """The installed plugin's fixture: tests share a server and see nothing of each other."""
    (tmp_path / "test_it.py").write_text(
        "from flextier.sim import Fault, Weather\n"
        "def test_one(flextier_sim):\n"
        "    flextier_sim.weather = Weather(slots=0)\n"
        "    flextier_sim.script(Fault.quota())\n"
        "def test_two(flextier_sim):\n"
        "    assert flextier_sim.weather == Weather()\n"
        "    assert flextier_sim.requests == []\n"
        "    assert len(flextier_sim.url) > 16\n"
    )
    options = ["-q", "-p", "no:cacheprovider", "-p", "no:asyncio"]
    ended = python("-m", "pytest", *options, "--rootdir", str(tmp_path), str(tmp_path))
    assert "2 passed" in ended.stdout, ended.stdout + ended.stderr


def test_public_names() -> None:
    """What the package exports is this list, and all of it can be imported."""
    expected = [
        "BackgroundOutcome",
        "BackgroundWeather",
        "BatchOutcome",
        "BatchWeather",
        "Fault",
        "SeenRequest",
        "Simulator",
        "Tokens",
        "Weather",
    ]
    assert flextier.sim.__all__ == dir(flextier.sim) == expected
    assert all(getattr(flextier.sim, name).__name__ == name for name in expected)
    with pytest.raises(AttributeError, match="no attribute 'Rain'"):
        _ = flextier.sim.Rain
