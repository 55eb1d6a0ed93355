"""MCP's own client as it comes, in the protocol of today and the one before. Prints one document."""

import asyncio
import base64
import json
import sys
from pathlib import Path
from typing import Any

from mcp.client.client import Client

URL, PICTURE = sys.argv[1], base64.b64encode(Path(sys.argv[2]).read_bytes()).decode()


async def calls(mode: str) -> dict[str, Any]:
    async with Client(f"{URL}/mcp", mode=mode) as client:
        forecast = await client.call_tool("forecast", {"target": [1, 2, 3, 4, 5, 6], "prediction_length": 2})
        fault = await client.call_tool("forecast", {"target": ["x"]})
        weeks = [float(day % 7) for day in range(60)]
        backtest = await client.call_tool("backtest", {"target": weeks, "prediction_length": 7})
        digit = await client.call_tool("classify_digit", {"image": PICTURE})
        return {
            "tools": sorted(tool.name for tool in (await client.list_tools()).tools),
            "mean": forecast.structured_content["mean"],
            "fault": [fault.is_error, fault.content[0].text],
            "best": backtest.structured_content["best"],
            "label": digit.structured_content["label"],
        }


print(json.dumps({mode: asyncio.run(calls(mode)) for mode in ("auto", "legacy")}))
