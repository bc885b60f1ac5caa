"""The programs of tutorials and how-to guides: all python blocks of a page, in order."""

from __future__ import annotations

import ast
import re
import textwrap
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "docs" / "index.md",
    *sorted(ROOT.glob("docs/tutorials/*.md")),
    *sorted(ROOT.glob("docs/how-to/*.md")),
]
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)


def blocks(page: Path, language: str) -> list[str]:
    """The code of a page in one language."""
    text = page.read_text(encoding="utf-8")
    return [block[2] for block in _BLOCK.finditer(text) if block[1] == language]


def program(page: Path) -> str:
    """One program of all blocks, which see each other's names, as the cells of a notebook do.

    Blocks that await at top level, as cells may, become the body of a coroutine.
    """
    source = "\n".join(blocks(page, "python"))
    try:
        compile(source, str(page), "exec", dont_inherit=True)
    except SyntaxError:
        compile(source, str(page), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
        body = textwrap.indent(source, "    ")
        return f"import asyncio\n\nasync def cells():\n{body}\n\nasyncio.run(cells())\n"
    return source
