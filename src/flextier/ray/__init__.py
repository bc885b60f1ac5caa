"""Datasets of Ray Data: a target run over every row, on many machines, with one limiter."""

from flextier.ray.cluster_gateway import GatewayAddress, stop_gateway
from flextier.ray.row_worker import RowWorker
from flextier.ray.run import run

__all__ = ["GatewayAddress", "RowWorker", "run", "stop_gateway"]
