"""How many replicas Ray Serve runs: as many as leave each with half a second of work that waits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Protocol

QUEUED_WORK = "queued_work_seconds"
TARGET_SECONDS = 0.5  # of work that waits in a replica, as in Kubernetes' autoscaler


class Context(Protocol):
    """The part of Ray's `AutoscalingContext` that is used."""

    aggregated_metrics: Mapping[str, Mapping[Any, float]] | None  # name -> replica -> value
    current_num_replicas: int
    capacity_adjusted_min_replicas: int
    capacity_adjusted_max_replicas: int


def replicas_for_queued_work(context: Context) -> tuple[int, dict[str, Any]]:
    """Ray's policy: up to twice as many replicas at once, one less at a time, and none where a quarter of it waits."""
    waiting = sum((context.aggregated_metrics or {}).get(QUEUED_WORK, {}).values())
    running = max(1, context.current_num_replicas)
    wanted = running
    if waiting > running * TARGET_SECONDS:
        wanted = max(running + 1, math.ceil(min(waiting / TARGET_SECONDS, 2 * running)))
    elif waiting < running * TARGET_SECONDS / 4:
        wanted = max(running - 1, math.ceil(waiting / TARGET_SECONDS))
    return min(max(wanted, context.capacity_adjusted_min_replicas), context.capacity_adjusted_max_replicas), {}
