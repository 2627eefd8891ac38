"""The learning rate as a pure function of the update, so that any restart continues it exactly."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class CosineSchedule:
    """Linear warm-up to ``peak``, then a cosine down to ``final`` at the last update."""

    peak: float
    final: float
    warmup_updates: int
    total_updates: int

    def learning_rate(self, update: int) -> float:
        """Rate of update ``update`` (0-based). The first update already learns, the last one reaches ``final``."""
        if update < self.warmup_updates:
            return self.peak * (update + 1) / self.warmup_updates
        decay_updates = self.total_updates - 1 - self.warmup_updates
        progress = (
            1.0 if decay_updates <= 0 else min(1.0, (update - self.warmup_updates) / decay_updates)
        )
        return self.final + (self.peak - self.final) * (1 + math.cos(math.pi * progress)) / 2
