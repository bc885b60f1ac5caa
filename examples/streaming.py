"""Does streaming work? Refusals are over before the first chunk; the last one has the report."""

from flextier.langchain import ChatOpenAIFlex

model = ChatOpenAIFlex(model="o4-mini")

report = None
for chunk in model.stream("Why is the sky blue?"):
    print(chunk.text, end="", flush=True)
    report = chunk.response_metadata.get("flextier", report)

if report is None:
    raise SystemExit("the stream had no report")
print(f"\n[{report['lane']}: {report['usage']['output_tokens']} tokens]")
