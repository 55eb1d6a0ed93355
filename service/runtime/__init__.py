"""The operating system as the service meets it: logs, memory of the C library, CPU quota, processes of one service.

It imports nothing else of this project. `registry`, `api`, `server` and the command line call it.
"""
