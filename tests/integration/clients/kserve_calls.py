"""kserve's REST client as it comes: health, forecasts as JSON and as binary tensors, an error. Prints one document."""

import asyncio
import json
import sys

import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig

URL = sys.argv[1]


def request(name: str, binary: bool) -> InferRequest:
    tensor = InferInput(name, [1, 5], "FP64")
    tensor.set_data_from_numpy(np.array([[1, 2, 3, 4, 5.0]]), binary_data=binary)
    return InferRequest("forecaster", [tensor])


async def main() -> None:
    client = InferenceRESTClient(RESTConfig(protocol="v2", retries=0))
    means = []
    for binary in (False, True):
        answer = await client.infer(URL, request("target", binary), model_name="forecaster")
        [mean] = [output for output in answer.outputs if output.name == "mean"]
        means.append(mean.as_numpy().ravel().tolist())
    try:
        await client.infer(URL, request("price", False), model_name="forecaster")
        error = ""
    except Exception as failure:
        error = str(failure)
    ready = [await client.is_model_ready(URL, "forecaster"), await client.is_server_ready(URL)]
    print(json.dumps({"live": await client.is_server_live(URL), "ready": ready, "means": means, "error": error}))


asyncio.run(main())
