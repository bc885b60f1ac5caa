"""The Batch API: many calls in one file, at half price, within 24 hours."""

from flextier.batch.desk import detach

__all__ = ["detach"]
