"""Bad pictures: every file in a folder is loaded right or refused in one sentence that says what to
do.
"""

import io
import os
import zlib

import numpy as np
import pytest
from damage import damaged, load_or_sentence
from PIL import Image

from glf_minimal import DataError, load_dataset
from glf_minimal.evaluation.features import folder_batches

ROWS, COLUMNS = np.mgrid[:12, :10]
PICTURE = Image.fromarray(
    np.stack([20 * ROWS, 25 * COLUMNS, 100 + 0 * ROWS], axis=2).astype(np.uint8)
)


def encoded(picture, kind, **options):
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


FORMATS = {
    "a.png": encoded(PICTURE, "PNG"),
    "palette.png": encoded(PICTURE.convert("P"), "PNG", transparency=3),
    "alpha.png": encoded(PICTURE.convert("RGBA"), "PNG"),
    "a.jpg": encoded(PICTURE, "JPEG"),
    "cmyk.jpg": encoded(PICTURE.convert("CMYK"), "JPEG"),
    "a.gif": encoded(PICTURE, "GIF", save_all=True, append_images=[PICTURE.rotate(180)]),
    "a.webp": encoded(PICTURE, "WEBP"),
    "a.bmp": encoded(PICTURE, "BMP"),
    "a.tif": encoded(PICTURE, "TIFF"),
    "packed.tif": encoded(PICTURE, "TIFF", compression="tiff_lzw"),
}


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("name", FORMATS)
def test_damaged_pictures(tmp_path, name):
    """60 of each: without a digest in the file a pixel may differ, but shape and range do not."""
    path = tmp_path / name
    for seed in range(60):
        path.write_bytes(damaged(FORMATS[name], seed))
        loaded = load_or_sentence(
            lambda: load_dataset(f"folder:{tmp_path}", image_size=8), str(path), "remove it"
        )
        assert loaded is None or loaded.pixels.shape in [(1, 3, 8, 8), (1, 1, 8, 8)]
        for batch in (
            load_or_sentence(lambda: list(folder_batches(tmp_path)), str(path), "remove it") or ()
        ):
            assert batch.shape[:2] == (1, 3)


@pytest.mark.parametrize("name", FORMATS)
def test_whole_pictures(tmp_path, name):
    """One picture is a data set; an animation is its first frame; JPEG and WebP come close."""
    (tmp_path / name).write_bytes(FORMATS[name])
    loaded = load_dataset(f"folder:{tmp_path}").pixels[0].permute(1, 2, 0).numpy().astype(int)
    expected = np.asarray(
        PICTURE.convert("P").convert("RGB") if name == "palette.png" else PICTURE, int
    )
    tolerance = 5 if name.endswith(("jpg", "webp", "gif")) else 0
    assert np.abs(loaded - expected).mean() <= tolerance
    with pytest.raises(DataError, match="no pictures for the test split"):
        load_dataset(f"folder:{tmp_path}", "test")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("ending", ["jpg", "png", "tif"])
def test_pictures_are_turned_upright(tmp_path, orientation, ending, bits):
    """The white corner of a picture is where its EXIF orientation says."""
    if (ending, bits) == ("jpg", 16):
        pytest.skip("there are none")
    array = np.zeros((32, 16), np.uint8 if bits == 8 else np.uint16)
    array[:8, :8] = 2**bits - 1
    picture, exif = Image.fromarray(array), Image.Exif()
    exif[0x112] = orientation
    # Pillow itself misreads TIFFs that are turned and not compressed.
    options = {"compression": "tiff_lzw"} if ending == "tif" else {}
    picture.save(tmp_path / f"a.{ending}", exif=exif, **options)
    pixels = load_dataset(f"folder:{tmp_path}").pixels[0, 0]
    assert pixels.shape == ((32, 16) if orientation < 5 else (16, 32))
    corners = [pixels[0, 0], pixels[0, -1], pixels[-1, -1], pixels[-1, 0]]
    assert [corner > 128 for corner in corners].index(True) == [0, 1, 2, 3, 0, 1, 2, 3][
        orientation - 1
    ]


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.full((8, 8), 257 * 100, np.uint16), 100),
        (np.full((8, 8), 65535, np.uint16), 255),
        (np.full((8, 8), 100_000, np.int32), None),
        (np.full((8, 8), 0.5, np.float32), None),
    ],
)
def test_more_than_8_bits(tmp_path, array, expected):
    """16 bits are scaled; what conversion would clip to black or white is refused."""
    Image.fromarray(array).save(tmp_path / "a.tif")
    if expected is None:
        with pytest.raises(
            DataError, match=r"a\.tif \(it has 32 bits a channel, expected 8 or 16\)"
        ):
            load_dataset(f"folder:{tmp_path}")
    else:
        assert (load_dataset(f"folder:{tmp_path}").pixels == expected).all()


def bomb(kind):
    """A small file that says it is 60,000 pixels high and wide."""
    if kind == "BMP":
        return FORMATS["a.bmp"][:18] + 2 * (60_000).to_bytes(4, "little") + FORMATS["a.bmp"][26:]
    header = b"IHDR" + 2 * (60_000).to_bytes(4, "big") + FORMATS["a.png"][24:29]
    return (
        FORMATS["a.png"][:12]
        + header
        + zlib.crc32(header).to_bytes(4, "big")
        + FORMATS["a.png"][33:]
    )


@pytest.mark.parametrize("kind", ["PNG", "BMP"])
def test_pictures_too_large_to_unpack(tmp_path, kind):
    path = tmp_path / f"a.{kind.lower()}"
    path.write_bytes(bomb(kind))
    for load in (
        lambda: load_dataset(f"folder:{tmp_path}"),
        lambda: list(folder_batches(tmp_path)),
    ):
        with pytest.raises(DataError, match=r"a\.(png|bmp) .*exceeds limit .*remove it"):
            load()


def link_to_itself(path):
    path.symlink_to(path)


PLACES = {
    "link to a picture": (lambda path: path.symlink_to(path.parent / "good.png"), 2),
    "broken link": (lambda path: path.symlink_to("nowhere"), None),
    "link to itself": (link_to_itself, None),
    "folder": (lambda path: path.mkdir(), 1),
    "pipe": (lambda path: os.mkfifo(path), 1),
    "text": (lambda path: path.write_text("no picture"), None),
    "empty": (lambda path: path.touch(), None),
}


@pytest.mark.parametrize("kind", PLACES)
def test_what_a_name_can_stand_for(tmp_path, kind):
    make, count = PLACES[kind]
    PICTURE.save(tmp_path / "good.png")
    make(tmp_path / "b.png")
    if count is None:
        for load in (
            lambda: load_dataset(f"folder:{tmp_path}"),
            lambda: list(folder_batches(tmp_path)),
        ):
            with pytest.raises(
                DataError, match=r"cannot read the picture .*b\.png .*repair or remove it"
            ):
                load()
    else:
        assert (
            len(load_dataset(f"folder:{tmp_path}"))
            == sum(map(len, folder_batches(tmp_path)))
            == count
        )


def test_folders_that_lead_to_themselves_are_read_once(tmp_path):
    PICTURE.save(tmp_path / "good.png")
    (tmp_path / "again").symlink_to(tmp_path)
    assert len(load_dataset(f"folder:{tmp_path}")) == 1


@pytest.mark.parametrize(
    "name", ["new\nline", "a'b\"c", "$(touch owned)", "; rm", "ä日本", "-n", "%s {x}", b"\xff\xfe"]
)
def test_odd_names(tmp_path, name):
    folder = tmp_path / os.fsdecode(name)
    folder.mkdir()
    PICTURE.save(folder / f"{folder.name}.png")
    assert len(load_dataset(f"folder:{folder}")) == 1
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]
