"""PyTriton: NVIDIA Triton's HTTP front and dynamic batching, the model as a Python function in this process.

Triton joins only requests of one shape, so series arrive padded to one length, with their lengths as a second input.
`BENCH_PROCESSES` instances of the function run in threads of this process: PyTriton has no other way to run several.
"""

from __future__ import annotations

import os

import numpy as np
from forecaster import Forecaster, port, workers
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig
from tritonclient.utils import InferenceServerException

MAX_BATCH = 512  # Triton refuses a request of more series, and the bulk workload sends 512
ATTEMPTS = 5  # on a busy machine a start fails now and then: Triton waits one second for the socket of PyTriton
MAX_DELAY_US = 1000  # for which a request waits for others, as with the other servers


def instance() -> object:
    forecaster = Forecaster()

    @batch
    def forecast(values: np.ndarray, lengths: np.ndarray) -> dict[str, np.ndarray]:
        return {"forecast": forecaster.predict_padded(values, lengths)}

    return forecast


def serve() -> None:
    """Serve until a signal; an exception where Triton does not start."""
    config = TritonConfig(
        http_address="127.0.0.1",
        http_port=port(),
        grpc_address="127.0.0.1",
        grpc_port=int(os.environ["BENCH_GRPC_PORT"]),
        allow_metrics=False,
    )
    with Triton(config=config) as triton:
        triton.bind(
            model_name="lstm",
            infer_func=[instance() for _ in range(workers())],
            inputs=[
                Tensor(name="values", dtype=np.float32, shape=(-1,)),
                Tensor(name="lengths", dtype=np.int64, shape=(1,)),
            ],
            outputs=[Tensor(name="forecast", dtype=np.float32, shape=(1,))],
            config=ModelConfig(
                max_batch_size=MAX_BATCH,
                batcher=DynamicBatcher(max_queue_delay_microseconds=MAX_DELAY_US),
            ),
            strict=False,
        )
        triton.serve()


if __name__ == "__main__":
    for attempt in range(ATTEMPTS):
        try:
            serve()
            break
        except InferenceServerException:
            if attempt == ATTEMPTS - 1:
                raise
