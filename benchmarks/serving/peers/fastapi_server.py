"""The FastAPI service that a tutorial would write: pydantic models, the network inline in a `def` endpoint."""

from __future__ import annotations

from fastapi import FastAPI
from forecaster import Forecaster
from pydantic import BaseModel

app = FastAPI()
forecaster = Forecaster()


class Series(BaseModel):
    values: list[float]


class Forecast(BaseModel):
    forecast: float


class ManySeries(BaseModel):
    series: list[list[float]]


class Forecasts(BaseModel):
    forecasts: list[float]


@app.post("/forecast")
def forecast(request: Series) -> Forecast:
    return Forecast(forecast=forecaster.predict([request.values])[0])


@app.post("/bulk")
def bulk(request: ManySeries) -> Forecasts:
    return Forecasts(forecasts=forecaster.predict(request.series))
