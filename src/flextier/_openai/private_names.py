"""The SDK's private names."""

from __future__ import annotations

from openai._base_client import log as sdk_log
from openai._constants import RAW_RESPONSE_HEADER
from openai._legacy_response import LegacyAPIResponse
from openai._models import FinalRequestOptions
from openai._response import BaseAPIResponse
from openai._types import NotGiven, not_given
from openai._utils import get_async_library, is_given, strip_not_given
from openai._utils._json import openapi_dumps as dumps
from openai._utils._transform import async_maybe_transform, maybe_transform

__all__ = [
    "RAW_RESPONSE_HEADER",
    "BaseAPIResponse",
    "FinalRequestOptions",
    "LegacyAPIResponse",
    "NotGiven",
    "async_maybe_transform",
    "dumps",
    "get_async_library",
    "is_given",
    "maybe_transform",
    "not_given",
    "sdk_log",
    "strip_not_given",
]
