"""Ray Serve: `@serve.batch` in one or more replicas behind its HTTP proxy, a cluster of this machine alone."""

from __future__ import annotations

import os
import signal
import threading

import ray
from forecaster import Forecaster, port, workers
from ray import serve
from starlette.requests import Request


@serve.deployment(num_replicas=workers(), max_ongoing_requests=1024, ray_actor_options={"num_cpus": 0})
class Forecast:
    def __init__(self) -> None:
        self.forecaster = Forecaster()

    @serve.batch(max_batch_size=128, batch_wait_timeout_s=0.001)
    async def predict(self, series: list[list[float]]) -> list[float]:
        return self.forecaster.predict(series)

    async def __call__(self, request: Request) -> dict[str, float]:
        return {"forecast": await self.predict((await request.json())["values"])}


if __name__ == "__main__":
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=100 << 20,
        _node_ip_address="127.0.0.1",
        _temp_dir=os.environ["BENCH_SCRATCH"],
    )
    serve.start(
        http_options={"host": "127.0.0.1", "port": port(), "access_log": False},
        logging_config={"enable_access_log": False},
    )
    serve.run(Forecast.bind())
    stop.wait()
    serve.shutdown()
    ray.shutdown()
