"""MLServer: a custom runtime of the Open Inference Protocol with adaptive batching.

MLServer joins the requests of a batch by their first axis and takes the other axes from the first of them, so series
of different lengths must arrive padded to one length, with their lengths as a second input.
"""

from __future__ import annotations

from forecaster import Forecaster
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class Forecast(MLModel):
    async def load(self) -> bool:
        self.forecaster = Forecaster()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        values, lengths = (NumpyCodec.decode_input(tensor) for tensor in payload.inputs)
        answers = self.forecaster.predict_padded(values, lengths)
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("forecast", answers)])
