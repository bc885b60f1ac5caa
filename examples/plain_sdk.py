"""I use the OpenAI SDK alone: FlexOpenAI is openai.OpenAI with a policy."""

from openai import APITimeoutError, RateLimitError

from flextier import FlexOpenAI, FlexPolicy, override, report_of, track

client = FlexOpenAI(policy=FlexPolicy(patience=60))

with track() as calls:
    answer = client.chat.completions.create(
        model="o4-mini", messages=[{"role": "user", "content": "Name a colour."}]
    )
    print(answer.choices[0].message.content)

    with client.responses.stream(model="o4-mini", input="Name another one.") as stream:
        print(stream.get_final_response().output_text)

    # Other knobs for some calls; the SDK's exceptions as ever, with what was tried.
    try:
        with override(lanes=("flex",), deadline=30):
            client.responses.create(model="o4-mini", input="And a third.")
    except (RateLimitError, APITimeoutError) as error:
        report = report_of(error)
        print(error, report and report.attempts)

for call in calls:
    print(f"{call.lane}: {len(call.attempts)} attempts, {call.waited:.1f} s waited, {call.usage}")
