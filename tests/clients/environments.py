"""An environment of its own for each tool, made again when its requirements change."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".clients"


def python_environment(name: str, requirements: tuple[str, ...], extra: str = "") -> Path:
    """The folder of the programs of a virtual environment, with flextier if an extra is given."""
    folder = CACHE / name
    programs = folder / "bin"
    if not _is_made(folder, requirements):
        ours = ["--editable", f"{ROOT}[{extra}]"] if extra else []
        uv = shutil.which("uv")
        if uv:
            subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, folder], check=True)
            install = [uv, "pip", "install", "--quiet", "--python", programs / "python"]
        else:
            subprocess.run([sys.executable, "-m", "venv", folder], check=True)
            install = [programs / "python", "-m", "pip", "install", "--quiet"]
        subprocess.run([*install, *ours, *requirements], check=True)
        _mark(folder, requirements)
    return programs


def node_environment(name: str, packages: tuple[str, ...]) -> Path:
    """The folder of the programs of npm packages; the packages are in the folder above it."""
    folder = CACHE / name
    if not _is_made(folder, packages):
        folder.mkdir(parents=True)
        options = ["--prefix", folder, "--silent", "--no-audit", "--no-fund"]
        subprocess.run(["npm", "install", *options, *packages], check=True)
        _mark(folder, packages)
    return folder / "node_modules" / ".bin"


def _is_made(folder: Path, requirements: tuple[str, ...]) -> bool:
    """Whether the environment has these requirements; if not, it is removed."""
    stamp = folder / "requirements.txt"
    if stamp.exists() and stamp.read_text() == _text(requirements):
        return True
    shutil.rmtree(folder, ignore_errors=True)
    return False


def _mark(folder: Path, requirements: tuple[str, ...]) -> None:
    (folder / "requirements.txt").write_text(_text(requirements))


def _text(requirements: tuple[str, ...]) -> str:
    return "\n".join(requirements) + "\n"
