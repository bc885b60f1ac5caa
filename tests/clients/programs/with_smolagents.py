"""smolagents: its model, streamed, and a tool calling agent."""

from common import MODEL, question, run
from smolagents import ChatMessage, OpenAIModel, ToolCallingAgent, tool

used = [0, 0]


@tool
def look_up(number: int) -> str:
    """Look up the colour of a marble by its number.

    Args:
        number: The marble's number.
    """
    return f"Marble {number} is green: say so with final_answer."


def streamed(n: int) -> None:
    model = OpenAIModel(MODEL)
    deltas = list(model.generate_stream([ChatMessage(role="user", content=question(n))]))
    for usage in (delta.token_usage for delta in deltas if delta.token_usage):
        used[0] += usage.input_tokens
        used[1] += usage.output_tokens
    text = "".join(delta.content or "" for delta in deltas)
    assert question(n) in text, text


def agent(n: int) -> None:
    helper = ToolCallingAgent(tools=[look_up], model=OpenAIModel(MODEL), verbosity_level=0)
    result = helper.run(question(n), return_full_result=True)
    used[0] += result.token_usage.input_tokens
    used[1] += result.token_usage.output_tokens
    seen = [step.get("observations") for step in result.steps]
    assert any(f"Marble {n + 71} is green" in (text or "") for text in seen), result
    assert result.state == "success", result


run(streamed, agent, tokens=lambda: (used[0], used[1]))
