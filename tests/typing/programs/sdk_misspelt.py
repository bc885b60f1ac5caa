"""The SDK's clients with misspelt names, and wrong types: an error in each marked line."""

# pyright: strict

from flextier import AsyncFlexOpenAI, FlexOpenAI, FlexPolicy, override, track
from flextier.policy import PolicyFields

FlexOpenAI(polcy=FlexPolicy())  # error
FlexOpenAI(deadline=60)  # error
FlexOpenAI(max_retrys=3)  # error
FlexOpenAI(policy={"dedline": 60})  # error
FlexOpenAI(policy={"deadline": 60, "lane": "flex"})  # error
FlexOpenAI(policy="flex")  # error
FlexOpenAI(max_retries="3")  # error
AsyncFlexOpenAI(polcy=FlexPolicy())  # error
AsyncFlexOpenAI(policy={"dedline": 60})  # error

FlexOpenAI().copy(polcy=FlexPolicy())  # error
FlexOpenAI().with_options(time_out=60)  # error
FlexOpenAI().with_options(policy={"dedline": 60})  # error
AsyncFlexOpenAI().with_options(deadline=60)  # error
AsyncFlexOpenAI().copy(policy={"deadline": [60]})  # error

FlexPolicy(dedline=60)  # error
FlexPolicy(lanes=5)  # error
FlexPolicy(journal_duplicates="twice")  # error
FlexPolicy(background_window="3h")  # error
FlexPolicy().replace(dedline=60)  # error
print(FlexPolicy().dedline)  # error
FlexPolicy.of({"dedline": 60})  # error
FIELDS: PolicyFields = {"dedline": 60}  # error

with override(dedline=60):  # error
    pass

with track(scop="process") as calls:  # error
    print(calls[-1].lanes)  # error
