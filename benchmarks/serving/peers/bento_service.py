"""BentoML: its adaptive batching; one request carries a batch of one series."""

from __future__ import annotations

import bentoml
from forecaster import Forecaster, workers


@bentoml.service(workers=workers(), traffic={"timeout": 30}, logging={"access": {"enabled": False}})
class Forecast:
    def __init__(self) -> None:
        self.forecaster = Forecaster()

    @bentoml.api(batchable=True, max_batch_size=128)
    def forecast(self, values: list[list[float]]) -> list[float]:
        return self.forecaster.predict(values)
