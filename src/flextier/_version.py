"""The version, read by the build and by ``flextier --version``."""

__version__ = "0.1.0"
