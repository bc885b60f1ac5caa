"""A pytest plugin: clients share the certificates they read, which is most of what they take."""

import functools
import ssl

ssl.create_default_context = functools.cache(ssl.create_default_context)
