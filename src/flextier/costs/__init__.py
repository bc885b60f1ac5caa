"""What calls cost: for now, their tokens."""

from flextier.costs.usage import Usage

__all__ = ["Usage"]
