"""What this process has learnt of its lanes' capacity, shared by its calls.

A refusal is about the account and the model, not about one call, so all calls to the same
(base URL, account, model, lane) share what was learnt, from whatever thread or event loop.
"""

from flextier.capacity.gate import Gate as Gate
from flextier.capacity.shared import CAPACITY as CAPACITY
from flextier.capacity.shared import Capacity as Capacity
from flextier.capacity.shared import LaneKey as LaneKey
from flextier.capacity.shared import capacity_snapshot as capacity_snapshot
from flextier.capacity.state import LaneState as LaneState
from flextier.capacity.ticket import Spacing as Spacing
from flextier.capacity.ticket import Ticket as Ticket
