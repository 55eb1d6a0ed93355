"""NixtlaClient as it comes, on frames of pandas and polars, with a body of 2,500 series. Prints one document."""

import json
import logging
import sys

import numpy as np
import pandas as pd
import polars as pl
from nixtla import NixtlaClient

logging.disable(logging.INFO)
client = NixtlaClient(api_key="any", base_url=sys.argv[1])
days = pd.date_range("2024-01-01", periods=90, freq="D")


def frame(*names: str) -> pd.DataFrame:
    parts = [
        pd.DataFrame({"unique_id": name, "ds": days, "y": np.arange(90) % 7 + 10.0 * number})
        for number, name in enumerate(names, 1)
    ]
    return pd.concat(parts, ignore_index=True)


def error(**options: object) -> str:
    try:
        client.forecast(frame("a"), freq="D", **options)
    except Exception as failure:
        return str(failure)
    return ""


two = frame("a", "b")
level = client.forecast(two, h=7, freq="D", level=[80, 97.5])
spoilt = frame("a")
spoilt.loc[60, "y"] = 99.0
anomalies = client.detect_anomalies(spoilt, freq="D")
document = {
    "key": client.validate_api_key(),
    "columns": sorted(level.columns),
    "mean": level[level.unique_id == "a"]["TimeGPT"].tolist(),
    "polars": client.forecast(pl.from_pandas(two), h=7, freq="1d")["TimeGPT"].to_list()[:7],
    "quantiles": sorted(client.forecast(two, h=3, freq="D", quantiles=[0.05, 0.1, 0.5, 0.9, 0.95]).columns),
    "history": len(client.forecast(two, h=3, freq="D", add_history=True)),
    "cross_validation": len(client.cross_validation(two, h=7, n_windows=2, freq="D")),
    "anomalies": anomalies[anomalies.anomaly.astype(bool)].ds.astype(str).tolist(),
    "many": len(client.forecast(frame(*(f"s{number}" for number in range(2500))), h=7, freq="D")),
    "errors": [error(h=3, finetune_steps=3), error(h=3, model="nobody")],
}
print(json.dumps(document))
