"""The API reference, ``docs/api.md``: every public import path, from the docstrings of the source.

``python -m tests.api_reference`` writes it, and a test fails where it is not up to date. The source
is read, not imported, so that the page does not depend on what is installed.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "api.md"

PACKAGES = (
    "flextier",
    "flextier.errors",
    "flextier.langchain",
    "flextier.llama_index",
    "flextier.costs",
    "flextier.ledger",
    "flextier.bulk",
    "flextier.ray",
    "flextier.batch",
    "flextier.journal",
    "flextier.auto",
    "flextier.policy",
    "flextier.client",
    "flextier.transport",
    "flextier.otel",
    "flextier.rehearsal",
    "flextier.sim",
    "flextier.sim.pytest_plugin",
    "flextier.cli",
)
"""What users import from, in the order of the page; their ``__all__`` are the public names."""

_WIDTH = 96
_HEAD = """# API reference

Every import path that is promised. Whatever is not listed here is internal and may change with any
version. Written by `make api` from the docstrings: do not edit it here.
"""

_Function = ast.FunctionDef | ast.AsyncFunctionDef
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_NOT_SHOWN = {"overload", "field_validator", "model_validator", "field_serializer"}
"""Decorators of functions that users do not call."""


@dataclass(frozen=True)
class Found:
    """Where a name is defined."""

    module: str
    name: str
    node: ast.stmt
    doc: str


# --- the source -------------------------------------------------------------------------------


@cache
def _tree(module: str) -> ast.Module:
    path = ROOT.joinpath("src", *module.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return ast.parse(path.read_text(encoding="utf-8"))


def _statements(body: list[ast.stmt]) -> Iterator[tuple[ast.stmt, str]]:
    """The statements of a module or class, those under an ``if`` included, each with the string
    that follows it."""
    for place, node in enumerate(body):
        match body[place + 1 : place + 2]:
            case [ast.Expr(ast.Constant(str() as doc))]:
                yield node, inspect.cleandoc(doc)
            case _:
                yield node, ""
        if isinstance(node, ast.If):
            yield from _statements([*node.body, *node.orelse])


def _names(node: ast.stmt) -> list[str]:
    """The names that a statement defines."""
    match node:
        case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
            return [name]
        case ast.AnnAssign(target=ast.Name(id=name)):
            return [name]
        case ast.Assign(targets=targets):
            return [target.id for target in targets if isinstance(target, ast.Name)]
    return []


def find(module: str, name: str) -> Found | None:
    """The definition of a name that can be imported from a module of flextier."""
    for node, doc in _statements(_tree(module).body):
        if name in _names(node):
            return Found(module, name, node, doc)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("flextier"):
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return find(str(node.module), alias.name)
    return None


def public_names(package: str) -> list[str]:
    """The names of ``__all__``; without one, the functions and classes that are defined there."""
    own: list[str] = []
    for node, _ in _statements(_tree(package).body):
        if _names(node) == ["__all__"]:
            names: list[str] = ast.literal_eval(node.value)  # type: ignore[attr-defined]
            return names
        if isinstance(node, (ast.ClassDef, *_FUNCTIONS)):
            own += [name for name in _names(node) if not name.startswith("_")]
    return own


# --- the words --------------------------------------------------------------------------------


def _doc(node: ast.ClassDef | _Function | ast.Module) -> str:
    return ast.get_docstring(node) or ""


def markdown(doc: str) -> str:
    """A docstring's markup as Markdown's."""
    doc = re.sub(r":\w+:`[.~]?([\w.]+)`", r"`\1`", doc)
    return doc.replace("``", "`").replace("::", ":")


def first_paragraph(doc: str) -> str:
    """The first paragraph, on one line."""
    return " ".join(markdown(doc).partition("\n\n")[0].split())


def _section(doc: str, title: str) -> dict[str, str]:
    """The entries of a section such as ``Args:``, by name."""
    found = re.search(rf"^(?:{title}):\n((?:[ ]{{4}}.*\n?|\n)+)", doc, re.MULTILINE)
    entries: dict[str, str] = {}
    if found is not None:
        for entry in re.split(r"\n(?=\S)", inspect.cleandoc(found[1])):
            name, _, text = entry.partition(":")
            entries[name.partition(" = ")[0]] = first_paragraph(text)
    return entries


# --- signatures -------------------------------------------------------------------------------


def _signature(found: Found, name: str, node: _Function, *, bound: bool = False) -> str:
    """The signature as it is written, on one line; ``bound``: without ``self`` or ``cls``."""
    given = node.args
    positional = [*given.posonlyargs, *given.args]
    defaults = [None] * (len(positional) - len(given.defaults)) + list(given.defaults)
    written = list(map(_parameter, positional, defaults))[bound:]
    if given.vararg is not None:
        written.append(f"*{_parameter(given.vararg)}")
    elif given.kwonlyargs:
        written.append("*")
    written += map(_parameter, given.kwonlyargs, given.kw_defaults)
    if given.kwarg is not None:
        is_internal = (typed := _typed_arguments(found, node)) and typed not in _public()
        written.append(f"**{given.kwarg.arg if is_internal else _parameter(given.kwarg)}")
    returns = f" -> {_type(node.returns)}" if node.returns and node.name != "__init__" else ""
    if "contextmanager" in _decorators(node):
        returns = returns.replace("Iterator", "AbstractContextManager")
    is_async = "async " if isinstance(node, ast.AsyncFunctionDef) else ""
    line = f"{is_async}{name}({', '.join(written)}){returns}"
    if len(line) <= _WIDTH or bound:
        return line
    lines = "".join(f"    {parameter},\n" for parameter in written)
    return f"{is_async}{name}(\n{lines}){returns}"


def _parameter(arg: ast.arg, default: ast.expr | None = None) -> str:
    text = arg.arg if arg.annotation is None else f"{arg.arg}: {_type(arg.annotation)}"
    return text + _default(default, " = " if arg.annotation else "=")


def _type(annotation: ast.expr) -> str:
    match annotation:
        case ast.Subscript(value=ast.Name(id="Annotated"), slice=ast.Tuple(elts=[kind, *_])):
            return _type(kind)
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return f"{_type(left)} | {_type(right)}"
        case ast.Subscript(value=ast.Name(id="Unpack"), slice=kind):
            return _type(kind)
    return ast.unparse(annotation).replace("'", '"')


def _default(value: ast.expr | None, equals: str = " = ") -> str:
    """A default as it is written; nothing where it is made again each time, or internal."""
    match value:
        case ast.Call(func=ast.Name(id="Field" | "field"), keywords=keywords):
            value = next((x.value for x in keywords if x.arg == "default"), None)
        case ast.Name(id=name) if name.startswith("_"):
            return f"{equals}..."
    return "" if value is None else equals + ast.unparse(value).replace("'", '"')


def _typed_arguments(found: Found, node: _Function) -> Found | None:
    """The type of ``**arguments: Unpack[...]``; None: there is none."""
    match node.args.kwarg:
        case ast.arg(annotation=ast.Subscript(value=ast.Name(id="Unpack"), slice=kind)):
            return find(found.module, ast.unparse(kind))
    return None


# --- the page ---------------------------------------------------------------------------------


def _entry(found: Found) -> Iterator[str]:
    """The text of a name."""
    node = found.node
    match node:
        case ast.ClassDef():
            yield from _class(found, node)
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            yield f"```python\n{_signature(found, found.name, node)}\n```"
            yield first_paragraph(_doc(node))
            yield from _sections(found, node, _doc(node))
        case ast.Assign(value=value) if not found.name.startswith("_"):
            yield f"```python\n{found.name}{_default(value)}\n```"
            yield first_paragraph(found.doc)


def _class(found: Found, node: ast.ClassDef) -> Iterator[str]:
    made = next((x for x in _functions(node) if x.name == "__init__"), None)
    if made is not None:
        yield f"```python\n{_signature(found, found.name, made, bound=True)}\n```"
    outside = [base for base in map(ast.unparse, node.bases) if not _is_internal(found, base)]
    if outside:
        yield f"Bases: {', '.join(f'`{base}`' for base in outside)}"
    yield first_paragraph(_doc(node))
    yield from _sections(found, made, _doc(node), _doc(made) if made else "")
    yield from _members(found)


def _sections(found: Found, function: _Function | None, *docs: str) -> Iterator[str]:
    """Arguments and exceptions, from docstrings and typed keyword arguments."""
    for title in ("Args", "Raises"):
        entries = {name: text for doc in docs for name, text in _section(doc, title).items()}
        typed = _typed_arguments(found, function) if function else None
        if title == "Args" and typed is not None and (fields := dict(_typed_dict(typed))):
            entries = {k: v for k, v in entries.items() if not k.startswith("**")} | fields
        if entries:
            yield f"{title}:\n\n" + "\n".join(_bullet(*entry) for entry in entries.items())


def _typed_dict(found: Found) -> Iterator[tuple[str, str]]:
    """The fields of a ``TypedDict`` that say what they mean."""
    if isinstance(found.node, ast.ClassDef):
        for node, doc in _statements(found.node.body):
            if isinstance(node, ast.AnnAssign) and doc:
                yield f"{ast.unparse(node.target)}: {_type(node.annotation)}", first_paragraph(doc)


def _members(found: Found) -> Iterator[str]:
    """Fields, properties and methods of a class, those of internal base classes included."""
    fields: dict[str, str] = {}
    methods: dict[str, str] = {}
    of_framework = any(m.startswith(("langchain", "llama_index")) for m in _origins(found))
    for owner in _with_internal_bases(found):
        for name, bullet in _fields(owner, documented_only=of_framework):
            fields.setdefault(name, bullet)
        for method in _functions(owner):
            if method.name.startswith("_") or not (text := first_paragraph(_doc(method))):
                continue
            if _decorators(method) & {"property", "cached_property"}:
                kind = f": {_type(method.returns)}" if method.returns else ""
                fields.setdefault(method.name, _bullet(f"{method.name}{kind}", text))
            else:
                of_class = _decorators(method) & {"classmethod", "staticmethod"}
                name = f"{found.name}.{method.name}" if of_class else method.name
                bound = "staticmethod" not in of_class
                shown = _signature(found, name, method, bound=bound)
                methods.setdefault(method.name, _bullet(shown, text))
    if of_framework:
        methods = {}  # the framework calls them
    for title, entries in (("Fields", fields), ("Methods", methods)):
        if entries:
            yield f"{title}:\n\n" + "\n".join(entries.values())


def _fields(owner: ast.ClassDef, *, documented_only: bool = False) -> Iterator[tuple[str, str]]:
    words = _section(_doc(owner), "Attributes|Fields, with their defaults")
    for node, doc in _statements(owner.body):
        match node:
            case ast.AnnAssign(target=ast.Name(id=name)) if not name.startswith("_"):
                text = first_paragraph(doc) or words.get(name, "")
                if documented_only and not text:
                    continue  # the framework's
                yield name, _bullet(f"{name}: {_type(node.annotation)}{_default(node.value)}", text)


def _functions(node: ast.ClassDef) -> Iterator[_Function]:
    for member, _ in _statements(node.body):
        if isinstance(member, _FUNCTIONS) and not _decorators(member) & _NOT_SHOWN:
            yield member


def _decorators(node: _Function) -> set[str]:
    return {ast.unparse(x).partition("(")[0] for x in node.decorator_list}


def _bullet(code: str, text: str) -> str:
    return f"- `{code}`" + (f": {text}" if text else "")


def _is_internal(found: Found, base: str) -> bool:
    above = find(found.module, base)
    return above is not None and above not in _public()


def _with_internal_bases(found: Found) -> Iterator[ast.ClassDef]:
    """The class, and its base classes of flextier that are not public themselves."""
    if isinstance(found.node, ast.ClassDef):
        yield found.node
        for base in map(ast.unparse, found.node.bases):
            if _is_internal(found, base) and (above := find(found.module, base)) is not None:
                yield from _with_internal_bases(above)


def _origins(found: Found) -> Iterator[str]:
    """The modules outside flextier that base classes are imported from."""
    bases = {ast.unparse(base) for base in getattr(found.node, "bases", ())}
    for node in ast.walk(_tree(found.module)):
        if isinstance(node, ast.ImportFrom) and any(x.name in bases for x in node.names):
            yield node.module or ""


def _found(package: str, name: str) -> Found:
    found = find(package, name)
    if found is None:
        raise LookupError(f"{package}.{name} is not found in the source")
    return found


@cache
def _public() -> dict[Found, str]:
    """Each public definition, with the path that it is documented under."""
    paths: dict[Found, str] = {}
    for package in PACKAGES:
        for name in public_names(package):
            paths.setdefault(_found(package, name), f"{package}.{name}")
    return paths


def page() -> str:
    """The page."""
    parts = [_HEAD, "\n".join(f"- [`{x}`](#{x.replace('.', '')}): {_about(x)}" for x in PACKAGES)]
    for package in PACKAGES:
        parts += [f"## {package}", _about(package)]
        again = []
        for name in public_names(package):
            path, found = f"{package}.{name}", _found(package, name)
            if (first := _public()[found]) != path:
                again.append(f"- `{path}`: the same as `{first}`")
            else:
                parts += [f"### `{path}`", *filter(None, _entry(found))]
        parts.append("\n".join(again))
    return "\n\n".join(part.strip("\n") for part in parts if part) + "\n"


def _about(package: str) -> str:
    return first_paragraph(_doc(_tree(package)))


def documented() -> dict[str, list[str]]:
    """The names on the page, by package."""
    text = PAGE.read_text(encoding="utf-8")
    sections = re.split(r"^## ", text, flags=re.MULTILINE)[1:]
    return {
        section.partition("\n")[0]: re.findall(
            r"^(?:### |- )`flextier\.(?:\w+\.)*(\w+)`", section, re.MULTILINE
        )
        for section in sections
    }


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
