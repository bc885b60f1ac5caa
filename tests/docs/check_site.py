"""Check the built documentation site: ``check_site.py site`` prints what is wrong with it.

`zensical build --strict` checks links between pages. This checks the rest in the HTML: every link,
image, script and anchor leads to a file of the site, every page is linked, and nothing is loaded
from elsewhere.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

_LOADED = {"script", "img", "iframe", "source", "video", "audio"}
"""Elements that load what they refer to; a link does with some values of ``rel``."""


class Page(HTMLParser):
    """What a page refers to, and the places in it that can be referred to."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors = {""}
        self.links: set[str] = set()
        self.loaded: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep what is referred to, and by which kind of element."""
        values = dict(attrs)
        self.anchors |= {value for name in ("id", "name") if (value := values.get(name))}
        reference = values.get("href") or values.get("src")
        if reference is None:
            return
        is_loaded = tag in _LOADED or (
            tag == "link" and values.get("rel") in ("stylesheet", "icon")
        )
        (self.loaded if is_loaded else self.links).add(reference)


def wrong(site: Path) -> Iterator[str]:
    """One line for each reference that leads nowhere, or loads something from elsewhere."""
    pages = {path: Page(path) for path in sorted(site.rglob("*.html")) if path.name != "404.html"}
    linked: set[Path] = set()
    for path, page in pages.items():
        name = path.relative_to(site)
        for reference in sorted(page.links | page.loaded):
            if urlsplit(reference).scheme or reference.startswith("//"):
                if reference in page.loaded and not reference.startswith("data:"):
                    yield f"{name}: is loaded from elsewhere: {reference}"
                continue
            file, anchor = urldefrag(reference)
            target = (path.parent / unquote(file)).resolve() if file else path
            if not (target.is_file() and target.is_relative_to(site)):
                yield f"{name}: no such file: {reference}"
            elif target in pages and unquote(anchor) not in pages[target].anchors:
                yield f"{name}: no such place: {reference}"
            linked |= {target} if target != path else set()
    yield from (f"{path.relative_to(site)}: no link leads here" for path in pages.keys() - linked)


if __name__ == "__main__":
    found = list(wrong(Path(sys.argv[1]).resolve()))
    sys.stdout.write("".join(f"{line}\n" for line in found))
    sys.exit(bool(found))
