"""What the loop reports, from rank 0 alone: metrics records, and lines for the person watching."""

from __future__ import annotations

import statistics
import time
from typing import Any

from longspan.observe.metrics import MetricsLog
from longspan.observe.progress import Progress
from longspan.observe.tensorboard import TensorBoard
from longspan.observe.tracker import Composite
from longspan.plan.flops import flops_per_token
from longspan.train.engine import UpdateStats
from longspan.train.heldout import HeldOutLoss
from longspan.train.host import Host
from longspan.train.job import Job
