"""DeepEval: a metric with a judge, and its model by itself."""

from common import MODEL, person, question, run
from deepeval.metrics import GEval
from deepeval.models import OpenAIModel
from deepeval.test_case import LLMTestCase, SingleTurnParams
from pydantic import BaseModel

costs = []


class Person(BaseModel):
    name: str
    age: int


def plain(n: int) -> None:
    text, cost = OpenAIModel(MODEL).generate(question(n))
    costs.append(cost)
    assert question(n) in text, text


def typed(n: int) -> None:
    asked, name, age = person(n)
    found, cost = OpenAIModel(MODEL).generate(asked, schema=Person)
    costs.append(cost)
    assert found == Person(name=name, age=age), found


def metric(n: int) -> None:
    judge = GEval(
        name="Correctness",
        criteria="Whether the output says what the input asks for.",
        evaluation_params=[SingleTurnParams.INPUT, SingleTurnParams.ACTUAL_OUTPUT],
        model=OpenAIModel(MODEL),
    )
    judge.measure(LLMTestCase(input=question(n), actual_output="Green."), _show_indicator=False)
    costs.append(judge.evaluation_cost)
    assert 0 <= judge.score <= 1, judge.score
    assert judge.reason, judge.reason


run(plain, typed, metric, cost=lambda: sum(costs))
