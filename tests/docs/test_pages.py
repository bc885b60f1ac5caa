"""The pages of the documentation: their programs run, and the navigation has each of them."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from flextier.sim import Simulator
from tests.docs.programs import PAGES, ROOT, blocks, program
from tests.examples.test_examples import run

RUN = [page for page in PAGES if blocks(page, "python")]


@pytest.mark.parametrize("page", RUN, ids=lambda page: page.stem)
@pytest.mark.sampled(4)
def test_a_page_runs(page: Path, flextier_sim: Simulator, tmp_path: Path) -> None:
    """Its blocks run in order, as cells of a notebook, and print what its text blocks show."""
    source = program(page)
    if "llama_index" in source and find_spec("llama_index") is None:
        pytest.skip("LlamaIndex is not installed: it takes openai<3")
    path = tmp_path / f"{page.stem.replace('-', '_')}.py"
    path.write_text(source, encoding="utf-8")

    printed = run(flextier_sim, path, tmp_path, folder=tmp_path)

    shown = [block for block in blocks(page, "text") if not block.startswith("…")]
    rest = printed
    for block in shown:
        before, found, rest = rest.partition(block)
        assert found, f"{block}\nis not in what follows:\n{before}"


def test_the_navigation_has_each_page_once() -> None:
    """A page that is not in it is built, and no one finds it."""
    named = re.findall(r'"([\w/-]+\.md)"', (ROOT / "zensical.toml").read_text(encoding="utf-8"))
    docs = ROOT / "docs"
    assert sorted(named) == sorted(str(page.relative_to(docs)) for page in docs.rglob("*.md"))


def test_links_to_the_repository_are_those_of_the_project() -> None:
    """One address of the repository, that of `project.urls`."""
    metadata = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    [source] = re.findall(r'^Source = "(.+)"$', metadata, re.MULTILINE)
    files = [ROOT / "README.md", ROOT / "zensical.toml", *ROOT.glob("docs/**/*.md")]
    for file in files:
        for url in re.findall(r"https://[\w.]+/[\w-]*/flextier\b", file.read_text(encoding="utf-8")):
            assert url == source, file
