"""tritonclient as it comes: forecasts, state, digits, binary and JSON tensors, errors. Prints one document."""

import json
import sys

import numpy as np
import tritonclient.http as triton

client = triton.InferenceServerClient(sys.argv[1].removeprefix("http://"))
values = np.array([[1, 2, 3, 4, 5, 6], [5, 4, np.nan, 3, 2, 1]])


def tensor(name: str, data: np.ndarray, datatype: str, binary: bool = True) -> triton.InferInput:
    made = triton.InferInput(name, list(data.shape), datatype)
    made.set_data_from_numpy(data, binary_data=binary)
    return made


def mean(*inputs: triton.InferInput, binary: bool = True, **options: object) -> list[list[float]]:
    outputs = [triton.InferRequestedOutput("mean", binary_data=binary)]
    return client.infer("forecaster", list(inputs), outputs=outputs, **options).as_numpy("mean").tolist()


def error(model: str, *inputs: triton.InferInput) -> str:
    try:
        client.infer(model, list(inputs))
    except triton.InferenceServerException as failure:
        return str(failure)
    return ""


steps = {"prediction_length": 3}
packed = {"request_compression_algorithm": "gzip", "response_compression_algorithm": "deflate"}
began = client.infer("forecaster", [tensor("target", values, "FP64")], parameters={"return_state": True})
state = began.as_numpy("state")
next_value = tensor("target", np.array([[7.0], [0.0]]), "FP64")
rows = np.zeros((1, 28, 28), np.float32)
rows[0, 4:24, 13:15] = 255
digits = client.infer(
    "digits",
    [tensor("rows", rows, "FP32")],
    outputs=[triton.InferRequestedOutput("label"), triton.InferRequestedOutput("probabilities", class_count=2)],
)
print(
    json.dumps(
        {
            "live": client.is_server_live() and client.is_server_ready(),
            "ready": [client.is_model_ready(name) for name in ("forecaster", "digits", "nobody")],
            "models": sorted(model["name"] for model in client.get_model_repository_index()),
            "means": [
                mean(tensor("target", values, "FP64", binary), binary=binary, parameters=steps, **options)
                for binary in (True, False)
                for options in ({}, packed)
            ],
            "continued": mean(next_value, tensor("state", state, "BYTES"), parameters=steps),
            "label": digits.as_numpy("label").tolist(),
            "classes": len(digits.as_numpy("probabilities")[0]),
            "errors": [error("nobody", next_value), error("forecaster", tensor("rows", rows, "FP32"))],
            "counted": client.get_inference_statistics("forecaster")["model_stats"][0]["inference_count"],
        }
    )
)
