"""Tables as people export them (CSV, Parquet) to series, and forecasts to tables.

What a file means is found by looking, reported in the answer (`TableReading`), and can be said otherwise in the query.
It imports the other modules of `codec` and `contract`. `service.codec.forecast` calls it for bodies that are tables.
"""
