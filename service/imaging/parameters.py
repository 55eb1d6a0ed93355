"""The numbers that the rules of this package depend on, in one place: `PARAMETERS` is what the service uses.

Every field names its unit, its meaning, and what changing it costs, as `make bench-sensitivity` measured it on 528
pictures of digits and 144 of empty paper (benchmarks/results/imaging-sensitivity.md). "Digits/empty: x2 -0.4/+1.4
points" means: with twice the value, 0.4 points fewer of the digits are read right and 1.4 points more of the empty
pictures are refused. One picture is 0.2 points of the digits, and 0.7 of the empty ones. Unit tests pin the rules that
no picture of the benchmark reaches.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ImagingParameters:
    """Thresholds and sizes of the way from a picture to a digit; a share is a number in 0..1."""

    # --- decode: from the file to a plane of grey --------------------------------------------------------------------

    plane_side: int = 256
    """Pixels. The longer side of a plane of grey is reduced to at most this, ten times more than the answer holds.

    Digits/empty: x0.5 -0.6/+4.9, x0.8 0.0/+0.7, x1.25 +0.4/0.0, x2 +0.4/-0.7 points.
    """

    draft_scale: int = 4
    """Multiple of `plane_side`. A JPEG is decoded at a half, a quarter or an eighth where this many pixels remain.

    No answer changes, -1 to +1; rows or reports of at most 9 pictures do.
    """

    colour_sample_side: int = 64
    """Pixels. The directions in which colours differ are taken from at most this many pixels a side.

    No picture changes, x0.5 to x2.
    """

    min_lightness_share: float = 0.3
    """Share of the greatest difference of colours. Grey is their lightness unless lightness shows less than this.

    No answer changes, x0.5 to x2; rows or reports of at most 48 pictures do.
    """

    # --- binarize: estimates of the paper ----------------------------------------------------------------------------

    histogram_bins: int = 64
    """Count, at most 256. Ranges of equal width in a histogram of levels 0..1.

    Digits/empty: x0.5 0.0/0.0, x0.8 0.0/-0.7, x1.25 0.0/0.0, x2 0.0/0.0 points.
    """

    paper_side: int = 64
    """Pixels. A smooth paper is fitted on at most this many pixels a side, an uneven one found on twice as many.

    Digits/empty: x0.5 0.0/+2.1, x0.8 -0.2/+0.7, x1.25 0.0/+0.7, x2 0.0/+0.7 points.
    """

    closing_window: float = 0.3
    """Share of the picture's longer side. On uneven paper, strokes narrower than this are closed to find the paper.

    Digits/empty: x0.5 +0.4/-0.7, x0.8 +0.2/0.0, x1.25 -0.2/+1.4, x2 -0.2/0.0 points.
    """

    min_paper_level: float = 0.25
    """Level 0..1. Light is divided out of dark ink down to this level of the paper under it.

    Digits/empty: x0.5 0.0/0.0, x0.8 0.0/0.0, x1.25 0.0/0.0, x2 0.0/+0.7 points.
    """

    # --- binarize: the choice of a paper -----------------------------------------------------------------------------

    border_penalty: float = 0.6
    """Share of variance. What a paper explains is lowered by this times the share of the border that is ink.

    Digits/empty: x0.5 -0.8/-2.8, x0.8 0.0/-2.1, x1.25 0.0/+1.4, x2 -0.2/+1.4 points.
    """

    majority_share: float = 0.55
    """Share of the pixels. Ink on more pixels than this that also lies along the border is probably the paper.

    Digits/empty: x0.5 -0.4/+0.7, x0.8 0.0/0.0, x1.25 0.0/0.0, x2 -0.4/0.0 points.
    """

    majority_penalty: float = 0.5
    """Share of variance. What a paper explains is lowered by this where its ink is probably the paper.

    Digits/empty: x0.5 -0.2/0.0, x0.8 0.0/0.0, x1.25 0.0/0.0, x2 0.0/0.0 points.
    """

    sufficient_explained: float = 0.82
    """Share of variance. A paper that explains this much, penalties deducted, is taken without trying another.

    Digits/empty: x0.5 -1.9/-5.6, x0.8 -1.7/-2.8, x1.25 0.0/0.0, x2 0.0/0.0 points.
    """

    ink_share_penalty: float = 0.4
    """Points of score. The score of a paper is lowered by this times the share of the pixels that are ink.

    Digits/empty: x0.5 0.0/-1.4, x0.8 0.0/-0.7, x1.25 0.0/+0.7, x2 0.0/+1.4 points.
    """

    max_sharpness: float = 0.3
    """Points of score. The sharpness of the ink's edges raises the score of a paper by at most this.

    Digits/empty: x0.5 0.0/0.0, x0.8 0.0/0.0, x1.25 0.0/-0.7, x2 -0.2/-1.4 points.
    """

    flexibility_margin: float = 0.12
    """Points of score. A more flexible paper replaces a simpler one where its score is higher by more than this.

    Digits/empty: x0.5 0.0/+0.7, x0.8 0.0/+0.7, x1.25 0.0/-1.4, x2 +0.2/-1.4 points.
    """

    shading_contrast: float = 0.35
    """Share of the contrast. A more flexible paper replaces one whose contrast it lowers below this: that was light.

    Digits/empty: x0.5 0.0/-0.7, x0.8 0.0/0.0, x1.25 0.0/0.0, x2 0.0/+1.4 points.
    """

    # --- binarize: contrast of ink and noise of paper ----------------------------------------------------------------

    strongest_share: float = 0.002
    """Share of the pixels. The contrast is the distance from the paper that this many pixels reach.

    No answer changes, x0.5 to x2; rows or reports of at most 31 pictures do.
    """

    strongest_pixels: int = 16
    """Pixels. The contrast is taken from at most this many pixels in a large plane.

    Digits/empty: x0.5 +0.6/0.0, x0.8 0.0/0.0, x1.25 0.0/+0.7, x2 -0.4/+0.7 points.
    """

    min_contrast: float = 0.06
    """Share of the full scale. What stands out from the paper by less than this is no ink.

    No answer changes, x0.5 to x2; rows or reports of at most 4 pictures do.
    """

    min_contrast_to_noise: float = 6.0
    """Standard deviations of the paper. What stands out by less is no ink, unless by more than half the full scale.

    Digits/empty: x0.5 0.0/-4.9, x0.8 0.0/-2.1, x1.25 0.0/+0.7, x2 0.0/+2.8 points.
    """

    quiet_noise: float = 0.01
    """Share of the full scale. A paper with less noise and no ink on it is empty, and no other paper is tried.

    Digits/empty: x0.5 0.0/0.0, x0.8 0.0/0.0, x1.25 0.0/0.0, x2 -0.2/0.0 points.
    """

    # --- binarize: the threshold -------------------------------------------------------------------------------------

    min_threshold: float = 0.3
    """Strength of ink. The threshold between ink and paper is at least this.

    Digits/empty: x0.5 0.0/0.0, x0.8 0.0/0.0, x1.25 +0.2/0.0, x2 +0.2/-2.8 points.
    """

    max_threshold: float = 0.7
    """Strength of ink. The threshold between two kinds of ink is at most this.

    Digits/empty: x0.5 +0.2/0.0, x0.8 +0.2/0.0, x1.25 +0.2/0.0, x2 +0.2/0.0 points.
    """

    border_share: float = 0.12
    """Share of the border. Ink on more of it than this may be of two kinds, as a digit and a table under the sheet.

    Digits/empty: x0.5 0.0/0.0, x0.8 0.0/0.0, x1.25 0.0/0.0, x2 +0.2/0.0 points.
    """

    two_kinds_explained: float = 0.75
    """Share of variance. Ink is of two kinds where two levels explain more of it than this.

    Digits/empty: x0.5 -0.2/+2.8, x0.8 0.0/+1.4, x1.25 +0.2/0.0, x2 +0.2/0.0 points.
    """

    # --- layout: which components are the digit ----------------------------------------------------------------------

    noise_area: float = 0.02
    """Share of the largest component's area. A smaller component is noise.

    No answer changes, x0.5 to x2; rows or reports of at most 5 pictures do.
    """

    max_components: int = 64
    """Count. Components beyond this many of the largest are noise, whatever their size.

    No picture changes, x0.5 to x2.
    """

    border_length: float = 0.25
    """Share of the picture's shorter side. A component along more of a border than this lies behind the paper.

    No answer changes, x0.5 to x2; rows or reports of at most 7 pictures do.
    """

    free_height: float = 0.12
    """Share of the picture's longer side. A component is background or a frame only where another is this high.

    No picture changes, x0.5 to x2.
    """

    frame_share: float = 0.85
    """Share of a component's pixels. A frame has at least this many within a twelfth of the sides of its own box.

    Digits/empty: x0.5 0.0/0.0, x0.8 0.0/0.0, x1.25 -2.7/0.0, x2 -2.7/0.0 points.
    """

    line_thickness: float = 0.05
    """Share of the picture's side. A printed line, or a strip at the border, is at most this thick.

    No answer changes, x0.5 to x2; rows or reports of at most 1 pictures do.
    """

    line_margin: float = 0.08
    """Share of the picture's side. A printed line reaches further than all other ink by this much at both ends.

    No answer changes, x0.5 to x2; rows or reports of at most 6 pictures do.
    """

    noise_count: int = 30
    """Count. This many components, none four times larger than the last of them, are nothing but noise.

    Digits/empty: x0.5 0.0/+4.2, x0.8 0.0/0.0, x1.25 0.0/0.0, x2 0.0/0.0 points.
    """

    overlap: float = 0.25
    """Share of the narrower one's width. Near components that share this many columns are one character.

    No picture changes, x0.5 to x2.
    """

    piece_height: float = 0.45
    """Share of the highest component's height. A lower component is a piece of the character near it.

    Digits/empty: x0.5 +0.4/0.0, x0.8 +0.4/0.0, x1.25 0.0/0.0, x2 -0.2/0.0 points.
    """

    piece_distance: float = 0.2
    """Share of the highest component's height. Components are near to each other where their gap is less than this.

    Digits/empty: x0.5 +0.6/0.0, x0.8 +0.4/0.0, x1.25 -0.2/0.0, x2 -0.2/0.0 points.
    """

    digit_height: float = 0.55
    """Share of the likeliest candidate's height. A character of this height is another candidate, a lower one noise.

    Digits/empty: x0.5 0.0/0.0, x0.8 0.0/0.0, x1.25 0.0/0.0, x2 -98.9/+34.0 points.
    """

    # --- strokes: strokes and edges ----------------------------------------------------------------------------------

    crossing_length: float = 2.0
    """Stroke widths. A run of ink up to this length crosses the stroke, a longer one runs along it.

    Digits/empty: x0.5 0.0/-1.4, x0.8 0.0/0.0, x1.25 0.0/0.0, x2 0.0/0.0 points.
    """

    side_reach: float = 0.8
    """Stroke widths. Paper is looked for this far to either side of a run.

    Digits/empty: x0.5 0.0/-0.7, x0.8 0.0/0.0, x1.25 0.0/0.0, x2 0.0/+0.7 points.
    """

    side_ratio: float = 0.35
    """Ratio. A run is one-sided where it stands out from one side by less than this share of the other.

    Digits/empty: x0.5 0.0/-0.7, x0.8 0.0/0.0, x1.25 0.0/0.0, x2 -0.2/+1.4 points.
    """

    # --- search, sheets, marks, strokes: from a candidate to its ink -------------------------------------------------

    small_digit: float = 60 / 256
    """Share of the picture's longer side. A smaller digit is cut out of a large picture and prepared from there.

    Digits/empty: x0.5 0.0/0.0, x0.8 0.0/0.0, x1.25 0.0/0.0, x2 -0.6/0.0 points.
    """

    crop_margin: float = 0.4
    """Share of the digit's longer side. A small digit is cut out with this much around it.

    No answer changes, x0.5 to x2; rows or reports of at most 20 pictures do.
    """

    sheet_fill: float = 0.72
    """Share of what lies within its outline. A candidate that fills more may be a sheet of paper with the digit on it.

    Digits/empty: x0.5 -1.9/0.0, x0.8 -0.2/0.0, x1.25 -1.1/0.0, x2 -3.6/0.0 points.
    """

    sheet_edge: float = 0.06
    """Share of the sheet's longer side. The sheet is searched without this much at each of its edges.

    Digits/empty: x0.5 +0.2/0.0, x0.8 +0.2/0.0, x1.25 -0.6/0.0, x2 -1.9/0.0 points.
    """

    sheet_digit_height: float = 0.25
    """Share of the sheet's height. What stands on a sheet is the digit where it is higher than this.

    Digits/empty: x0.5 0.0/0.0, x0.8 0.0/0.0, x1.25 0.0/0.0, x2 -0.2/0.0 points.
    """

    sheet_noise: float = 0.1
    """Share of the ink's contrast. A sheet with more noise than this is no sheet but broad strokes with a hole.

    No picture changes, x0.5 to x2.
    """

    broad_stroke: float = 0.45
    """Share of the digit's longer side. What touches the border and has broader strokes than this is no digit.

    Digits/empty: x0.5 0.0/0.0, x0.8 0.0/0.0, x1.25 0.0/0.0, x2 0.0/-0.7 points.
    """

    max_edge_likeness: float = 0.5
    """Share of the runs. On uneven paper or at the border, a mark with more one-sided runs than this is an edge.

    Digits/empty: x0.5 -0.2/0.0, x0.8 0.0/0.0, x1.25 +0.2/-0.7, x2 +0.2/-17.4 points.
    """

    shade_noise_count: int = 30
    """Count. A mark at the border of uneven paper among more noise components than this is shade.

    Digits/empty: x0.5 0.0/0.0, x0.8 0.0/0.0, x1.25 0.0/0.0, x2 +0.2/0.0 points.
    """

    crop_strength: float = 0.1
    """Strength of ink. A stroke's soft edge belongs to the digit's box where it is stronger than this.

    No answer changes, x0.5 to x2; rows or reports of at most 147 pictures do.
    """

    thin_stroke: float = 0.08
    """Share of the digit's longer side. Thinner strokes are thickened to this.

    Digits/empty: x0.5 +0.4/0.0, x0.8 +0.2/0.0, x1.25 +0.2/0.0, x2 -0.2/0.0 points.
    """


PARAMETERS = ImagingParameters()
