"""openevals: a judge that is our client, and one that is our chat model."""

from common import MODEL, person, run
from openevals.llm import create_llm_as_judge

from flextier import FlexOpenAI
from flextier.langchain import ChatOpenAIFlex

PROMPT = "Choose 'same' or 'other': is {outputs} the same as {reference_outputs}?"
CHOICES = [0.0, 0.5, 1.0]
client, llm = FlexOpenAI(), ChatOpenAIFlex(model=MODEL)


def judged(n: int, **judge: object) -> None:
    _, name, _ = person(n)
    evaluate = create_llm_as_judge(
        prompt=f"{PROMPT} The score is {CHOICES[n % 3]}.", choices=CHOICES, **judge
    )
    result = evaluate(outputs=name, reference_outputs=name)
    assert result["score"] == CHOICES[n % 3], result


def with_client(n: int) -> None:
    judged(n, judge=client, model=MODEL)


def with_chat_model(n: int) -> None:
    judged(n, judge=llm)


run(with_client, with_chat_model)
