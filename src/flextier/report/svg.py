"""SVG as the page takes it: named for screen readers, with tips for those who point."""

from __future__ import annotations

from xml.etree import ElementTree

_SVG = "http://www.w3.org/2000/svg"
_UNUSED = ("aria-label", "aria-roledescription", "aria-hidden", "role", "class", "pointer-events")
_LABELLED = "graphics-symbol"


def inlined(svg: str, *, name: str, title: str, description: str) -> str:
    """A chart for the inside of a page.

    A screen reader meets one picture with a title and a description: the numbers are in a table
    beside it. What the drawing says about its marks becomes tips.

    Args:
        svg: as the plotting library draws it.
        name: unique on the page.
        title: what the chart is of.
        description: what it shows.
    """
    ElementTree.register_namespace("", _SVG)
    root = ElementTree.fromstring(svg)
    for element in list(root.iter()):
        _add_title(element)
    width, height = root.get("width"), root.get("height")
    root.attrib.clear()
    root.attrib.update(
        {
            "viewBox": f"0 0 {width} {height}",
            "width": f"{width}",
            "height": f"{height}",
            "role": "img",
            "aria-labelledby": f"{name}-title {name}-description",
        }
    )
    for place, (tag, text) in enumerate((("title", title), ("desc", description))):
        child = ElementTree.Element(f"{{{_SVG}}}{tag}")
        child.set("id", f"{name}-{'title' if tag == 'title' else 'description'}")
        child.text = text
        root.insert(place, child)
    return ElementTree.tostring(root, encoding="unicode")


def _add_title(element: ElementTree.Element) -> None:
    """Turn what is said about a mark into its tip."""
    label = element.get("aria-label")
    is_label = element.get("role") == _LABELLED and label
    for name in _UNUSED:
        element.attrib.pop(name, None)
    if is_label:
        tip = ElementTree.Element(f"{{{_SVG}}}title")
        tip.text = label
        element.insert(0, tip)
