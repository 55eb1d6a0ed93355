"""HTTP and WebSocket: dispatch, endpoints, problem documents, the OpenAPI description.

It imports every package below it and not `server`; FastAPI and Starlette are used here only. `server` runs the
application.
"""
