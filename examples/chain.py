"""How do I put an existing LangChain chain on flex? Swap the class; keep the rest."""

from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate

from flextier import track
from flextier.langchain import ChatOpenAIFlex

prompt = ChatPromptTemplate.from_template("Explain {topic} in one sentence.")
chain = prompt | ChatOpenAIFlex(model="o4-mini") | StrOutputParser()

with track() as calls:
    answers = chain.batch([{"topic": topic} for topic in ("tides", "yeast", "friction")])

for answer, call in zip(answers, calls, strict=True):
    tried = ", ".join(f"{attempt.lane}: {attempt.outcome}" for attempt in call.attempts)
    print(f"{answer}\n  billed on {call.lane} after {call.elapsed:.1f} s ({tried})")
