"""The format of an image file by its first bytes, and what to say of the formats that are not read here.

Signatures: those of the formats' own specifications (PNG, JFIF, RIFF, GIF89a, TIFF 6.0, ISO/IEC 14496-12 `ftyp`).
"""

from __future__ import annotations

READABLE = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "AVIF")  # names of Pillow's decoders
NAMES = "PNG, JPEG, WebP, BMP, GIF, TIFF or AVIF"

_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"BM", "BMP"),
    (b"GIF8", "GIF"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
    (b"%PDF", "PDF"),
    (b"\x00\x00\x01\x00", "ICO"),
    (b"\x00\x00\x00\x0cjP  ", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"\x00\x00\x00\x0cJXL ", "JPEG XL"),
    (b"\xff\x0a", "JPEG XL"),
    (b"8BPS", "Photoshop"),
)
_BRANDS = {b"avif": "AVIF", b"avis": "AVIF", b"heic": "HEIC", b"heix": "HEIC", b"heim": "HEIC", b"heis": "HEIC"}
_BRANDS |= {b"hevc": "HEIC", b"hevx": "HEIC", b"mif1": "HEIC", b"msf1": "HEIC"}
_CONVERT = f"convert it to {NAMES}"
_ADVICE = {
    "HEIC": "a HEIC file, as iPhones save them: convert it to JPEG or PNG, or set the camera to 'Most Compatible'",
    "PDF": f"a PDF document: send a page of it as {NAMES}",
    "SVG": "an SVG drawing: send it drawn, as PNG",
}


def file_format(data: bytes) -> str | None:
    """The name of the format that `data` begins like, `READABLE` or another; None where it is not known."""
    for signature, name in _SIGNATURES:
        if data.startswith(signature):
            return name
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[4:8] == b"ftyp":
        # The major brand, then the compatible ones from byte 16 on: an AVIF may begin with the general `mif1`.
        brands = [data[8:12], *(data[at : at + 4] for at in range(16, min(64, int.from_bytes(data[:4])), 4))]
        names = [_BRANDS[brand] for brand in brands if brand in _BRANDS]
        return "AVIF" if "AVIF" in names else names[0] if names else None
    head = data[:256].lstrip().lower()
    return "SVG" if head.startswith((b"<svg", b"<?xml")) and b"<svg" in data[:1024].lower() else None


def unreadable(data: bytes) -> str:
    """What `data`, which no decoder reads, is and what its sender can do."""
    if not data:
        return "an empty file"
    name = file_format(data)
    if name is None or name in READABLE:
        return f"not an image in {NAMES} format"
    return _ADVICE.get(name) or f"a {name} file, which is not read here: {_CONVERT}"
