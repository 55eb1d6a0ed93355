"""mosec: dynamic batching in its Rust front, the model in worker processes. The address comes as arguments.

BENCH_TUNED=1 takes msgspec instead of the standard library for JSON, and batches of at most 64, as a user of mosec
would tune it for short requests.
"""

from __future__ import annotations

import os
from typing import Any

import msgspec
from forecaster import Forecaster, workers
from mosec import Server, Worker

TUNED = os.environ.get("BENCH_TUNED") == "1"


class Series(msgspec.Struct):
    values: list[float]


class Forecast(Worker):
    def __init__(self) -> None:
        self.forecaster = Forecaster()

    def forward(self, data: list[dict[str, list[float]]]) -> list[dict[str, float]]:
        return [{"forecast": value} for value in self.forecaster.predict([request["values"] for request in data])]


class TunedForecast(Worker):
    def __init__(self) -> None:
        self.forecaster = Forecaster()
        self.decoder = msgspec.json.Decoder(Series)
        self.encoder = msgspec.json.Encoder()

    def deserialize(self, data: bytes) -> Series:
        return self.decoder.decode(data)

    def serialize(self, data: Any) -> bytes:
        return self.encoder.encode(data)

    def forward(self, data: list[Series]) -> list[dict[str, float]]:
        return [{"forecast": value} for value in self.forecaster.predict([request.values for request in data])]


if __name__ == "__main__":
    server = Server()
    if TUNED:
        server.append_worker(TunedForecast, num=workers(), max_batch_size=64, max_wait_time=1)
    else:
        server.append_worker(Forecast, num=workers(), max_batch_size=128, max_wait_time=1)
    server.run()
