"""The import paths that are promised, and the names that packages load when they are first used."""

from __future__ import annotations

import pkgutil
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

import flextier

PUBLIC = {
    "flextier.auto": ["Considered", "Plan", "explain"],
    "flextier.batch": [
        "BatchLineError",
        "Fetched",
        "cancel",
        "create",
        "detach",
        "fetch",
        "list_batches",
        "retrieve",
        "wait",
    ],
    "flextier.bulk": [
        "BulkError",
        "BulkResult",
        "InUseError",
        "InputError",
        "Progress",
        "StorageError",
        "arun",
        "run",
    ],
    "flextier.cli": ["main"],
    "flextier.client": ["AsyncFlexOpenAI", "FlexOpenAI"],
    "flextier.costs": [
        "Basis",
        "CallRecord",
        "Cost",
        "CostTotals",
        "Ledger",
        "PriceBook",
        "Rates",
        "Sums",
        "Usage",
        "price",
        "price_book",
        "record_calls",
        "record_of",
        "set_price_book",
    ],
    "flextier.journal": [
        "Journal",
        "JournalError",
        "JournalWarning",
        "NewerJournalError",
        "begin_again",
        "journal_at",
    ],
    "flextier.langchain": [
        "ChatOpenAIFlex",
        "FlexCostCallbackHandler",
        "ModelDeadlineExceeded",
        "get_flex_cost_callback",
    ],
    "flextier.ledger": [
        "ForeignDatabaseError",
        "Ledger",
        "LedgerError",
        "LedgerWarning",
        "NewerLedgerError",
        "Session",
    ],
    "flextier.llama_index": [
        "FlexCallEvent",
        "FlexCostCallback",
        "FlexCostEventHandler",
        "FlexFallbackEvent",
        "FlexRetryEvent",
        "OpenAIFlex",
        "OpenAIResponsesFlex",
    ],
    "flextier.otel": ["Instrumentation", "instrument"],
    "flextier.rehearsal": ["Clairvoyant", "Rehearsal", "Trace", "rehearse"],
    "flextier.sim": [
        "BackgroundOutcome",
        "BackgroundWeather",
        "BatchOutcome",
        "BatchWeather",
        "Fault",
        "SeenRequest",
        "Simulator",
        "Tokens",
        "Weather",
    ],
    "flextier.transport": ["async_http_client", "sync_http_client"],
}
MODULES = ["flextier.errors", "flextier.policy", "flextier.sim.pytest_plugin"]
"""Modules that others import whole."""


@pytest.mark.parametrize("path", PUBLIC)
def test_a_package_exports_its_public_names(path: str) -> None:
    """`__all__` is the promised list, and each name resolves, those that are loaded later too."""
    if path == "flextier.llama_index" and find_spec("llama_index") is None:
        pytest.skip("LlamaIndex is not installed")
    package = import_module(path)
    assert sorted(package.__all__) == sorted(PUBLIC[path])
    assert all(getattr(package, name) for name in package.__all__)
    with pytest.raises(AttributeError, match="nothing"):
        package.nothing  # noqa: B018 - the access is what is tested


@pytest.mark.parametrize("path", MODULES)
def test_a_public_module_can_be_imported(path: str) -> None:
    """Entry points and users name these modules."""
    assert import_module(path).__name__ == path


@pytest.mark.parametrize("path", ["batch", "costs", "rehearsal", "sim"])
def test_a_submodule_does_not_hide_a_name_that_is_loaded_later(path: str) -> None:
    """An imported submodule is bound in its package, where a function of its name would be."""
    package = f"flextier.{path}"
    assert [name for name in PUBLIC[package] if find_spec(f"{package}.{name}")] == []


def test_each_package_says_what_is_in_it() -> None:
    """Every `__init__` begins with a docstring, which needs no extra to be read."""
    packages = [module for module in pkgutil.iter_modules(flextier.__path__) if module.ispkg]
    assert len(packages) > 20
    for package in packages:
        spec = find_spec(f"flextier.{package.name}")
        assert Path(str(spec and spec.origin)).read_text(encoding="utf-8").startswith('"""')
