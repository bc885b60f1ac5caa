"""Fields of a model from environment variables, by pydantic-settings."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_settings import EnvSettingsSource


def fields_of_environment(model: type[BaseModel], prefix: str) -> dict[str, Any]:
    """The text of each field's variable, in any case; an empty variable counts as not set."""
    settings: Any = model  # no BaseSettings, which would load pydantic-settings at import
    return _TextSettings(settings, env_prefix=prefix, env_ignore_empty=True)()


class _TextSettings(EnvSettingsSource):
    """Variables as they are: the model's own validators read tuples, not JSON."""

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        return value
