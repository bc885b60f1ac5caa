"""lm-evaluation-harness, on a task of its own: eight questions, through each of its chat models."""

import json
import os
import subprocess
from pathlib import Path

TASK = {
    "task": "marbles",
    "dataset_path": "json",
    "dataset_kwargs": {"data_files": {"test": "marbles.jsonl"}},
    "test_split": "test",
    "output_type": "generate_until",
    "doc_to_text": "{{question}}",
    "doc_to_target": "{{question}}",
    "filter_list": [
        {
            "name": "repeated",
            "filter": [
                {"function": "regex", "regex_pattern": "(Which .*)"},
                {"function": "take_first"},
            ],
        }
    ],
    "metric_list": [{"metric": "exact_match"}],
}
QUESTIONS = [{"question": f"Which colour has marble number {n + 71}?"} for n in range(8)]


def evaluated(model: str) -> list[dict]:
    """The samples of a run, each with the model's answer and its score."""
    arguments = {
        "model": "gpt-5-mini",
        "base_url": os.environ["OPENAI_BASE_URL"] + "/chat/completions",
        "num_concurrent": 8,
    }
    options = {
        "--model": model,
        "--model_args": ",".join(f"{name}={value}" for name, value in arguments.items()),
        "--gen_kwargs": "max_gen_toks=2000",
        "--tasks": "marbles",
        "--include_path": ".",
        "--output_path": model,
    }
    flags = ["--apply_chat_template", "--log_samples"]
    command = ["lm_eval", "run", *(word for option in options.items() for word in option), *flags]
    subprocess.run(command, check=True, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    [samples] = Path(model).rglob("samples_*.jsonl")
    return [json.loads(line) for line in samples.read_text().splitlines()]


Path("marbles.yaml").write_text(json.dumps(TASK))  # which is YAML, too
Path("marbles.jsonl").write_text("\n".join(map(json.dumps, QUESTIONS)))
samples = [
    sample
    for model in ("local-chat-completions", "openai-chat-completions")
    for sample in evaluated(model)
]
problems = [str(sample["resps"]) for sample in samples if sample["exact_match"] != 1]
Path("report.json").write_text(json.dumps({"asked": len(samples), "problems": problems}))
