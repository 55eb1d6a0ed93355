"""utilsforecast's scores of one method on one file, as JSON; runs in the peers' environment.

`python utilsforecast_scores.py answers.npz`. Different definitions are converted: sMAPE is 0..1 there and 0..200 here;
the weighted quantile loss is over all windows of the file, so all of them are passed as one series.
"""

from __future__ import annotations

import json
import sys

import numpy as np
import pandas as pd
from utilsforecast import losses


def main(file: str) -> None:
    with np.load(file) as z:
        data = {name: z[name] for name in z.files}
    ids = np.repeat(np.arange(len(data["lag"])), np.diff(data["future_start"]))
    frame = pd.DataFrame({"unique_id": ids, "ds": data["ahead"], "y": data["future"]})
    names = {level: f"q{level}" for level in data["levels"]}
    for column, name in enumerate(names.values()):
        frame[name] = data["quantiles"][:, column]
    past = pd.DataFrame(
        {"unique_id": np.repeat(np.arange(len(data["lag"])), np.diff(data["past_start"])), "y": data["past"]}
    )
    past["ds"] = past.groupby("unique_id").cumcount()
    result = {
        "mase": _mase(frame, past, data["lag"]),
        "mase_one_step": _mase(frame[frame["ds"] == 0], past, data["lag"]),
        "smape": float(200 * losses.smape(frame, ["q0.5"])["q0.5"].mean()),
    }
    pooled = frame.assign(unique_id=0, ds=np.arange(len(frame)))
    deciles = [level for level in data["levels"] if 0.09 < level < 0.91]
    loss = losses.scaled_crps(pooled, {"model": [names[level] for level in deciles]}, quantiles=np.array(deciles))
    result["wql"] = float(loss["model"].iloc[0])
    for level, low, high in ((80, 0.1, 0.9), (95, 0.025, 0.975)):
        interval = {f"model-lo-{level}": pooled[names[low]], f"model-hi-{level}": pooled[names[high]]}
        result[f"coverage{level}"] = float(
            losses.coverage(pooled.assign(**interval), ["model"], level)["model"].iloc[0]
        )
    print(json.dumps(result))


def _mase(frame: pd.DataFrame, past: pd.DataFrame, lags: np.ndarray) -> float:
    """Mean over the windows with a past that is not constant."""
    values = []
    for lag in np.unique(lags):
        chosen = np.flatnonzero(lags == lag)
        changes = past.groupby("unique_id")["y"].apply(lambda y, lag=lag: y.diff(lag).abs().sum())
        chosen = [i for i in chosen if changes[i] > 0]
        part, past_part = frame[frame["unique_id"].isin(chosen)], past[past["unique_id"].isin(chosen)]
        if len(part):
            values += losses.mase(part, ["q0.5"], seasonality=int(lag), train_df=past_part)["q0.5"].tolist()
    return float(np.mean(values))


if __name__ == "__main__":
    main(sys.argv[1])
