"""Images of what is no digit, as MNIST would show them: drawn letters, signs and doodles, typed signs, smears.

The strokes are those of `sign_drawings`, drawn by other pens, turned, slanted and in parts shaky.
"""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw, ImageFilter

from training.data import sign_drawings
from training.data.arrays import Images, Labels
from training.data.drawn_digits import NO_DIGIT, SIDE, Stroke
from training.data.pen_digits import HIGH, stroked
from training.data.sign_drawings import Drawing
from training.data.typeset_digits import boxed, glyph

KINDS = (
    sign_drawings.letter,
    sign_drawings.doodle,
    sign_drawings.composition,
    sign_drawings.letter,
    sign_drawings.sign,
    sign_drawings.circled,
    sign_drawings.doodle,
    sign_drawings.composition,
    sign_drawings.shape,
    sign_drawings.arrow,
    sign_drawings.star,
    sign_drawings.digits_together,
    sign_drawings.scrawl,
    sign_drawings.mirrored,
    sign_drawings.crossed,
    sign_drawings.curled,
    sign_drawings.domed,
    sign_drawings.stacked,
    sign_drawings.hatched,
    sign_drawings.digits_together,
    sign_drawings.circled,
    sign_drawings.composition,
    sign_drawings.digits_together,
    sign_drawings.mirrored,
)
EVERY_TYPED = 5  # images, of which one is typed
EVERY_SMEAR = 30  # images, of which one is a smear
EVERY_BLOT = 31  # images, of which one is a filled shape

# Fonts with the alphabets and symbols below.
FONTS = ("DejaVuSans", "DejaVuSans-Bold", "DejaVuSansMono", "DejaVuSans-Oblique")
GREEK = "ΓΔΛΞΠΣΨΩαηλμπτχψω"
CYRILLIC = "ГДЖИЙЛПЦШЩЪЫЮЯджийлпцшщъыюя"
# Arrows, mathematics, technical, geometric and other symbols, less what is like a digit there.
_BLOCKS = ((0x2190, 0x21FF), (0x2200, 0x22FF), (0x25A0, 0x25FF), (0x2600, 0x26FF), (0x2701, 0x2775), (0x2794, 0x27BE))
_LIKE_DIGITS = frozenset("∂∅∕∖∣∤∫∮∯∰∱∲∳∾≀≬⊘⊖⊝⊙⊚⊛⊜○◌◍◎●◐◑◒◓◔◕◖◗◘◙◦◯☉☡⚆⚇⚈⚉⚪⚫⚬❍❏❘❙❚❛❜❝❞❟❠ⵔ∘∙⋄⊺↿↾⇂⇃∃∄∊∋∍☇☈♃♄⚳⚵⌇∎▮▯◊◻◼▏▕")
CURRENCIES = "€£¥¢§©®¶&@#%±÷×¿☺☹☻♥♦♣♠♪♫★☆✓✗✔✘→←↑↓☀☂☎✈✉✂"


def _symbols() -> str:
    characters = (chr(code) for first, last in _BLOCKS for code in range(first, last + 1))
    return "".join(character for character in characters if character not in _LIKE_DIGITS)


SYMBOLS = _symbols()


def sign_images(count: int, seed: int) -> tuple[Images, Labels]:
    """`count` images of no digit, the kinds in turn: images (count, 28, 28) and labels `NO_DIGIT`."""
    generator = np.random.default_rng(seed)
    images = []
    for index in range(count):
        if index % EVERY_SMEAR == 0:
            ink = smear(generator)
        elif index % EVERY_BLOT == 0:
            ink = blot(generator)
        elif index % EVERY_TYPED == 0:
            ink = typed(generator)
        else:
            ink = penned(generator, KINDS[index % len(KINDS)](generator))
        images.append(boxed(generator, ink, (0.85, 1.15)))
    return np.array(images, np.uint8).reshape(-1, SIDE, SIDE), np.full(count, NO_DIGIT, np.int64)


def penned(generator: Generator, drawing: Drawing) -> Images:
    """(H, W), 255 = ink: the strokes by an unsteady hand, slanted, turned, narrower or wider, some gone over twice."""
    aspect, slant = generator.uniform(0.6, 1.1), generator.normal(0, 0.12)
    turn = np.radians(generator.normal(0, 7))
    joined = np.concatenate(drawing)
    size = max(float(np.ptp(joined, axis=0).max()), 1e-3)
    linear = np.array([[aspect, 0.0], [-slant, 1.0]]) @ np.array(
        [[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]
    )
    parts = [_shaken(generator, part @ linear * HIGH / size) for part in drawing]
    if generator.random() < 0.1:
        parts += [_shaken(generator, part, 2.5) for part in parts]
    width = HIGH * float(np.exp(generator.uniform(np.log(0.03), np.log(0.16))))
    ink = stroked(parts, width)
    if generator.random() < 0.06:
        ink = _filled(ink)
    return np.asarray(ink.crop(ink.getbbox()))


def _shaken(generator: Generator, part: Stroke, by: float = 0.8) -> Stroke:
    """The stroke in short steps, its points elsewhere by a smooth noise, in pixels."""
    steps = np.linalg.norm(np.diff(part, axis=0), axis=1)
    distances = np.concatenate([[0.0], np.cumsum(steps)])
    count = max(int(distances[-1] / 4), 2)
    even = np.linspace(0, distances[-1], count)
    points = np.stack([np.interp(even, distances, part[:, i]) for i in (0, 1)], 1)
    knots = generator.normal(0, by, (max(count // 5, 2), 2))
    positions = np.linspace(0, len(knots) - 1, count)
    return points + np.stack([np.interp(positions, np.arange(len(knots)), knots[:, i]) for i in (0, 1)], 1)


def _filled(ink: Image.Image) -> Image.Image:
    """What the strokes enclose is ink too."""
    small = ink.resize((ink.width // 3, ink.height // 3), Image.Resampling.BOX).point(lambda level: 255 * (level > 60))
    ImageDraw.floodfill(small, (0, 0), 128)
    return small.point(lambda level: 0 if level == 128 else 255)


def typed(generator: Generator) -> Images:
    """(H, W), 255 = ink: a Greek or Cyrillic letter, a currency or a symbol."""
    texts = (GREEK, CYRILLIC, CURRENCIES, SYMBOLS, SYMBOLS)
    kind = int(generator.integers(len(texts)))
    font = str(generator.choice(FONTS)) if kind < 2 else FONTS[0]  # the others have less than all symbols
    return glyph(font, texts[kind][generator.integers(len(texts[kind]))], HIGH)


def smear(generator: Generator) -> Images:
    """(H, W), 255 = ink: clouds of ink with soft or hard edges."""
    size = int(generator.integers(3, 8))
    small = Image.fromarray(np.uint8(255 * generator.random((size, size))))
    clouds = np.asarray(small.resize((HIGH, HIGH), Image.Resampling.BICUBIC), np.float64) / 255
    level = np.quantile(clouds, generator.uniform(0.4, 0.85))
    ink = np.clip((clouds - level) * np.exp(generator.uniform(np.log(2), np.log(30))), 0, 1)
    return np.asarray(Image.fromarray(np.uint8(255 * ink)).filter(ImageFilter.GaussianBlur(1)))


def blot(generator: Generator) -> Images:
    """(H, W), 255 = ink: a filled ellipse or polygon, about as wide as high: a narrow one would be a one."""
    image = Image.new("L", (HIGH, HIGH), 0)
    pencil = ImageDraw.Draw(image)
    if generator.random() < 0.4:
        margin = HIGH * generator.uniform(0.0, 0.12)
        pencil.ellipse((0, margin, HIGH - 1, HIGH - 1 - margin), fill=255)
    else:
        corners = HIGH * sign_drawings.polygon(generator, int(generator.integers(3, 8)), (0.5, 0.5), 0.5)
        pencil.polygon([(float(x), float(y)) for x, y in corners], fill=255)
    turned = image.rotate(generator.uniform(0, 360), Image.Resampling.BICUBIC)
    return np.asarray(turned.crop(turned.getbbox()).filter(ImageFilter.GaussianBlur(1)))
