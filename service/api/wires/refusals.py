"""Refusals before a route, in the form that the clients of each protocol read."""

from __future__ import annotations

import msgspec

from service.api.problems import Answer, render
from service.codec.common import JSON
from service.contract.errors import RitmoError

_JSON_RPC_REFUSAL = -32000  # the first of the codes that JSON-RPC leaves to servers
_NAMES = ("/ping", "/invocations", "/validate_api_key", "/model_params")


def refuse(error: RitmoError, path: str, request_id: str) -> Answer:
    """The answer to a request for `path` that ended in `error` before its route."""
    return reworded(render(error, request_id), path)


def reworded(answer: Answer, path: str) -> Answer:
    """A problem document in the form that the clients who ask for `path` read.

    The Open Inference Protocol, SageMaker and Nixtla read JSON with `error` and `detail`, the Model Context Protocol an
    error of JSON-RPC; all others get the problem document.
    """
    is_rpc = path == "/mcp"
    if not is_rpc and path not in _NAMES and path != "/v2" and not path.startswith("/v2/"):
        return answer
    problem = msgspec.json.decode(answer.body)
    if is_rpc:
        fault = {"code": _JSON_RPC_REFUSAL, "message": problem["detail"], "data": {"code": problem["code"]}}
        document = {"jsonrpc": "2.0", "id": None, "error": fault}
    else:
        document = problem | {"error": problem["detail"]}
    headers = [(name, JSON.encode() if name == b"content-type" else value) for name, value in answer.headers]
    return Answer(answer.status, headers, msgspec.json.encode(document))
