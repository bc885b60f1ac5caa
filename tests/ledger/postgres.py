"""A PostgreSQL server of the tests' own: started for them, in a directory that goes with it."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_STARTS_WITHIN = 60.0


def binaries() -> Path | None:
    """The directory of the server's programs; None: it is not installed."""
    places = [Path(found).resolve().parent for found in (shutil.which("initdb"),) if found]
    config = shutil.which("pg_config")
    if config is not None:
        output = subprocess.run([config, "--bindir"], capture_output=True, text=True, check=False)
        places.append(Path(output.stdout.strip()))
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    whole = (place for place in places if _is_whole(place))
    return next(whole, None)


def _is_whole(place: Path) -> bool:
    return (place / "initdb").exists() and (place / "postgres").exists()


@contextmanager
def server(programs: Path) -> Iterator[Path]:
    """Run a server that listens on a socket alone; yields the socket's directory."""
    home = Path(tempfile.mkdtemp(prefix="pg"))  # a short path: sockets have to fit in 107 bytes
    user = _user()
    if user:
        os.chown(home, pwd.getpwnam(user["user"]).pw_uid, -1)
    data = home / "data"
    begin = [str(programs / "initdb"), "-D", str(data), "-U", "tester", "-A", "trust", "-E", "UTF8"]
    serve = [str(programs / "postgres"), "-D", str(data), "-k", str(home), "-c", "fsync=off"]
    try:
        subprocess.run([*begin, "--no-sync"], cwd=home, check=True, capture_output=True, **user)
        with (
            (home / "log").open("wb") as log,
            subprocess.Popen(
                [*serve, "-c", "listen_addresses="], cwd=home, stdout=log, stderr=log, **user
            ) as running,
        ):
            _wait(running, home)
            try:
                yield home
            finally:
                running.send_signal(signal.SIGINT)  # at once, without waiting for connections
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _user() -> dict[str, Any]:
    """Who runs it: the server refuses to be root's."""
    if os.geteuid() != 0:
        return {}
    known = {entry.pw_name for entry in pwd.getpwall()}
    user = next(name for name in ("postgres", "nobody") if name in known)  # codespell:ignore nobody
    return {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []}


def _wait(running: subprocess.Popen[Any], home: Path) -> None:
    until = time.monotonic() + _STARTS_WITHIN
    while not _answers(home):
        if running.poll() is not None or time.monotonic() > until:
            raise RuntimeError((home / "log").read_text())
        time.sleep(0.1)


def _answers(home: Path) -> bool:
    import psycopg

    try:
        psycopg.connect(host=str(home), user="tester", dbname="postgres").close()
    except psycopg.OperationalError:
        return False
    return True
