"""The rows of ``ray_data.py`` on Ray Data: by flextier.ray.run, and by Ray's own HTTP stage.

    python _ray_programs.py flextier|http WORKERS ROWS_AT_ONCE

Reads ``in.jsonl``, writes a JSON line for every row that got a response, and prints the seconds
from the start of the run to its end; the cluster is there before.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import ray

MODEL = "o4-mini"


def main() -> None:
    """Ask, write the output, and print how long it took."""
    program, workers, at_once = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    rows = [json.loads(line) for line in Path("in.jsonl").read_text().splitlines()]
    # As much for a cluster of one machine as it needs; nothing of it works all the time.
    ray.init("local", num_cpus=4, include_dashboard=False, log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    dataset = ray.data.from_items(rows, override_num_blocks=max(len(rows) // 100, 1))
    answered: Any = by_flextier if program == "flextier" else by_http_stage
    began = time.perf_counter()
    try:
        done = answered(dataset, workers, at_once).take_all()
    except Exception as error:  # noqa: BLE001 - the rows are lost
        print(f"the job has failed: {error}"[-500:], file=sys.stderr)
        done = []
    seconds = time.perf_counter() - began
    with Path("out.jsonl").open("w") as file:
        for row in done:
            if row["output"]:
                file.write(json.dumps({"id": row["id"], "output": row["output"]}) + "\n")
    print(json.dumps({"elapsed": seconds}))
    ray.shutdown()


def by_flextier(dataset: Any, workers: int, at_once: int) -> Any:
    """``flextier.ray.run``, with so many rows at once in all workers together."""
    import flextier.ray

    return flextier.ray.run(
        dataset, "work:ask", key="id", workers=workers, concurrency=at_once // workers, num_cpus=0.5
    )


def by_http_stage(dataset: Any, workers: int, at_once: int) -> Any:
    """Ray's HTTP stage, with retries: a row that needs more ends the job."""
    from ray.data.llm import HttpRequestProcessorConfig, build_processor

    config = HttpRequestProcessorConfig(
        url=f"{os.environ['OPENAI_BASE_URL']}/chat/completions",
        headers={"Authorization": "Bearer benchmark"},
        # A worker has four batches at once, of each of which it sends one request after another.
        concurrency=workers,
        batch_size=8,
        max_retries=8,
    )

    def payload(row: dict[str, Any]) -> dict[str, Any]:
        messages = [{"role": "user", "content": row["prompt"]}]
        body = {"model": MODEL, "messages": messages, "service_tier": "flex"}
        return {"payload": body, "id": row["id"]}

    def output(row: dict[str, Any]) -> dict[str, Any]:
        response = row.get("http_response") or {}
        choices = response.get("choices")
        text = choices[0]["message"]["content"] if choices is not None and len(choices) else ""
        return {"id": row["id"], "output": text}

    return build_processor(config, preprocess=payload, postprocess=output)(dataset)


if __name__ == "__main__":
    main()
