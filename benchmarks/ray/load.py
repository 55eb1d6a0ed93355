"""Load on a cluster until SIGTERM, then one document of how every request ended. `python -m benchmarks.ray.load URL …`.

A request that was sent ends in an answer, in an error that its client sees (a status, a reset connection), or it
vanishes: nothing comes for a minute.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import time
from collections import Counter
from statistics import quantiles

import aiohttp

PATIENCE = 60.0  # seconds; then a request has vanished


class Load:
    """Closed loop (`rate` 0: each of `clients` sends when it has its answer) or `rate` requests a second."""

    def __init__(self, url: str, clients: int, rate: float, series: int, values: int) -> None:
        self._url = f"{url}/forecast"
        self._clients = clients
        self._interval = clients / rate if rate else 0.0
        history = [float(step % 12 + step / 50) for step in range(values)]
        self._body = json.dumps({"inputs": [{"target": history}] * series, "parameters": {"prediction_length": 12}})
        self._stopping = asyncio.Event()
        self.ends: Counter[str] = Counter()
        self.seconds: list[float] = []
        self.first_failure: float | None = None
        self.last_failure: float | None = None

    async def run(self) -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._stopping.set)
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector) as session:
            await asyncio.gather(*(self._client(session, number) for number in range(self._clients)))

    async def _client(self, session: aiohttp.ClientSession, number: int) -> None:
        due = time.monotonic() + self._interval * number / self._clients
        while not self._stopping.is_set():
            if self._interval:
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                due += self._interval
            await self._request(session)

    async def _request(self, session: aiohttp.ClientSession) -> None:
        start = time.monotonic()
        headers = {"Content-Type": "application/json"}
        timeout = aiohttp.ClientTimeout(total=PATIENCE)
        try:
            async with session.post(self._url, data=self._body, headers=headers, timeout=timeout) as answer:
                content = await answer.read()
                end = "answered" if answer.status == 200 and b"predictions" in content else f"status {answer.status}"
        except TimeoutError:
            end = "vanished"
        except aiohttp.ClientError as error:
            end = type(error).__name__
        self.ends[end] += 1
        if end == "answered":
            self.seconds.append(time.monotonic() - start)
            return
        self.first_failure = self.first_failure or time.time()
        self.last_failure = time.time()
        if not self._interval:
            await asyncio.sleep(0.05)  # a client that is refused does not come back at once


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--rate", type=float, default=0.0)
    parser.add_argument("--series", type=int, default=1)
    parser.add_argument("--values", type=int, default=50)
    arguments = parser.parse_args()
    load = Load(arguments.url, arguments.clients, arguments.rate, arguments.series, arguments.values)
    start = time.monotonic()
    await load.run()
    cuts = quantiles(load.seconds, n=100) if len(load.seconds) > 1 else [0.0] * 99
    print(
        json.dumps(
            {
                "seconds": time.monotonic() - start,
                "ends": load.ends,
                "p50_ms": cuts[49] * 1e3,
                "p99_ms": cuts[98] * 1e3,
                "first_failure": load.first_failure,
                "last_failure": load.last_failure,
            }
        )
    )


if __name__ == "__main__":
    asyncio.run(main())
