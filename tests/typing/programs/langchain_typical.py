"""LangChain's class, as users write it."""

from langchain_core.language_models import BaseChatModel
from langchain_core.prompts import ChatPromptTemplate
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, SecretStr
from typing_extensions import assert_type

from flextier import AsyncFlexOpenAI, FlexOpenAI, FlexPolicy
from flextier.langchain import ChatOpenAIFlex, FlexCostCallbackHandler, get_flex_cost_callback
from flextier.policy import PolicyFields

POLICY: PolicyFields = {"lanes": "auto", "deadline": "10h"}


class Review(BaseModel):
    product: str
    stars: int


def models() -> list[BaseChatModel]:
    llm = ChatOpenAIFlex(model="o3", policy={"deadline": 600, "lanes": ("flex",)})
    assert_type(llm.policy, FlexPolicy)
    print(llm.policy.deadline)
    llm.policy = {"deadline": 30}
    plain: ChatOpenAI = ChatOpenAIFlex(
        model="o4-mini",
        api_key=SecretStr("sk-key"),
        temperature=0.5,
        timeout=60,
        max_retries=3,
        reasoning_effort="low",
        model_kwargs={"user": "me"},
        policy=FlexPolicy(deadline=60),
        root_client=FlexOpenAI(),
        root_async_client=AsyncFlexOpenAI(),
    )
    return [ChatOpenAIFlex(), llm, plain, ChatOpenAIFlex(model="o3", policy=POLICY)]


class TeamModel(ChatOpenAIFlex):
    """A class of the user's, with a field of its own."""

    team: str = "sea"


def subclass() -> str:
    team = TeamModel(model="o3", team="kitchen", policy={"deadline": 60})
    print(team.policy.deadline, TeamModel())
    return team.team


def chain() -> str:
    prompt = ChatPromptTemplate.from_messages([("user", "Review {product}.")])
    llm = ChatOpenAIFlex(model="o4-mini")
    with get_flex_cost_callback() as costs:
        answer = (prompt | llm).invoke({"product": "ink"})
    print(costs, answer.response_metadata["flextier"]["lane"])
    for chunk in llm.stream("Why is the sky blue?", {"callbacks": [FlexCostCallbackHandler()]}):
        print(chunk.text)
    print(llm.with_structured_output(Review).invoke("Review ink."))
    return answer.text


async def asynchronous() -> None:
    llm = ChatOpenAIFlex(model="o4-mini").bind(stop=["."])
    print((await llm.ainvoke("Name a colour.")).text)
