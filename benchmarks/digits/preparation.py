"""One picture to the rows of its likeliest hypothesis, as the service makes them; for benchmarks and tests."""

from __future__ import annotations

from service.imaging.decode import decode
from service.imaging.filters import Plane
from service.imaging.hypotheses import hypotheses
from service.imaging.report import Preparation


def prepare(data: bytes, max_pixels: int) -> tuple[Plane, Preparation]:
    """Rows (28, 28), ink 0..1, and the report, of the likeliest hypothesis; raises as `decode` and `hypotheses`."""
    found, refusal = hypotheses(decode(data, max_pixels))
    if refusal is not None:
        raise refusal
    return found[0].rows, found[0].report
