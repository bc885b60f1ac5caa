"""Can I configure it without touching the code? Every knob has a FLEXTIER_ variable.

Try: FLEXTIER_DEADLINE=120 FLEXTIER_PATIENCE=60 python examples/environment.py
     FLEXTIER_LANES=standard python examples/environment.py      (flex switched off)
"""

from flextier import FlexPolicy
from flextier.langchain import ChatOpenAIFlex

for field, value in FlexPolicy():
    print(f"FLEXTIER_{field.upper():<20} {value}")

answer = ChatOpenAIFlex(model="o4-mini").invoke("Name a colour.")
print(f"{answer.text}  [{answer.response_metadata['flextier']['lane']}]")
