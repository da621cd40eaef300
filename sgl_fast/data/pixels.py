"""Images of any kind to RGB bytes, each by the range of its kind, or a ValueError that names it."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor

_TURN = Image.Transpose
_ORIENTATION = 0x0112  # EXIF's tag; 1 is upright
_TURNS = {
    2: _TURN.FLIP_LEFT_RIGHT,
    3: _TURN.ROTATE_180,
    4: _TURN.FLIP_TOP_BOTTOM,
    5: _TURN.TRANSPOSE,
    6: _TURN.ROTATE_270,
    7: _TURN.TRANSVERSE,
    8: _TURN.ROTATE_90,
}
_BITS_PER_SAMPLE = 258  # TIFF's tag
_DEEP = ("F", "I", "I;16", "I;16L", "I;16B", "I;16N")


def rgb(image: Image.Image) -> Image.Image:
    """A PIL image of any mode, its first frame, as mode RGB, turned upright as EXIF says.

    I;16: 65535 is white, in a TIFF of fewer bits the most that they hold; 65535 in mode I of the
    formats PNG and PPM, which hold 16 bits; F: 1 is white, and values beyond 0 to 1 are refused, as mode I is
    elsewhere, whose white nobody knows. Transparent pixels lie on black, the padding of the random crop.
    """
    image.load()  # a TIFF turns itself upright then
    turn = _turn(image)
    if image.mode in _DEEP:
        image = Image.fromarray(_deep(image))
    if image.has_transparency_data:
        clear = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
        image = Image.new("RGB", clear.size)
        image.paste(clear, mask=clear)
    elif image.mode != "RGB":
        image = image.convert("RGB")
    return image if turn is None else image.transpose(turn)


def to_bytes(values: np.ndarray) -> np.ndarray:
    """Pixels of any shape as uint8: bool, uint8, uint16 by their whole range, floating point from 0 to 1."""
    kind = values.dtype
    if kind == np.uint8:
        return values
    if kind == np.bool_:
        out: np.ndarray = values.astype(np.uint8) * np.uint8(255)
        return out
    if kind.kind == "u" and kind.itemsize == 2:
        return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
    lowest, highest = values.min(), values.max()
    if kind.kind != "f":
        raise ValueError(
            f"need uint8, uint16, bool or floating-point pixels; got {kind} from {lowest} to {highest}, whose white "
            "is not known"
        )
    # Normalised images would be clipped to noise: a range is asked for instead.
    if not (lowest >= 0 and highest <= 1):
        raise ValueError(
            f"need floating-point pixels from 0 to 1, not normalised; got {float(lowest):.3g} to {float(highest):.3g}"
        )
    return np.rint(values.astype(np.float64) * 255).astype(np.uint8)


def tensor_of(image: Image.Image | np.ndarray) -> Tensor:
    """Mode RGB, or uint8 [H, W, 1 or 3] -> uint8 [3, H, W]."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).expand(3, -1, -1)


def _deep(image: Image.Image) -> np.ndarray:
    """Grey of more than a byte -> uint8 [H, W]; the level that a PNG calls transparent is black."""
    values = np.asarray(image)
    if image.mode == "I" and image.format in ("PNG", "PPM"):
        values = values.astype(np.uint16)
    values = _sixteen_bits(values, image)
    if isinstance(level := image.info.get("transparency"), int):
        values = np.where(values == level, 0, values).astype(values.dtype)
    try:
        return to_bytes(values)
    except ValueError as error:
        raise ValueError(f"mode {image.mode}: {error}") from None


def _sixteen_bits(values: np.ndarray, image: Image.Image) -> np.ndarray:
    """The levels of a TIFF of 9 to 15 bits (microscopes write 12) on 0 to 65535; others as they are."""
    bits = np.ravel(getattr(image, "tag_v2", {}).get(_BITS_PER_SAMPLE, 16))[0]
    if values.dtype.kind != "u" or not 8 < bits < 16:
        return values
    out: np.ndarray = (values.astype(np.uint32) * 65535 // (2**bits - 1)).astype(np.uint16)
    return out


def _turn(image: Image.Image) -> Image.Transpose | None:
    try:
        orientation = image.getexif().get(_ORIENTATION)
    except Exception:  # damaged EXIF data do not make the pixels worse
        return None
    return _TURNS.get(orientation) if isinstance(orientation, int) else None
