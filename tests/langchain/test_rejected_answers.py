"""An answer that the caller's schema rejects: LangChain puts the HTTP response on the exception."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from flextier import report_of
from flextier.langchain import ChatOpenAIFlex
from flextier.sim import Fault, Simulator


class Colour(BaseModel):
    """What is wanted."""

    name: str


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("bound", [False, True], ids=["with_structured_output", "bound"])
def test_the_exception_has_the_response(
    llm: ChatOpenAIFlex, is_async: bool, bound: bool, sim: Simulator
) -> None:
    """As ``ChatOpenAI``'s, and the report as well."""
    sim.script(Fault.serve(text="red"))
    model: Any = (
        llm.bind(response_format=Colour)
        if bound
        else llm.with_structured_output(Colour, method="json_schema")
    )
    with pytest.raises(ValidationError) as caught:
        asyncio.run(model.ainvoke("A colour?")) if is_async else model.invoke("A colour?")
    error: Any = caught.value
    assert error.response.status_code == 200
    assert error.response.json()["model"].startswith("o3")
    report = report_of(error)
    assert report is not None
    assert report.served
    assert report.error == "ValidationError"
    assert len(sim.requests) == 1
