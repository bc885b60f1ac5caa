"""DSPy: predictions, a chain of thought, and typed fields, in threads."""

import dspy
from common import MODEL, person, question, run

lm = dspy.LM(f"openai/{MODEL}", engine="litellm", cache=False)
dspy.configure(lm=lm)


class Extraction(dspy.Signature):
    """Extract a person's data."""

    text: str = dspy.InputField()
    name: str = dspy.OutputField()
    age: int = dspy.OutputField()


def plain(n: int) -> None:
    with dspy.context(lm=lm):
        (text,) = lm(question(n))
    text = text if isinstance(text, str) else text["text"]
    assert question(n) in text, text


def typed(n: int) -> None:
    asked, name, age = person(n)
    with dspy.context(lm=lm, adapter=dspy.JSONAdapter()):
        found = dspy.Predict(Extraction)(text=asked)
    assert (found.name, found.age) == (name, age), found


def tokens() -> tuple[int, int]:
    usages = [entry["usage"] for entry in lm.history]
    return (
        sum(usage["prompt_tokens"] for usage in usages),
        sum(usage["completion_tokens"] for usage in usages),
    )


run(plain, typed, tokens=tokens, cost=lambda: sum(entry["cost"] or 0 for entry in lm.history))
