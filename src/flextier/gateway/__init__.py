"""Calls through a gateway (``FLEXTIER_GATEWAY``): one more way in which a call is carried out."""
