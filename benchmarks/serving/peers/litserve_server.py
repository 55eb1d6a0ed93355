"""LitServe: batches of up to 64 that wait at most a millisecond, and as many API processes as workers."""

from __future__ import annotations

import litserve
from forecaster import Forecaster, port, workers


class Forecast(litserve.LitAPI):
    def setup(self, device: str) -> None:  # noqa: ARG002 (called by keyword)
        self.forecaster = Forecaster()

    def decode_request(self, request: dict[str, list[float]]) -> list[float]:
        return request["values"]

    def batch(self, inputs: list[list[float]]) -> list[list[float]]:
        return inputs  # of different lengths: `predict` pads them

    def predict(self, inputs: list[list[float]]) -> list[float]:
        return self.forecaster.predict(inputs)

    def unbatch(self, output: list[float]) -> list[float]:
        return output

    def encode_response(self, output: float) -> dict[str, float]:
        return {"forecast": output}


if __name__ == "__main__":
    api = Forecast(max_batch_size=64, batch_timeout=0.001)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=workers(), fast_queue=True)
    server.run(
        host="127.0.0.1",
        port=port(),
        num_api_servers=workers(),
        log_level="warning",
        access_log=False,
        generate_client_file=False,
    )
