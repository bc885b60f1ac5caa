"""Check types as users do, with mypy --strict and basedpyright, in the programs that we show.

The programs are the examples, the python blocks of the README and of docs/ (those that define every
name they use; the blocks of a tutorial or how-to guide are one program), and ``programs/``: typical
code, right and misspelt. Both checkers have to report an error in each line that ends with
``# error``, and in no other.
"""

from __future__ import annotations

import ast
import builtins
import json
import os
import re
import subprocess
import symtable
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
_BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
_EXPECTED = re.compile(r"# error$")

# Strict, but for what frameworks leave without types themselves.
BASEDPYRIGHT = {
    "typeCheckingMode": "strict",
    "reportDeprecated": False,
    "reportMissingTypeStubs": False,
    "reportUnknownArgumentType": False,
    "reportUnknownLambdaType": False,
    "reportUnknownMemberType": False,
    "reportUnknownVariableType": False,
    "reportUntypedFunctionDecorator": False,
}
MYPY = """\
[mypy]
strict = true
disallow_untyped_decorators = false
[mypy-flextier.*]
follow_imports = silent
[mypy-celery.*,llama_index.embeddings.*,ray.*,vcr.*]
ignore_missing_imports = true
"""

ELSEWHERE = ("ray",)
"""Packages that programs use and that are not installed where types are checked."""

Errors = Mapping[tuple[str, int], list[str]]
"""Messages of a checker by file and line."""


def main() -> int:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        shown = dict(_blocks(folder))
        programs = [*shown, *_python_files("examples"), *_python_files("tests/typing/programs")]
        expected = {(str(path), line) for path in programs for line in _expected(path)}
        wrong = [
            *_wrong("mypy", _mypy(folder, programs), expected),
            *_wrong("basedpyright", _basedpyright(folder, programs), expected),
        ]
        lines = [_readable(line, shown) for line in wrong]
    found = f"{len(programs)} programs, {len(expected)} expected errors, {len(lines)} differences"
    sys.stdout.write("\n".join([*lines, found, ""]))
    return 1 if wrong else 0


def _python_files(folder: str) -> list[Path]:
    return sorted((ROOT / folder).glob("*.py"))


def _blocks(folder: Path) -> Iterator[tuple[Path, str]]:
    """Each program as a file, whose lines have the numbers that they have in its page."""
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))):
        for line, source in _programs(page):
            undefined = _undefined(source)
            if undefined and page.name == "README.md":
                raise SystemExit(f"README.md:{line}: no program: {', '.join(undefined)}")
            if not undefined:
                path = folder / f"{page.stem}_{line}.py"
                path.write_text(source, encoding="utf-8")
                yield path, str(page.relative_to(ROOT))


def _programs(page: Path) -> Iterator[tuple[int, str]]:
    """Each block, and the line before it; those of a tutorial or how-to guide together."""
    text = page.read_text(encoding="utf-8")
    whole = ""
    for block in _BLOCK.finditer(text):
        line = text.count("\n", 0, block.start(1))
        if page.parent.name in ("tutorials", "how-to"):
            whole += "\n" * (line - whole.count("\n")) + block[1]
        else:
            yield line, "\n" * line + block[1]
    if whole:
        yield 0, whole


def _undefined(source: str) -> list[str]:
    """The names that a block uses and does not define; "await" if it is at top level."""
    try:
        compile(source, "block", "exec")
    except SyntaxError as error:
        return [error.msg]
    module = symtable.symtable(source, "block", "exec")
    known = {*dir(builtins), "__name__", "__file__"}
    known |= {
        one.get_name() for one in module.get_symbols() if one.is_assigned() or one.is_imported()
    }
    return sorted(
        {node.id for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name)}
        - known
        - set(_local_names(module))
    )


def _local_names(table: symtable.SymbolTable) -> Iterator[str]:
    for child in table.get_children():
        yield from (one.get_name() for one in child.get_symbols() if one.is_local())
        yield from _local_names(child)


def _expected(path: Path) -> Iterator[int]:
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if _EXPECTED.search(line):
            yield number


def _wrong(checker: str, found: Errors, expected: set[tuple[str, int]]) -> Iterator[str]:
    for (path, line), messages in sorted(found.items()):
        if (path, line) not in expected:
            yield from (f"{path}:{line}: {checker}: {message}" for message in messages)
    for path, line in sorted(expected - found.keys()):
        yield f"{path}:{line}: {checker}: no error, but one is expected"


def _readable(line: str, shown: Mapping[Path, str]) -> str:
    for path, page in shown.items():
        line = line.replace(str(path), page)
    return line.replace(f"{ROOT}{os.sep}", "")


def _mypy(folder: Path, programs: list[Path]) -> Errors:
    config = folder / "mypy.ini"
    config.write_text(MYPY, encoding="utf-8")
    cache = ROOT / ".mypy_cache" / "users"
    options = ["--config-file", str(config), "--cache-dir", str(cache), "--output", "json"]
    output = _run("mypy", [*options, *map(str, programs)])
    found: dict[tuple[str, int], list[str]] = defaultdict(list)
    for line in output.splitlines():
        if not line.startswith("{"):
            raise SystemExit(f"mypy: {line}")
        error = json.loads(line)
        if error["severity"] == "error":
            path = str((ROOT / error["file"]).resolve())
            found[path, error["line"]].append(f"{error['message']} [{error['code']}]")
    return found


def _basedpyright(folder: Path, programs: list[Path]) -> Errors:
    config = folder / "pyrightconfig.json"
    include = [str(path) for path in programs]
    settings = {**BASEDPYRIGHT, "extraPaths": [str(ROOT / "src")], "include": include}
    config.write_text(json.dumps(settings), encoding="utf-8")
    options = ["--outputjson", "--pythonpath", sys.executable, "--project", str(config)]
    report = json.loads(_run("basedpyright", options))
    if report["summary"]["filesAnalyzed"] != len(programs):
        raise SystemExit(f"basedpyright: {report['summary']} of {len(programs)} programs")
    found: dict[tuple[str, int], list[str]] = defaultdict(list)
    missing = tuple(f'Import "{name}" could not be resolved' for name in ELSEWHERE)
    for error in report["generalDiagnostics"]:
        if error["message"].startswith(missing):
            continue
        line = error.get("range", {"start": {"line": -1}})["start"]["line"] + 1
        found[error["file"], line].append(f"{error['message']} [{error.get('rule')}]")
    return found


def _run(tool: str, arguments: list[str]) -> str:
    """What a tool prints. Its status is 1 if there are errors, and more if it fails."""
    path = os.pathsep.join([str(ROOT / "src"), *filter(None, [os.environ.get("MYPYPATH")])])
    done = subprocess.run(
        [sys.executable, "-m", tool, *arguments],
        cwd=ROOT,
        env={**os.environ, "MYPYPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode not in (0, 1):
        raise SystemExit(f"{tool} failed: {done.stdout}{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
