"""Everything that shapes the training of a digit reader, and the stages of the committed model.

`teacher` and `teacher-2` are convolutional networks over whole images; `labels` is the reader, trained on labels alone;
the rounds `taught`, `taught-2` … train it on with the teachers' answers added to the labels. The rounds `wide`,
`wide-2` … widen what it reads (other levels of paper and ink, displays, unusual pens, other crops), with the reader
that they begin from as their teacher. The round `signs` shows it more of what is no digit, and parts of
squared paper and dense fog besides; again with the reader before them as teacher.
`judge` is a second network on the reader's hidden units, which says what is no digit.

The names of the fields are options of the command and keys of the `knobs` of a record, so they do not change.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from training.digits.augment import Distortion


@dataclass(frozen=True)
class Config:
    """One stage of the training."""

    sizes: tuple[str, ...] = ("256x1",)  # readers trained side by side on the same batches, see `train.build`
    epochs: float = 44.0
    batch: int = 128
    peak: float = 3e-3  # peak learning rate
    weight_decay: float = 0.01
    warmup: float = 0.1  # share of the steps
    dropout: float = 0.2
    smoothing: float = 0.03  # of the labels
    ema: float = 0.999  # decay of the averaged weights
    free: float = 0.2  # share of the batches on free canvases
    emphasis: float = 2.0  # the weight of a row grows with this power of the share of the digit above it
    final: float = 2.0  # extra weight of the last row
    distilled: float = 0.7  # share of the teachers' answer in the target of a complete digit
    own: bool = False  # the reader that a round begins from is one of its teachers
    every_row: bool = False  # teachers are causal, and answer after every row
    drawn: int = 1500  # drawn digits added to MNIST's, and as many typed ones
    ones: int = 300  # typed ones without a foot
    others: int = 3000  # drawn images of no digit, and as many typed ones
    displays: int = 0  # digits of displays, and a quarter as many of their letters
    pens: int = 0  # digits of unusual pens
    signs: int = 0  # letters, signs and doodles that are no digit
    levels: float = 0.0  # share of the canvases with other levels of paper and ink
    fogged: float = 0.0  # share of the canvases in dense fog, besides
    reframed: float = 0.0  # share of the images with another frame
    bfloat16: bool = True  # matrix products of training in bfloat16; slower on a CPU that has none
    seed: int = 0
    distortion: Distortion = field(default_factory=Distortion)


_TEACHER = Config(weight_decay=0.02, smoothing=0.01, free=0.0, drawn=0, ones=0, others=0, seed=1)
_TAUGHT = Config(epochs=8.0, peak=2e-3, warmup=0.05, dropout=0.15, smoothing=0.01, final=4.0, seed=2)
_BY_TWO = replace(_TAUGHT, peak=1.5e-3, free=0.12, distilled=0.9)  # both teachers, with more weight
STAGES = {
    "teacher": replace(_TEACHER, sizes=("image",), epochs=12.0),
    "teacher-2": replace(_TEACHER, sizes=("strided",), epochs=11.0, smoothing=0.005, seed=5),
    "labels": Config(),
    "taught": _TAUGHT,
    "taught-2": replace(_TAUGHT, epochs=6.0, peak=1.5e-3, seed=3),
    "taught-3": replace(_TAUGHT, epochs=6.0, peak=1.5e-3, seed=4),
    "taught-4": replace(_BY_TWO, epochs=9.0, seed=4),
    "taught-5": replace(_BY_TWO, epochs=7.0, seed=6, distortion=Distortion(untouched=0.3)),
    "taught-6": replace(_BY_TWO, epochs=10.0, seed=7, distortion=Distortion(untouched=0.3), own=True),
}
_WIDE = replace(
    _TAUGHT,
    epochs=8.0,
    peak=1.5e-3,
    free=0.12,
    dropout=0.1,
    distilled=0.5,
    every_row=True,
    drawn=3000,
    displays=4000,
    pens=6000,
    levels=0.22,
    reframed=0.1,
    distortion=Distortion(untouched=0.3, moire=0.05),
)
STAGES |= {
    "wide": replace(_WIDE, seed=11),
    "wide-2": replace(_WIDE, epochs=5.0, peak=8e-4, seed=12),
}
_SIGNS = replace(
    _WIDE,
    epochs=3.0,
    peak=1.2e-3,
    signs=14_000,
    fogged=0.04,
    distortion=Distortion(untouched=0.3, moire=0.05, squared=0.08),
)
STAGES |= {"signs": replace(_SIGNS, seed=21)}
ROUNDS = [stage for stage in STAGES if stage.startswith("taught")]
WIDE_ROUNDS = [stage for stage in STAGES if stage.startswith("wide")]
JUDGE = "judge"
STAGES |= {
    JUDGE: replace(
        _SIGNS,
        epochs=4.0,
        peak=4e-3,
        dropout=0.0,
        smoothing=0.0,
        emphasis=3.0,
        drawn=5000,
        displays=5000,
        pens=9000,
        others=5000,
        signs=40_000,
        seed=31,
    )
}
SIGN_ROUNDS = [stage for stage in STAGES if stage.startswith("signs")]
