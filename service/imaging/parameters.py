"""The numbers that the rules of this package depend on, in one place: `PARAMETERS` is what the service uses.

Every field names its unit and its meaning.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ImagingParameters:
    """Thresholds and sizes of the way from a picture to a digit; a share is a number in 0..1."""

    # --- decode: from the file to a plane of grey --------------------------------------------------------------------

    plane_side: int = 256
    """Pixels. The longer side of a plane of grey is reduced to at most this, ten times more than the answer holds."""

    draft_scale: int = 4
    """Multiple of `plane_side`. A JPEG is decoded at a half, a quarter or an eighth where this many pixels remain."""

    colour_sample_side: int = 64
    """Pixels. The directions in which colours differ are taken from at most this many pixels a side."""

    min_lightness_share: float = 0.3
    """Share of the greatest difference of colours. Grey is their lightness unless lightness shows less than this."""

    # --- binarize: estimates of the paper ----------------------------------------------------------------------------

    histogram_bins: int = 64
    """Count, at most 256. Ranges of equal width in a histogram of levels 0..1."""

    paper_side: int = 64
    """Pixels. A smooth paper is fitted on at most this many pixels a side, an uneven one found on twice as many."""

    closing_window: float = 0.3
    """Share of the picture's longer side. On uneven paper, strokes narrower than this are closed to find the paper."""

    min_paper_level: float = 0.25
    """Level 0..1. Light is divided out of dark ink down to this level of the paper under it."""

    # --- binarize: the choice of a paper -----------------------------------------------------------------------------

    border_penalty: float = 0.6
    """Share of variance. What a paper explains is lowered by this times the share of the border that is ink."""

    majority_share: float = 0.55
    """Share of the pixels. Ink on more pixels than this that also lies along the border is probably the paper."""

    majority_penalty: float = 0.5
    """Share of variance. What a paper explains is lowered by this where its ink is probably the paper."""

    sufficient_explained: float = 0.82
    """Share of variance. A paper that explains this much, penalties deducted, is taken without trying another."""

    ink_share_penalty: float = 0.4
    """Points of score. The score of a paper is lowered by this times the share of the pixels that are ink."""

    max_sharpness: float = 0.3
    """Points of score. The sharpness of the ink's edges raises the score of a paper by at most this."""

    flexibility_margin: float = 0.12
    """Points of score. A more flexible paper replaces a simpler one where its score is higher by more than this."""

    shading_contrast: float = 0.35
    """Share of the contrast. A more flexible paper replaces one whose contrast it lowers below this: that was light."""

    # --- binarize: contrast of ink and noise of paper ----------------------------------------------------------------

    strongest_share: float = 0.002
    """Share of the pixels. The contrast is the distance from the paper that this many pixels reach."""

    strongest_pixels: int = 16
    """Pixels. The contrast is taken from at most this many pixels in a large plane."""

    min_contrast: float = 0.06
    """Share of the full scale. What stands out from the paper by less than this is no ink."""

    min_contrast_to_noise: float = 6.0
    """Standard deviations of the paper. What stands out by less is no ink, unless by more than half the full scale."""

    quiet_noise: float = 0.01
    """Share of the full scale. A paper with less noise and no ink on it is empty, and no other paper is tried."""

    # --- binarize: the threshold -------------------------------------------------------------------------------------

    min_threshold: float = 0.3
    """Strength of ink. The threshold between ink and paper is at least this."""

    max_threshold: float = 0.7
    """Strength of ink. The threshold between two kinds of ink is at most this."""

    border_share: float = 0.12
    """Share of the border. Ink on more of it than this may be of two kinds, as a digit and a table under the sheet."""

    two_kinds_explained: float = 0.75
    """Share of variance. Ink is of two kinds where two levels explain more of it than this."""

    # --- layout: which components are the digit ----------------------------------------------------------------------

    noise_area: float = 0.02
    """Share of the largest component's area. A smaller component is noise."""

    max_components: int = 64
    """Count. Components beyond this many of the largest are noise, whatever their size."""

    border_length: float = 0.25
    """Share of the picture's shorter side. A component along more of a border than this lies behind the paper."""

    free_height: float = 0.12
    """Share of the picture's longer side. A component is background or a frame only where another is this high."""

    frame_share: float = 0.85
    """Share of a component's pixels. A frame has at least this many within a twelfth of the sides of its own box."""

    line_thickness: float = 0.05
    """Share of the picture's side. A printed line, or a strip at the border, is at most this thick."""

    line_margin: float = 0.08
    """Share of the picture's side. A printed line reaches further than all other ink by this much at both ends."""

    noise_count: int = 30
    """Count. This many components, none four times larger than the last of them, are nothing but noise."""

    overlap: float = 0.25
    """Share of the narrower one's width. Near components that share this many columns are one character."""

    piece_height: float = 0.45
    """Share of the highest component's height. A lower component is a piece of the character near it."""

    piece_distance: float = 0.2
    """Share of the highest component's height. Components are near to each other where their gap is less than this."""

    digit_height: float = 0.55
    """Share of the likeliest candidate's height. A character of this height is another candidate, a lower one noise."""

    # --- strokes: strokes and edges ----------------------------------------------------------------------------------

    crossing_length: float = 2.0
    """Stroke widths. A run of ink up to this length crosses the stroke, a longer one runs along it."""

    side_reach: float = 0.8
    """Stroke widths. Paper is looked for this far to either side of a run."""

    side_ratio: float = 0.35
    """Ratio. A run is one-sided where it stands out from one side by less than this share of the other."""

    # --- mnist: from a candidate to 28 rows --------------------------------------------------------------------------

    small_digit: float = 60 / 256
    """Share of the picture's longer side. A smaller digit is cut out of a large picture and prepared from there."""

    crop_margin: float = 0.4
    """Share of the digit's longer side. A small digit is cut out with this much around it."""

    sheet_fill: float = 0.72
    """Share of the candidate's box. A candidate that fills more of it may be a sheet of paper with the digit on it."""

    sheet_edge: float = 0.06
    """Share of the sheet's longer side. The sheet is searched without this much at each of its edges."""

    sheet_digit_height: float = 0.25
    """Share of the sheet's height. What stands on a sheet is the digit where it is higher than this."""

    sheet_noise: float = 0.1
    """Share of the ink's contrast. A sheet with more noise than this is no sheet but broad strokes with a hole."""

    broad_stroke: float = 0.45
    """Share of the digit's longer side. What touches the border and has broader strokes than this is no digit."""

    max_edge_likeness: float = 0.5
    """Share of the runs. On uneven paper or at the border, a mark with more one-sided runs than this is an edge."""

    shade_noise_count: int = 30
    """Count. A mark at the border of uneven paper among more noise components than this is shade."""

    crop_strength: float = 0.1
    """Strength of ink. A stroke's soft edge belongs to the digit's box where it is stronger than this."""

    thin_stroke: float = 0.08
    """Share of the digit's longer side. Thinner strokes are thickened to this."""


PARAMETERS = ImagingParameters()
