"""The network without any server: the speed of torch itself on one thread, at several batch sizes.

`python -m benchmarks.serving.model_only FILE SECONDS` prints one JSON object per line. The batches hold the same series
as the servers' requests, padded to the longest of each batch, tensors ready.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Sequence

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from benchmarks.serving import workloads

BATCHES = (1, 8, 32, 64, 128, 512)


def main() -> None:
    file, seconds = sys.argv[1], float(sys.argv[2])
    torch.set_num_threads(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        model = torch.jit.load(file).eval()
    series = workloads.ragged()
    for batch in BATCHES:
        groups = [series[start : start + batch] for start in range(0, len(series), batch)]
        report(model, f"batch of {batch}", groups, seconds)
    report(model, "bulk", [workloads.even(seed) for seed in range(workloads.BULK_COUNT)], seconds)
    torch.set_num_threads(2)
    report(model, "bulk, two threads", [workloads.even(seed) for seed in range(workloads.BULK_COUNT)], seconds)


def report(
    model: torch.jit.ScriptModule, name: str, groups: Sequence[Sequence[workloads.Series]], seconds: float
) -> None:
    inputs = [
        (
            pad_sequence([torch.tensor(values) for values in group], batch_first=True),
            torch.tensor([len(values) for values in group]),
        )
        for group in groups
    ]
    with torch.inference_mode():
        for values, lengths in (inputs * 20)[:200]:  # untimed calls let torch specialise on every shape
            model(values, lengths)
        durations, beginning, count = [], time.perf_counter(), 0
        while time.perf_counter() - beginning < seconds:
            values, lengths = inputs[len(durations) % len(inputs)]
            start = time.perf_counter()
            model(values, lengths)
            durations.append(time.perf_counter() - start)
            count += len(lengths)
        elapsed = time.perf_counter() - beginning
    p50, p90, p99, worst = np.percentile(durations, (50, 90, 99, 100)) * 1e3
    figures = {"requests": len(durations), "items": count, "seconds": elapsed}
    print(
        json.dumps({"name": name, **figures, "p50_ms": p50, "p90_ms": p90, "p99_ms": p99, "max_ms": worst}), flush=True
    )


if __name__ == "__main__":
    main()
