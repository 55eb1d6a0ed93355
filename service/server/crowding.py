"""Which connections are closed where a process has as many as it may open files for.

One client that opens thousands of connections and leaves them would keep all others out. So room is made by closing
those that wait for their clients, which HTTP allows at any time (RFC 9112, 9.5): of the address that has most of them,
those that wait longest.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable

from service.server.http_protocol import Protocol


def close_waiting(connections: Iterable[object], count: int) -> int:
    """Close so many of `connections`, or as many as wait for their clients; returns their number."""
    candidates = [
        (since, number, connection)
        for number, connection in enumerate(connections)
        if isinstance(connection, Protocol) and (since := connection.waits_since) is not None
    ]
    addresses = Counter(connection.address for _, _, connection in candidates)
    if not addresses:
        return 0
    ((address, _),) = addresses.most_common(1)
    of_address = (candidate for candidate in candidates if candidate[2].address == address)
    return sum(connection.make_room() for _, _, connection in heapq.nsmallest(count, of_address))
