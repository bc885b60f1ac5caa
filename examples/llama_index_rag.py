"""How do I put a LlamaIndex query engine on flex? Swap the class; keep the rest."""

from pydoc_data.topics import topics

from llama_index.core import Document, Settings, VectorStoreIndex
from llama_index.core.node_parser import TokenTextSplitter
from llama_index.embeddings.openai import OpenAIEmbedding

from flextier import track
from flextier.llama_index import OpenAIFlex

Settings.llm = OpenAIFlex(model="o4-mini")
Settings.embed_model = OpenAIEmbedding(model="text-embedding-3-small")
Settings.text_splitter = TokenTextSplitter(chunk_size=512)

names = ("assert", "async", "exceptions", "lambda", "with")
documents = [Document(text=topics[name], metadata={"topic": name}) for name in names]
engine = VectorStoreIndex.from_documents(documents).as_query_engine(similarity_top_k=2)

for question in ("What does an assert statement do?", "When is a context manager left?"):
    with track() as calls:
        answer = engine.query(question)
    print(f"{question}\n  {answer}")
    print("  from", [node.metadata["topic"] for node in answer.source_nodes])
    for call in calls:
        tried = ", ".join(f"{attempt.lane}: {attempt.outcome}" for attempt in call.attempts)
        print(f"  billed on {call.lane} after {call.elapsed:.1f} s ({tried})")
