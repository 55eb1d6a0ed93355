"""Worked examples of requests and answers, which the OpenAPI document shows; a test sends the requests."""

from __future__ import annotations

from typing import Any

Examples = dict[str, dict[str, Any]]  # name -> summary and value

_DIGEST = "sha256:" + "0123456789abcdef" * 4
_EXAMPLE_ROW = [0] * 11 + [84, 185, 254, 254, 185, 84] + [0] * 11

FORECAST_REQUESTS: Examples = {
    "next": {"summary": "the next value", "value": {"inputs": [{"target": [1, 2, 3, 4, 5]}]}},
    "season": {
        "summary": "two series, a year ahead, with missing values and history",
        "value": {
            "model": "forecaster",
            "inputs": [
                {"item_id": "store-1", "target": [112, 118, None, 129, 121, 135, 148, 148, 136, 119, 104, 118, 115]},
                {"target": [5, 4, 6, 5, 7]},
            ],
            "parameters": {
                "prediction_length": 12,
                "quantile_levels": [0.1, 0.5, 0.9],
                "season_length": 12,
                "include": ["history"],
                "timeout_ms": 2000,
            },
        },
    },
    "state": {
        "summary": "answer a token too: sent back as `state`, with new values only, the series goes on from there",
        "value": {"inputs": [{"target": [1, 2, 3, 4, 5]}], "parameters": {"return_state": True}},
    },
}
FORECAST_ANSWER: dict[str, Any] = {
    "model": "forecaster",
    "model_version": "1",
    "model_digest": _DIGEST,
    "predictions": [
        {
            "item_id": None,
            "mean": [6.0],
            "quantiles": {"0.1": [5.6], "0.5": [6.0], "0.9": [6.4]},
            "context": {"observations": 5, "missing": 0, "used": 5, "season_length": 1},
            "state": None,
            "history": None,
            "warnings": [],
        }
    ],
}
DIGIT_REQUESTS: Examples = {
    "rows": {
        "summary": "rows, read one by one until the answer is sure",
        "value": {
            "inputs": [{"item_id": "a", "rows": [_EXAMPLE_ROW] * 3}],
            "parameters": {"trace": True, "stop_at_confidence": 0.99},
        },
    }
}
DIGIT_ANSWER: dict[str, Any] = {
    "model": "digits",
    "model_version": "1",
    "model_digest": _DIGEST,
    "predictions": [
        {
            "item_id": "a",
            "label": 1,
            "score": 0.82,
            "probabilities": [0.02, 0.82, 0.02, 0.02, 0.02, 0.02, 0.02, 0.02, 0.02, 0.02],
            "rows_used": 1,
            "trace": [{"row": 1, "label": 1, "score": 0.82}],
            "state": None,
            "preprocessing": None,
            "warnings": [],
        }
    ],
}

_SCORES = {"mase": 0.81, "wql": 0.052, "coverage": 0.79}
_NAIVE_SCORES = {"mase": 1.2, "wql": 0.081, "coverage": 0.83}
_WEEKS = [5, 6, 7, 6, 9, 14, 12] * 6
BACKTEST_REQUESTS: Examples = {
    "weeks": {
        "summary": "the last two weeks, each forecast from the weeks before",
        "value": {
            "inputs": [{"item_id": "store-1", "target": _WEEKS, "start": "2024-01-01", "freq": "D"}],
            "parameters": {"prediction_length": 7, "windows": 2},
        },
    }
}
BACKTEST_ANSWER: dict[str, Any] = {
    "model": "forecaster",
    "model_version": "1",
    "model_digest": _DIGEST,
    "prediction_length": 7,
    "methods": {"forecaster": _SCORES, "naive": _NAIVE_SCORES},
    "best": "forecaster",
    "series": [
        {
            "item_id": "store-1",
            "windows": 2,
            "season_length": 7,
            "methods": {"forecaster": _SCORES, "naive": _NAIVE_SCORES},
            "warnings": [],
        }
    ],
}
ANOMALY_REQUESTS: Examples = {
    "weeks": {
        "summary": "values outside their 99 % interval",
        "value": {"inputs": [{"item_id": "store-1", "target": [*_WEEKS, 60, 7]}], "parameters": {"level": 0.99}},
    }
}
ANOMALY_ANSWER: dict[str, Any] = {
    "model": "forecaster",
    "model_version": "1",
    "model_digest": _DIGEST,
    "level": 0.99,
    "predictions": [
        {
            "item_id": "store-1",
            "judged": 36,
            "anomalies": [{"index": 42, "value": 60.0, "lower": 4.1, "upper": 7.2, "score": 34.6}],
        }
    ],
}
