"""autoevals: classifiers with choices, which it asks for by a tool."""

from autoevals import Factuality, LLMClassifier
from common import MODEL, question, run

from flextier import FlexOpenAI

client = FlexOpenAI()


def classifier(n: int) -> None:
    choice = ("green", "blue", "red", "grey")[n]
    judge = LLMClassifier(
        name="colour",
        prompt_template="Which colour does this name: {{output}}?",
        choice_scores={"grey": 0, "blue": 0.25, "red": 0.5, "green": 1},
        model=MODEL,
        use_cot=False,
        client=client,
    )
    score = judge.eval(output=f"It is {choice}.")
    assert score.metadata["choice"] == choice, score


def factuality(n: int) -> None:
    judge = Factuality(model=MODEL, client=client)
    score = judge.eval(output="(B)", expected="(B)", input=question(n))
    assert score.metadata["choice"] in "ABCDE", score


run(classifier, factuality)
