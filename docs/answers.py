"""Draws answers.png, the README's picture: the README's two requests, answered by a running service.

    make serve                                                       # in another shell
    .venv/bin/python docs/answers.py [http://127.0.0.1:8000]         # from the repository's root

The requests are read from the README, so that the picture shows what its commands answer. Needs httpx and matplotlib
(`make install`).
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import httpx
import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from PIL import Image

FOLDER = Path(__file__).resolve().parent
README = (FOLDER.parent / "README.md").read_text(encoding="utf-8")
BLUE, GREY, PALE = "#1f5fa8", "#444444", "#c9d9ec"


def forecast_request() -> dict[str, Any]:
    """The body of the README's forecast."""
    [body] = re.findall(r"/forecast -H '[^']+' -d '(\{.*?\})'\n", README, re.DOTALL)
    request: dict[str, Any] = json.loads(body)
    return request


def draw_forecast(axes: Axes, service: httpx.Client) -> None:
    """The past of the series, and its forecast with the 80 % interval."""
    request = forecast_request()
    [series] = request["inputs"]
    [prediction] = service.post("/forecast", json=request).raise_for_status().json()["predictions"]
    past = np.array([np.nan if value is None else value for value in series["target"]])
    ahead = np.arange(len(past), len(past) + len(prediction["mean"]))
    quantiles = prediction["quantiles"]
    axes.plot(past, color=GREY, marker="o", markersize=3, linewidth=1)
    axes.fill_between(ahead, quantiles["0.1"], quantiles["0.9"], color=PALE, label="80 % interval")
    axes.plot(ahead, quantiles["0.5"], color=BLUE, marker="o", markersize=3, linewidth=1.5, label="median")
    axes.set(xlabel="month", title="POST /forecast: sales, and the next six months")
    axes.legend(loc="upper left", frameon=False)


def draw_digit(picture: Axes, bars: Axes, service: httpx.Client) -> None:
    """The picture of the digit, and the score of each label after each row."""
    path = FOLDER / "seven.png"
    headers = {"content-type": "image/png"}
    query = {"trace": "true"}
    answer = service.post("/classify-digit", content=path.read_bytes(), headers=headers, params=query)
    [prediction] = answer.raise_for_status().json()["predictions"]
    with Image.open(path) as image:
        picture.imshow(image, cmap="gray")
    picture.set(xticks=[], yticks=[], title="POST /classify-digit")
    rows = [step["row"] for step in prediction["trace"]]
    scores = [step["score"] for step in prediction["trace"]]
    labels = [step["label"] for step in prediction["trace"]]
    bars.barh(rows, scores, color=[BLUE if label == prediction["label"] else PALE for label in labels])
    for row, score, label in zip(rows, scores, labels, strict=True):
        bars.text(score + 0.02, row, str(label), va="center", fontsize=5.5, color=GREY)
    bars.set(
        ylim=(rows[-1] + 1, 0), xlim=(0, 1.12), ylabel="rows read", xlabel="score", title="the label after each row"
    )


def main() -> None:
    """Ask the service and write the picture."""
    address = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8000"
    plt.rcParams.update({"font.size": 8, "axes.spines.top": False, "axes.spines.right": False})
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(9, 2.9), width_ratios=(4, 1.5, 2), layout="constrained")
    with httpx.Client(base_url=address, timeout=60) as service:
        draw_forecast(left, service)
        draw_digit(middle, right, service)
    figure.savefig(FOLDER / "answers.png", dpi=130)


if __name__ == "__main__":
    main()
