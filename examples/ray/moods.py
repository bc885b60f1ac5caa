"""Can a dataset of Ray Data be asked on flex, by many workers that do not get in each other's way?

pip install "flextier[langchain,serve]" "ray[data]"
python examples/ray/moods.py                     # on this machine
ray job submit --working-dir examples/ray -- python moods.py   # on a cluster, with OPENAI_API_KEY
"""

import flextier.ray
import ray


def mood():
    """The chain, built in each worker: clients have connections, and cannot be sent."""
    from langchain_core.prompts import ChatPromptTemplate

    from flextier.langchain import ChatOpenAIFlex

    prompt = ChatPromptTemplate.from_template("In one word, what is the mood of: {review}")
    return prompt | ChatOpenAIFlex(model="o4-mini")


if __name__ == "__main__":
    ray.init(include_dashboard=False)
    reviews = ray.data.from_items(
        [{"id": number, "review": f"Marble {number} is green."} for number in range(100)]
    )
    # One gateway for the cluster, started here: two workers ask flex for capacity as one does.
    moods = flextier.ray.run(reviews, mood, key="id", with_cost=True, workers=2).materialize()
    print(moods.take(1))
    print("failed:", moods.filter(lambda row: row["error"] is not None).count())
    print("lanes:", moods.unique("lane"))
    ray.shutdown()
