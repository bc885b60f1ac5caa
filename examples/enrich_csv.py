"""Can I ask the same of every row of a file, for half the price, and never lose an answer?"""

import csv
import tempfile
from pathlib import Path

from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate

from flextier.bulk import run
from flextier.langchain import ChatOpenAIFlex

place = Path(tempfile.mkdtemp())
reviews = place / "reviews.csv"
with reviews.open("w", newline="") as file:
    writer = csv.writer(file)
    writer.writerow(["id", "product", "review"])
    for number in range(40):
        writer.writerow([number, "kettle", f"Review {number}: boils quickly, whistles badly."])

prompt = ChatPromptTemplate.from_template("One word for the mood about this {product}: {review}")
chain = prompt | ChatOpenAIFlex(model="o4-mini") | StrOutputParser()

# The same from the command line:
# flextier run my_module:chain reviews.csv moods.csv --key id --lanes batch,flex,standard
# Interrupt it, kill it, switch the machine off: the same again goes on where it was.
result = run(
    chain,
    reviews,
    place / "moods.csv",
    key="id",
    output_column="mood",
    with_cost=True,
    lanes=("batch", "flex", "standard"),  # a batch while there is time, dearer lanes at the end
    deadline="6h",
    budget=5,
)

print(f"{result.done} of {result.rows} rows done, {result.failed} failed, {result.pending} pending")
print(
    f"${result.totals.cost:f} on {', '.join(result.totals.by_lane)}, ${result.totals.saved:f} saved"
)
print((place / "moods.csv").read_text().splitlines()[1])
