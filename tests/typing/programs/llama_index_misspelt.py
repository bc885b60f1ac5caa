"""LlamaIndex's classes with misspelt names, and wrong types: an error in each marked line."""

from flextier import FlexPolicy
from flextier.llama_index import FlexCostEventHandler, OpenAIFlex, OpenAIResponsesFlex

OpenAIFlex(model="o3", polcy=FlexPolicy())  # error
OpenAIFlex(model="o3", deadline=60)  # error
OpenAIFlex(model="o3", max_retrys=3)  # error
OpenAIFlex(model="o3", max_output_tokens=3)  # error
OpenAIFlex(model="o3", policy={"dedline": 60})  # error
OpenAIFlex(model="o3", policy={"deadline": [60]})  # error
OpenAIFlex(model="o3", timeout="60")  # error
OpenAIResponsesFlex(model="o3", polcy=FlexPolicy())  # error
OpenAIResponsesFlex(model="o3", deadline=60)  # error
OpenAIResponsesFlex(model="o3", max_tokens=3)  # error
OpenAIResponsesFlex(model="o3", policy={"dedline": 60})  # error

llm = OpenAIFlex(model="o3")
llm.policy = {"dedline": 60}  # error
print(llm.policy.dedline)  # error
print(llm.polcy)  # error

FlexCostEventHandler(on_recrd=print)  # error
