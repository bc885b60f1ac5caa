"""LiteLLM with a base URL: plain, async, streamed, with a tool, and Responses, all at once."""

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor

import litellm

MODEL = "openai/gpt-5-mini"
TOOL = {
    "type": "function",
    "function": {
        "name": "look_up",
        "parameters": {"type": "object", "properties": {"number": {"type": "integer"}}},
    },
}
used = []


def question(n):
    return f"Which colour has marble number {n + 71}?"


def messages(n):
    return [{"role": "user", "content": question(n)}]


def count(response):
    used.append((response.usage.prompt_tokens, response.usage.completion_tokens))
    return response.choices[0].message


def plain(n):
    text = count(litellm.completion(MODEL, messages(n))).content
    assert question(n) in text, text


def asynchronous(n):
    text = count(asyncio.run(litellm.acompletion(MODEL, messages(n)))).content
    assert question(n) in text, text


def streamed(n):
    options = {"stream": True, "stream_options": {"include_usage": True}}
    chunks = list(litellm.completion(MODEL, messages(n), **options))
    text = count(litellm.stream_chunk_builder(chunks)).content
    assert question(n) in text, text


def tool(n):
    calls = count(litellm.completion(MODEL, messages(n), tools=[TOOL])).tool_calls
    assert calls[0].function.arguments == f'{{"number":{n + 71}}}', calls


def responses(n):
    response = litellm.responses(question(n), MODEL)
    used.append((response.usage.input_tokens, response.usage.output_tokens))
    text = response.output[-1].content[0].text
    assert question(n) in text, text


def problem(job):
    part, n = job
    try:
        part(n)
    except Exception as error:  # noqa: BLE001  # the report has it
        return f"{part.__name__}: {error!r}"


jobs = [(part, n) for n in range(4) for part in (plain, asynchronous, streamed, tool, responses)]
with ThreadPoolExecutor(len(jobs)) as pool:
    problems = [found for found in pool.map(problem, jobs) if found]
tokens = [sum(inputs) for inputs in zip(*used, strict=True)]
with open("report.json", "w") as file:
    json.dump({"asked": len(jobs), "problems": problems, "tokens": tokens}, file)
