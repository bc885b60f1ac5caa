"""LangChain's class with misspelt names, and wrong types: an error in each marked line."""

from flextier import FlexPolicy
from flextier.langchain import ChatOpenAIFlex, FlexCostCallbackHandler

ChatOpenAIFlex(model="o3", polcy=FlexPolicy())  # error
ChatOpenAIFlex(model="o3", deadline=60)  # error
ChatOpenAIFlex(model="o3", max_retrys=3)  # error
ChatOpenAIFlex(model="o3", policy={"dedline": 60})  # error
ChatOpenAIFlex(model="o3", policy={"deadline": [60]})  # error
ChatOpenAIFlex(model="o3", policy="flex")  # error

llm = ChatOpenAIFlex(model="o3")
llm.policy = {"dedline": 60}  # error
print(llm.policy.dedline)  # error
print(llm.polcy)  # error

FlexCostCallbackHandler(tag=["nightly"])  # error
