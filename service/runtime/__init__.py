"""The machine as the service meets it: logs, memory, CPU quota, processes of one service, functions in C.

It imports nothing else of this project. `backend`, `batching`, `codec`, `registry`, `api`, `server` and the command
line call it.
"""
