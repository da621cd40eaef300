"""Pixels of every kind and by every way in: files in memory, files when asked, torch Datasets."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from sgl_fast.data import from_torch
from sgl_fast.data.image_folder import in_memory, store_of
from sgl_fast.data.image_store import WindowStore
from sgl_fast.errors import ImageError

WHITE, HIDDEN = (255, 255, 255), (200, 100, 60)


class Listed(list):  # type: ignore[type-arg]
    """A map-style Dataset over its pairs."""


def grey16(level: int, kind: Any = np.uint16) -> Image.Image:
    return Image.fromarray(np.full((8, 8), level, kind))


def from_dataset(image: Any) -> torch.Tensor:
    return from_torch(Listed([(image, 0)] * 4), Listed([(image, 0)]), Listed([(image, 0)])).train[0][0]


def ways(path: Path, image: Image.Image) -> list[torch.Tensor]:
    """uint8 [3, 8, 8] of an image of one colour, from its file and from memory."""
    store = WindowStore([path], 8)
    with Image.open(path) as opened:
        return [
            in_memory(store_of([path], None))[0],
            in_memory(store_of([path], (8, 8)))[0],
            store[torch.tensor([0])][0],
            store.random_crops(torch.tensor([0]), torch.Generator(), slice(None))[0],
            from_dataset(opened),
            *([from_dataset(image)] if image.mode != "I" else []),  # in memory nothing says what its white is
        ]


@pytest.mark.parametrize(
    ("image", "suffix", "want"),
    [
        (grey16(64 * 257), "png", (64,) * 3),
        (grey16(65535), "tif", WHITE),
        (grey16(128 * 257, ">u2"), "tif", (128,) * 3),
        (grey16(200 * 257 + 128), "pgm", (200,) * 3),
        (Image.new("1", (8, 8), 1), "png", WHITE),
        (Image.new("L", (8, 8), 7), "jpg", (7,) * 3),
        (grey16(0, np.float32), "tif", (0,) * 3),
        (Image.fromarray(np.full((8, 8), 0.2, np.float32)), "tif", (51,) * 3),
        (Image.new("RGB", (8, 8), HIDDEN).quantize(4), "gif", HIDDEN),
        (Image.new("CMYK", (8, 8), (55, 155, 195, 0)), "tif", HIDDEN),
        (Image.new("RGBA", (8, 8), (*HIDDEN, 255)), "png", HIDDEN),
        (Image.new("RGBA", (8, 8), (*HIDDEN, 0)), "png", (0, 0, 0)),
        (Image.new("RGBA", (8, 8), (*HIDDEN, 51)), "webp", (40, 20, 12)),
        (Image.new("LA", (8, 8), (200, 51)), "png", (40,) * 3),
    ],
    ids=lambda value: getattr(value, "mode", None),
)
def test_every_mode_keeps_its_range(tmp_path: Path, image: Image.Image, suffix: str, want: tuple[int, ...]) -> None:
    path = tmp_path / f"image.{suffix}"
    image.save(path, **({"lossless": True, "exact": True} if suffix == "webp" else {}))
    for got in ways(path, image):
        assert got.shape == (3, 8, 8) and (got.amax((1, 2)) == got.amin((1, 2))).all()
        assert (got[:, 0, 0].int() - torch.tensor(want)).abs().max() <= 1, got[:, 0, 0]


def test_white_of_a_tiff_of_12_bits_is_4095(tmp_path: Path) -> None:
    """A TIFF by hand: Pillow writes none of 12 bits."""
    left, right = 0, 1024  # two levels in three bytes
    rows = (left << 12 | right).to_bytes(3, "big") * 32
    fields = [(256, 8), (257, 8), (258, 12), (259, 1), (262, 1), (273, 122), (277, 1), (278, 8), (279, len(rows))]
    entries = b"".join(struct.pack("<HHIHH", tag, 3, 1, value, 0) for tag, value in fields)
    header = b"II*\0" + struct.pack("<IH", 8, len(fields)) + entries + b"\0" * 4
    (tmp_path / "image.tif").write_bytes(header + rows)
    assert len(header) == 122
    got = in_memory(store_of([tmp_path / "image.tif"], None))[0]
    assert not got[:, :, ::2].any() and (got[:, :, 1::2] == 64).all()


@pytest.mark.parametrize("save", [{"transparency": 0}, {"transparency": bytes(256)}], ids=["one colour", "all colours"])
def test_transparent_colours_of_a_palette_are_black(tmp_path: Path, save: dict[str, Any]) -> None:
    image = Image.new("P", (8, 8), 0)
    image.putpalette(HIDDEN * 256)
    image.save(tmp_path / "image.png", **save)
    assert all(not got.any() for got in ways(tmp_path / "image.png", Image.open(tmp_path / "image.png")))


@pytest.mark.parametrize(("channels", "pixel"), [(1, (16448,)), (3, (16448, 32896, 49344))])
def test_a_transparent_colour_of_16_bits_is_black(tmp_path: Path, channels: int, pixel: tuple[int, ...]) -> None:
    """A PNG by hand: Pillow writes none of 16 bits with a transparent colour."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    colour = struct.pack(f">{channels}H", *pixel)
    rows = (b"\0" + colour * 4 + struct.pack(f">{channels}H", *(65535,) * channels) * 4) * 8
    kind = {1: 0, 3: 2}[channels]
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 16, kind, 0, 0, 0))
    body = chunk(b"tRNS", colour) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    (tmp_path / "image.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + body)
    got = in_memory(store_of([tmp_path / "image.png"], None))[0]
    assert not got[:, :, :4].any() and (got[:, :, 4:] == 255).all()


@pytest.mark.parametrize(
    ("image", "says"),
    [
        (grey16(128, np.float32), "mode F: .* got 128 to 128"),
        (grey16(-1, np.float32), "mode F: .* got -1 to -1"),
        (grey16(float("nan"), np.float32), "mode F: .* got nan to nan"),  # type: ignore[arg-type]
        (grey16(300, np.int32), "mode I: .* got int32 from 300 to 300"),
    ],
)
def test_values_whose_white_nobody_knows_are_refused_by_name(tmp_path: Path, image: Image.Image, says: str) -> None:
    image.save(tmp_path / "image.tif")
    store = WindowStore([tmp_path / "image.tif"], 8)
    for read in (lambda: in_memory(store_of(store.paths, None)), lambda: store[torch.tensor([0])]):
        with pytest.raises(ImageError, match=f"image.tif: .*{says}"):
            read()
    with pytest.raises(ImageError, match=rf"train\[0\]: {says}"):
        from_dataset(image)


@pytest.mark.parametrize(
    ("values", "want"),
    [
        (torch.full((3, 4, 5), 51, dtype=torch.uint8), 51),
        (torch.full((4, 5), 51 * 257, dtype=torch.uint16), 51),
        (torch.ones(1, 4, 5, dtype=torch.bool), 255),
        (torch.full((4, 5), 0.2), 51),
        (torch.full((1, 4, 5), 0.2, dtype=torch.float64), 51),
        (torch.full((3, 4, 5), 1.0, dtype=torch.bfloat16), 255),
        (torch.full((3, 4, 5), 0.25, dtype=torch.float16, requires_grad=True), 64),
        (np.full((4, 5), 51, np.uint8), 51),
        (np.full((4, 5, 3), 51 * 257, ">u2"), 51),
        (np.full((4, 5, 1), True), 255),
        (np.full((5, 4, 3), 0.2).swapaxes(0, 1)[::-1], 51),
    ],
)
@pytest.mark.parametrize("size", [None, 8])
def test_tensors_and_arrays_keep_their_range(values: Any, want: int, size: int | None) -> None:
    data = from_torch(*[Listed([(values, 0)])] * 3, image_size=size)
    assert data.train[0].shape == (1, 3, *((size,) * 2 if size else (4, 5)))
    assert data.train[0].unique().tolist() == [want]  # type: ignore[union-attr]


def test_the_layout_is_torchs_for_tensors_and_numpys_for_arrays() -> None:
    array = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)
    want = torch.from_numpy(array).permute(2, 0, 1)
    assert torch.equal(from_dataset(array), want) and torch.equal(from_dataset(want), want)
    assert torch.equal(from_dataset(Image.fromarray(array)), want)
    same = [from_torch(*[Listed([(x, 0)])] * 3, image_size=3).train[0] for x in (array, want, Image.fromarray(array))]
    assert torch.equal(same[0], same[1]) and torch.equal(same[0], same[2])  # type: ignore[arg-type]


def window_of(path: Path) -> torch.Tensor:
    """Of the first random window, float [3, 40, 40]."""
    generator = torch.Generator().manual_seed(0)
    return WindowStore([path], 40).random_crops(torch.arange(1), generator, slice(None))[0].float()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
def test_images_stand_upright(tmp_path: Path, orientation: int, suffix: str) -> None:
    """Taller than wide once upright: the colours of its four quarters, and its size, by every reader."""
    upright = Image.fromarray(np.kron([[0, 80], [160, 240]], np.ones((32, 16))).astype(np.uint8)).convert("RGB")
    turns = (None, None, 0, 3, 1, 5, 2, 6, 4)  # what a camera held that way makes of it: the inverse of EXIF's turn
    turn = turns[orientation]
    taken = upright if turn is None else upright.transpose(Image.Transpose(turn))
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"image.{suffix}"
    taken.save(path, exif=exif, **({"quality": 100} if suffix == "jpg" else {}))
    want = torch.from_numpy(np.array(upright)).permute(2, 0, 1).int()
    with Image.open(path) as opened:
        for got in (in_memory(store_of([path], None))[0], from_dataset(opened)):
            assert got.shape == want.shape and (got.int() - want).abs().max() < 12
    quarters = want[:, ::63, ::31]
    centre = WindowStore([path], 16)[torch.tensor([0])][0].int()
    assert (centre[:, ::15, ::15] - quarters).abs().max() < 12
    window = window_of(path)
    straight = tmp_path / "straight.png"
    upright.save(straight)
    same = window_of(straight)
    assert (window - same).abs().mean() < 4


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_damaged_exif_data_do_not_cost_an_image(tmp_path: Path) -> None:
    Image.new("L", (8, 8), 9).save(tmp_path / "image.jpg", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01\x12 and no more")
    assert in_memory(store_of([tmp_path / "image.jpg"], None)).unique().tolist() == [9]


@pytest.mark.parametrize("content", [b"", b"GIF89a", b"\x89PNG\r\n\x1a\n", b"II*\0" + b"\xff" * 4, b"BM" * 30])
def test_what_no_plugin_can_read_is_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "im\nage.png"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=r"im\\nage.png: not a readable image") as caught:
        in_memory(store_of([path], None))
    assert "\n" not in str(caught.value)
