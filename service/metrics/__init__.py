"""Counters, gauges and histograms that several processes write, and the page that Prometheus reads.

It imports nothing else of this project. `registry`, `api` and `server` record into it.
"""
