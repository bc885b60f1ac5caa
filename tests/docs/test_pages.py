"""The pages of the documentation: their programs run, and the navigation has each of them."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from flextier.sim import Simulator
from tests.docs import check_site
from tests.docs.programs import PAGES, ROOT, blocks, program
from tests.examples.test_examples import run

RUN = [page for page in PAGES if blocks(page, "python")]


def saved(page: Path, folder: Path) -> Path:
    """The program of a page, as a file."""
    source = program(page)
    if "llama_index" in source and find_spec("llama_index") is None:
        pytest.skip("LlamaIndex is not installed: it takes openai<3")
    if "import ray" in source and find_spec("ray") is None:
        pytest.skip("Ray is not installed")
    path = folder / "program.py"
    path.write_text(source, encoding="utf-8")
    return path


@pytest.mark.parametrize("page", RUN, ids=lambda page: page.stem)
@pytest.mark.sampled(6)
def test_a_page_runs(page: Path, flextier_sim: Simulator, tmp_path: Path) -> None:
    """Its blocks run in order, as cells of a notebook, and print what its text blocks show."""
    path = saved(page, tmp_path)

    printed = run(flextier_sim, path, tmp_path, folder=tmp_path)

    shown = [block for block in blocks(page, "text") if not block.startswith("…")]
    rest = printed
    for block in shown:
        before, found, rest = rest.partition(block)
        assert found, f"{block}\nis not in what follows:\n{before}"


@pytest.mark.parametrize("name", ["nightly-evaluation", "nightly-ingestion", "agent-over-night"])
@pytest.mark.exhaustive
def test_a_page_started_again_pays_nothing(
    name: str, flextier_sim: Simulator, tmp_path: Path
) -> None:
    """Its journal has every response of the first run."""
    path = saved(ROOT / "docs" / "tutorials" / f"{name}.md", tmp_path)
    run(flextier_sim, path, tmp_path, folder=tmp_path)
    paid = flextier_sim.paid()["payments"]

    run(flextier_sim, path, tmp_path, folder=tmp_path)

    assert flextier_sim.paid()["payments"] == paid > 0


def test_the_navigation_has_each_page_once() -> None:
    """A page that is not in it is built, and no one finds it."""
    named = re.findall(r'"([\w/-]+\.md)"', (ROOT / "zensical.toml").read_text(encoding="utf-8"))
    docs = ROOT / "docs"
    assert sorted(named) == sorted(str(page.relative_to(docs)) for page in docs.rglob("*.md"))


def test_links_to_the_repository_lead_to_a_file() -> None:
    """One address of the repository, that of `project.urls`, and a path that there is."""
    metadata = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    [source] = re.findall(r'^Source = "(.+)"$', metadata, re.MULTILINE)
    pages = [*ROOT.glob("*.md"), ROOT / "zensical.toml", *ROOT.glob("docs/**/*.md")]
    for page in pages:
        text = page.read_text(encoding="utf-8")
        for url, path in re.findall(
            r"(https://github\.com/[\w-]+/flextier)\b(?:/(?:blob|tree)/main/([^\s)#\"]+))?", text
        ):
            assert url == source, page
            assert (ROOT / path).exists(), f"{page}: {path}"


def test_what_is_wrong_with_a_site(tmp_path: Path) -> None:
    """Links that lead nowhere, pages that no link leads to, and what is loaded from elsewhere."""
    (tmp_path / "index.html").write_text(
        '<a href="a.html#here">1</a> <a href="a.html#there">2</a> <img src="b.png">'
        '<a href="https://example.org">3</a> <script src="https://example.org/x.js"></script>'
    )
    (tmp_path / "a.html").write_text('<p id="here"><a href="../outside.py">4</a>')
    assert list(check_site.wrong(tmp_path)) == [
        "a.html: no such file: ../outside.py",
        "index.html: no such place: a.html#there",
        "index.html: no such file: b.png",
        "index.html: is loaded from elsewhere: https://example.org/x.js",
        "index.html: no link leads here",
    ]
