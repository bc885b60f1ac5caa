"""Ray Data, imported when it is needed: its users install it themselves."""

from __future__ import annotations

from typing import Any


def ray_data() -> Any:
    """The package ``ray``, with ``ray.data``.

    Raises:
        ImportError: it is not installed; the message says what to install.
    """
    try:
        import ray.data
    except ImportError as error:
        raise ImportError(
            f'{error}. flextier.ray needs Ray Data: pip install "ray[data]"', name=error.name
        ) from error
    return ray
