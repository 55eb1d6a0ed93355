"""The rows of benchmarks/results/serving.csv: one per measurement, nothing averaged."""

from __future__ import annotations

from dataclasses import dataclass

MODEL_ONLY = "model alone"  # contestant: the network without a server


@dataclass(frozen=True)
class Row:
    """One measurement; a field that does not apply stays None, an empty cell."""

    contestant: str
    processes: int
    workload: str  # "start" has the memory and the time to the first answer
    connections: int | None
    round: int
    requests_per_second: float | None = None
    items_per_second: float | None = None
    p50_ms: float | None = None
    p90_ms: float | None = None
    p99_ms: float | None = None
    max_ms: float | None = None
    failed: int | None = None
    requests: int | None = None
    server_cores: float | None = None  # CPU time of the server and its processes by the clock
    wrk_cores: float | None = None
    cpu_us_per_request: float | None = None  # the server's
    cold_start_s: float | None = None  # from the start of the process to its first right answer
    idle_pss_mib: float | None = None
    idle_rss_mib: float | None = None
    loaded_pss_mib: float | None = None  # after the last workload
    pinned: bool = False  # whether the server and its client had cores of their own
    versions: str = ""
    date: str = ""
    machine: str = ""
    cores: int = 0
    command: str = ""
    commit: str = ""
