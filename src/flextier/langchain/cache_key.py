"""LangChain's cache keys: those of ``ChatOpenAI``, so that no setting of ours pays twice."""

from __future__ import annotations

import json

from flextier._utils.extras import needs_extra

with needs_extra("langchain"):
    from langchain_openai import ChatOpenAI

NAMESPACE = ["flextier", "langchain"]
CLASS_NAME = "ChatOpenAIFlex"

_decode = json.JSONDecoder().raw_decode


def parents_key(key: str, name: str | None) -> str:
    """The key that ``ChatOpenAI`` would have for the same arguments.

    Args:
        key: LangChain's for a model of ours: the model as JSON, then the arguments of the call.
        name: the model's ``name``; None: LangChain calls it by its class.
    """
    model, end = _decode(key)
    model["kwargs"].pop("policy", None)
    *namespace, class_name = model["id"]
    if class_name == CLASS_NAME:
        class_name = ChatOpenAI.__name__
        if name is None:
            model["name"] = class_name
    if namespace == NAMESPACE:
        namespace = ChatOpenAI.get_lc_namespace()
    model["id"] = [*namespace, class_name]
    return json.dumps(model) + key[end:]  # in LangChain's order
