"""inspect-ai: an evaluation of samples with its OpenAI provider, which streams."""

from common import MODEL, ROUNDS, question, run
from inspect_ai import Task, eval_async
from inspect_ai.dataset import Sample
from inspect_ai.scorer import includes
from inspect_ai.solver import generate, use_tools
from inspect_ai.tool import Tool, tool

used = [0, 0]


@tool
def look_up() -> Tool:
    async def execute(number: int) -> str:
        """Look up the colour of a marble by its number.

        Args:
            number: The marble's number.
        """
        return f"Marble {number} is green."

    return execute


async def evaluation(n: int) -> None:
    if n:
        return  # one evaluation runs at a time, all samples of it at once
    samples = [Sample(input=question(i), target=question(i)) for i in range(ROUNDS)]
    tooled = [Sample(input=question(i), target=f"Marble {i + 71} is green") for i in range(ROUNDS)]
    tasks = [
        Task(dataset=samples, solver=generate(), scorer=includes(), name="plain"),
        Task(
            dataset=tooled,
            solver=[use_tools(look_up()), generate()],
            scorer=includes(),
            name="tool",
        ),
    ]
    logs = await eval_async(tasks, model=f"openai/{MODEL}", log_dir="logs")
    for log in logs:
        assert log.status == "success", log.error
        usage = log.stats.model_usage[f"openai/{MODEL}"]
        used[0] += usage.input_tokens + (usage.input_tokens_cache_read or 0)
        used[1] += usage.output_tokens
        for sample in log.samples:
            score = next(iter(sample.scores.values()))
            assert score.value == "C", sample.output.completion


run(evaluation, tokens=lambda: (used[0], used[1]))
