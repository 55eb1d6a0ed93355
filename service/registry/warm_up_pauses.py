"""A warm-up makes way for requests: both need the same processors, and its calls tell nothing while they are shared."""

from __future__ import annotations

import time
from collections.abc import Callable

QUIET_SECONDS = 0.1  # since the last request, after which the next call of a warm-up is made
MAX_SECONDS = 5.0  # of pauses in the warm-up of one version: requests may never end


class WarmUpPauses:
    """The pauses in the warm-up of one version."""

    def __init__(self, seconds_since_request: Callable[[], float], sleep: Callable[[float], None] = time.sleep) -> None:
        """`seconds_since_request`: how long ago the last request came, 0 while any is computed; called in a thread."""
        self._seconds_since_request = seconds_since_request
        self._sleep = sleep
        self.remaining_seconds = MAX_SECONDS

    def wait(self, is_given_up: Callable[[], bool]) -> None:
        """Wait while requests come, unless the warm-up is given up meanwhile."""
        while self.remaining_seconds > 0 and not is_given_up():
            seconds = QUIET_SECONDS - self._seconds_since_request()
            if seconds <= 0:
                return
            self._sleep(seconds)
            self.remaining_seconds -= seconds
