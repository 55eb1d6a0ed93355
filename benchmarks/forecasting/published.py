"""Published figures of other methods, for comparison with the measured ones; this project measured none of them.

`RELATIVE` are geometric means over the sets of a benchmark, relative to its seasonal naive forecast with intervals, the
same base as that of the measured figures. Those benchmarks have other sets than the files measured here, so that they
give an order of magnitude, not a ranking.

The methods and their benchmarks: Chronos and its zero-shot sets (Ansari et al. 2024, arXiv:2403.07815), TiRex (Auer et
al. 2025, arXiv:2505.23719), TempoPFN (Moroshan et al. 2025, arXiv:2510.25502), GIFT-Eval (Aksu et al. 2024,
arXiv:2410.10393), the M4 competition (Makridakis et al. 2020).
"""

from __future__ import annotations

from dataclasses import dataclass

CHRONOS = "Chronos zero-shot benchmark, 27 sets"
GIFT = "GIFT-Eval"


@dataclass(frozen=True)
class Published:
    """One row of a published table: MASE and WQL relative to seasonal naive."""

    name: str
    parameters: str
    mase: float
    wql: float
    benchmark: str = CHRONOS


RELATIVE = (
    Published("TiRex", "35 M", 0.778, 0.599),
    Published("Chronos-Bolt base", "205 M", 0.795, 0.624),
    Published("Chronos-Bolt small", "48 M", 0.823, 0.636),
    Published("Chronos-Bolt mini", "21 M", 0.827, 0.644),
    Published("Chronos-Bolt tiny", "9 M", 0.849, 0.668),
    Published("AutoTheta", "–", 0.859, 0.793),
    Published("AutoARIMA", "–", 0.869, 0.741),
    Published("AutoETS", "–", 0.943, 0.814),
    Published("TempoPFN", "38 M", 0.788, 0.533, GIFT),
)
SOURCES = (
    "Chronos and its benchmark: arXiv:2403.07815; TiRex: arXiv:2505.23719; TempoPFN: arXiv:2510.25502; GIFT-Eval: "
    "arXiv:2410.10393; M4: Makridakis, Spiliotis and Assimakopoulos 2020."
)
IN_PICTURE = ("TiRex", "Chronos-Bolt small", "Chronos-Bolt tiny", "TempoPFN")

# MASE on the official test part of the whole set; the season of the naive forecast is the lag of the MASE denominator.
OFFICIAL: dict[str, dict[str, float]] = {
    "m4_hourly": {
        "seasonal naive": 1.193,
        "M4's Theta": 2.455,
        "M4 winner": 0.893,
        "best M4 entry": 0.801,
        "TempoPFN": 0.808,
        "Chronos-Bolt small": 0.866,
        "TiRex": 0.722,
    },
    "m4_weekly": {
        "seasonal naive": 2.777,
        "M4's Theta": 2.637,
        "M4 winner": 2.356,
        "best M4 entry": 2.107,
        "TempoPFN": 2.493,
        "Chronos-Bolt small": 2.112,
        "TiRex": 1.990,
    },
    "hospital": {
        "seasonal naive": 0.921,
        "M4's Theta": 0.761,
        "TempoPFN": 0.763,
        "Chronos-Bolt small": 0.801,
        "TiRex": 0.756,
    },
}
