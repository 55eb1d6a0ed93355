"""Unmodified clients from the package index, where they are installed: each is the judge of its protocol."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec

import numpy as np
import pytest

from tests.integration.servers import ROOT, Server, running

pytestmark = pytest.mark.skipif(
    not any(map(find_spec, ("tritonclient", "nixtla"))), reason="neither tritonclient nor nixtla is installed"
)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running(ROOT / "models") as server:
        yield server.settled()


def test_tritonclient(server: Server) -> None:
    triton = pytest.importorskip("tritonclient.http", reason="tritonclient is not installed")
    client = triton.InferenceServerClient(server.url.removeprefix("http://"))
    assert client.is_server_live()
    assert client.is_model_ready("forecaster")
    assert not client.is_model_ready("nobody")
    values = np.array([[1, 2, 3, 4, 5, 6], [5, 4, np.nan, 3, 2, 1]])
    tensor = triton.InferInput("target", [2, 6], "FP64")
    means = []
    for binary in (True, False):
        tensor.set_data_from_numpy(values, binary_data=binary)
        outputs = [triton.InferRequestedOutput("mean", binary_data=binary)]
        options = {"parameters": {"prediction_length": 3}, "request_compression_algorithm": "gzip"}
        means.append(client.infer("forecaster", [tensor], outputs=outputs, **options).as_numpy("mean"))
    np.testing.assert_array_equal(*means)
    assert means[0].shape == (2, 3)
    with pytest.raises(Exception, match="there is no model 'nobody'"):
        client.infer("nobody", [tensor])


def test_nixtla(server: Server) -> None:
    nixtla = pytest.importorskip("nixtla", reason="nixtla is not installed")
    pandas = pytest.importorskip("pandas")
    client = nixtla.NixtlaClient(api_key="none", base_url=server.url)
    days = pandas.date_range("2024-01-01", periods=90, freq="D")
    frame = pandas.DataFrame({"unique_id": "a", "ds": days, "y": np.arange(90) % 7 + 10.0})
    forecast = client.forecast(frame, h=7, freq="D", level=[80])
    assert list(forecast.columns[-3:]) == ["TimeGPT", "TimeGPT-hi-80", "TimeGPT-lo-80"] or len(forecast.columns) == 5
    np.testing.assert_allclose(forecast["TimeGPT"], (np.arange(90, 97) % 7) + 10.0, atol=0.5)
    assert len(client.cross_validation(frame, h=7, n_windows=2, freq="D")) == 14
