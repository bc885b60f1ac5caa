"""mem0: memories that its model extracts, and finds by embeddings."""

from common import EMBEDDING_MODEL, MODEL, run
from mem0 import Memory

# What the simulator's model fills; a real one needs no schema.
SCHEMA = """{"title": "Memories", "type": "object", "properties": {"memory": {"type": "array",
"items": {"type": "object", "properties": {"text": {"type": "string"}}}}}}"""
NAMES = ("Ada", "Bob", "Cleo", "Dana")


def memory(n: int) -> None:
    store = Memory.from_config(
        {
            "llm": {"provider": "openai", "config": {"model": MODEL}},
            "embedder": {"provider": "openai", "config": {"model": EMBEDDING_MODEL}},
            "vector_store": {
                "provider": "qdrant",
                "config": {"path": f"store{n}", "embedding_model_dims": 1536},
            },
            "custom_instructions": f"Follow this JSON schema: {SCHEMA}",
            "history_db_path": f"history{n}.db",
        }
    )
    said = f"{NAMES[n]} likes green marbles."
    added = store.add(said, user_id=NAMES[n])
    assert added["results"], added
    found = store.search("marbles", filters={"user_id": NAMES[n]})
    assert len(found["results"]) >= 1, found


run(memory)
