"""mosec: dynamic batching in its Rust front, the model in worker processes. The address comes as arguments."""

from __future__ import annotations

from forecaster import Forecaster, workers
from mosec import Server, Worker


class Forecast(Worker):
    def __init__(self) -> None:
        self.forecaster = Forecaster()

    def forward(self, data: list[dict[str, list[float]]]) -> list[dict[str, float]]:
        return [{"forecast": value} for value in self.forecaster.predict([one["values"] for one in data])]


if __name__ == "__main__":
    server = Server()
    server.append_worker(Forecast, num=workers(), max_batch_size=128, max_wait_time=1)
    server.run()
