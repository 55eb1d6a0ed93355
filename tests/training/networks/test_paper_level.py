"""training.networks.paper_level: rows become distances from the paper, decided by the rows so far alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from training.data import drawn_digits
from training.networks.paper_level import LEVELS, PaperLevel, levelled

COUNT = 12


def digits() -> Tensor:
    """(12, 28, 28), ink 0..1, as MNIST has them."""
    return torch.from_numpy(drawn_digits.digit_images(COUNT, 41)[0]).float() / 255


def striped(images: Tensor) -> Tensor:
    """Inverted along both sides."""
    sides = torch.zeros(28, dtype=torch.bool)
    sides[:7] = sides[21:] = True
    return torch.where(sides, 1 - images, images)


def foggy(images: Tensor) -> Tensor:
    """Behind light that grows from the upper left."""
    light = torch.linspace(0, 0.3, 28)[:, None] + torch.linspace(0.1, 0.4, 28)
    return light + 0.3 * images


def tight(images: Tensor) -> Tensor:
    """The box of the ink fills the rows."""
    inner = images[:, None, 4:24, 4:24]
    return functional.interpolate(inner, size=(28, 28), mode="bilinear", align_corners=False)[:, 0]


KINDS: dict[str, Callable[[Tensor], Tensor]] = {
    "inverted": lambda images: 1 - images,
    "bright": lambda images: (images + 0.5).clamp(max=1),
    "dark on grey": lambda images: 0.6 - 0.4 * images,
    "striped": striped,
}


def run(rows: Tensor, state: Tensor | None = None, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Distances and state of a batch; a fresh one without `state`."""
    batch, count = rows.shape[:2]
    padding = torch.zeros(batch, count, dtype=torch.bool)
    if lengths is not None:
        padding = torch.arange(count)[None] >= lengths[:, None]
    is_fresh = torch.full((batch,), state is None)
    return PaperLevel()(rows, padding, torch.zeros(batch, LEVELS) if state is None else state, is_fresh)


def test_rows_on_paper_at_zero_stay_as_they_are() -> None:
    images = digits()
    for rows in (images, 0.4 * images, images.roll(9, 2), tight(images)):
        distances, state = run(rows)
        assert torch.equal(distances, rows)
        assert not state.any()


@pytest.mark.parametrize("kind", KINDS)
def test_ink_on_other_paper_becomes_high_from_the_first_row_on(kind: str) -> None:
    images = digits()
    distances, _ = run(KINDS[kind](images))
    is_ink, is_paper = images > 0.9, images == 0
    assert float(distances[is_paper].max()) < 0.01
    assert float(distances[is_ink].min()) > 0.55


def test_paper_that_varies_is_followed() -> None:
    images = digits()
    distances, state = run(foggy(images))
    assert float(distances[images == 0].mean()) < 0.06
    assert float(distances[images > 0.9].mean()) > 0.6
    assert bool((state[:, -1] == 1).all())


def test_a_row_of_one_level_tells_nothing() -> None:
    rows = torch.zeros(1, 12, 28)
    rows[:, 4:7] = 1  # the bar of a seven that fills the width
    rows[:, 7:, 20:24] = 1
    assert torch.equal(run(rows)[0], rows)


def test_a_later_row_with_bright_ends_tells_that_the_paper_is_bright() -> None:
    images = digits()
    rows = torch.cat([torch.zeros(COUNT, 2, 28), 1 - images], 1)
    first_ink = int((images > 0.5).any(2).any(0).nonzero()[0])
    below = torch.zeros(COUNT, 28, dtype=torch.bool)
    below[:, first_ink + 8 :] = True
    distances, _ = run(rows)
    torch.testing.assert_close(distances[:, 2:][below], images[below])


@pytest.mark.parametrize("kind", [*KINDS, "foggy", "tight", "as they are", "all of them"])
def test_rows_one_by_one_or_beside_others_are_the_same_bits_as_at_once(kind: str) -> None:
    images = digits()
    every = KINDS | {"foggy": foggy, "tight": tight, "as they are": lambda rows: rows}
    rows = torch.cat([change(images) for change in every.values()]) if kind == "all of them" else every[kind](images)
    distances, state = run(rows)
    for chunk in (1, 3):
        carried, parts = None, []
        for start in range(0, 28, chunk):
            part, carried = run(rows[:, start : start + chunk], carried)
            parts.append(part)
        assert torch.equal(torch.cat(parts, 1), distances)
        assert carried is not None
        assert torch.equal(carried, state)
    alone, alone_state = run(rows[-1:])
    assert torch.equal(alone, distances[-1:])
    assert torch.equal(alone_state, state[-1:])


def test_digits_that_end_earlier_keep_their_state() -> None:
    rows = torch.cat([foggy(digits()), 1 - digits()])
    lengths = torch.arange(len(rows)) + 2
    filled = rows.masked_fill(torch.arange(28)[None, :, None] >= lengths[:, None, None], 0.0)
    _, state = run(filled, lengths=lengths)
    for index, length in enumerate(lengths.tolist()):
        assert torch.equal(run(rows[index : index + 1, :length])[1][0], state[index])


def test_training_sees_what_the_served_reader_sees() -> None:
    rows = torch.cat([foggy(digits()), 1 - digits(), digits()])
    assert torch.equal(levelled(rows), run(rows)[0])
