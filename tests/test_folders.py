"""Folders of pictures: which files are read, which are kept for testing, and what is said of it."""

import os
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from training_helpers import quick

from glf_minimal import GLF, DataError, fit, load_dataset, mlp_decoder, mlp_encoder, one_sided_flow
from glf_minimal.evaluation.features import folder_batches
from glf_minimal.folders import list_pictures, split_folder


def save(path, level=100, mode="L", size=(8, 8)):
    """A picture all of one grey level, by which it can be told from others."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, level).convert(mode).save(path)


def levels(folder, split):
    return sorted(load_dataset(f"folder:{folder}", split).pixels[:, 0, 0, 0].tolist())


@pytest.mark.parametrize(
    ("inside", "train", "test"),
    [
        ({"train": [1, 2], "test": [3]}, [1, 2], [3]),
        ({"train": [1, 2], "val": [3]}, [1, 2], [3]),
        ({"Training": [1, 2], "Validation": [3]}, [1, 2], [3]),
        ({"train": [1, 2], "valid": [3], "test": [4]}, [1, 2], [4]),
        ({"train/cats": [1], "train/dogs": [2], "test/cats": [3]}, [1, 2], [3]),
        ({"train": [1], "test": [3], "other": [5], "": [6]}, [1], [3]),
        ({"cats": [4], "train": [2]}, [2, 4], None),
    ],
)
def test_layouts(tmp_path, inside, train, test):
    """What is kept for testing is never trained on."""
    for name, chosen in inside.items():
        for level in chosen:
            save(tmp_path / name / f"{level}.png", level)
    assert levels(tmp_path, "train") == train
    if test is None:
        with pytest.raises(DataError, match=r"no pictures for the test split .*fewer than 10"):
            levels(tmp_path, "test")
    else:
        assert levels(tmp_path, "test") == test


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["val"], r"has val/ but no train/; put the pictures to train on into train/"),
        (["Test", "cats"], "has Test/ but no train/"),
        (["train", "val", "validation"], "has val/ and validation/, which mean the same"),
        (["train", "training", "test"], "has train/ and training/, which mean the same"),
    ],
)
def test_unclear_layouts_are_refused(tmp_path, names, words):
    for name in names:
        save(tmp_path / name / "a.png")
    with pytest.raises(DataError, match=words):
        load_dataset(f"folder:{tmp_path}")


def test_adding_and_removing_pictures_moves_no_other(tmp_path):
    """The split is by the name within the folder, wherever that lies."""
    for i in range(200):
        save(tmp_path / "pics" / f"class-{i % 2}" / f"{i}.png", i)
    before = set(levels(tmp_path / "pics", "test"))
    assert 10 <= len(before) <= 30
    assert before.isdisjoint(levels(tmp_path / "pics", "train"))
    gone = min(before)
    for i in (0, 3, gone):
        (tmp_path / "pics" / f"class-{i % 2}" / f"{i}.png").unlink()
    for i in range(200, 250):
        save(tmp_path / "pics" / f"{i}.png", i)
    (tmp_path / "pics").rename(tmp_path / "moved")
    after = set(levels(tmp_path / "moved", "test"))
    assert {i for i in after if i < 200} == before - {gone, 0, 3}


def test_the_split_is_the_same_on_every_machine(tmp_path):
    """Which of these names are kept is part of what runs are compared by."""
    for i in range(40):
        save(tmp_path / f"{i}.png", i)
    save(tmp_path / "ä.png", 99)
    assert [file.name for file in split_folder(tmp_path).test] == ["1.png", "20.png", "21.png"]


@pytest.mark.parametrize("count", [1, 9, 10, 11, 12, 13])
def test_small_folders(tmp_path, count):
    """From ten pictures on at least one is kept for testing."""
    for i in range(count):
        save(tmp_path / f"n{i}.png")
    split = split_folder(tmp_path)
    rule = "there are fewer than 10" if count < 10 else "one in 10, by a hash of its name"
    assert split.found == (
        f"pictures in {tmp_path}: {len(split.train)} for training, {len(split.test)} kept for "
        f"testing ({rule})"
    )
    assert len(split.train) + len(split.test) == count
    assert len(split.train) >= 1
    assert (len(split.test) > 0) == (count >= 10)


def test_of_ten_pictures_one_is_kept_for_testing_even_if_no_hash_says_so(tmp_path):
    for i in range(2, 12):
        save(tmp_path / f"n{i}.png")
    assert [file.name for file in split_folder(tmp_path).test] == ["n11.png"]  # the least hash


@pytest.mark.skipif(sys.platform != "linux", reason="names there are text")
def test_names_that_are_no_text_have_their_place_in_a_split(tmp_path):
    for i in range(10):
        (tmp_path / os.fsdecode(b"\xff%d.png" % i)).touch()
    split = split_folder(tmp_path)
    assert len(split.train) + len(split.test) == 10


HIDDEN = [
    ".ipynb_checkpoints/a-checkpoint.png",
    ".thumbnails/large/a.png",
    "._a.png",
    "__MACOSX/pics/a.png",
    "cats/@eaDir/a.png",
]


@pytest.mark.parametrize("name", HIDDEN)
@pytest.mark.parametrize("inside", ["", "train/"])
def test_hidden_files_are_passed_over(tmp_path, name, inside):
    """They are no pictures of the user's, and may be none at all. A folder given may be hidden."""
    folder = tmp_path / ".pics"
    save(folder / inside / "a.png", 7)
    if inside:
        save(folder / "test" / "b.png", 8)
    path = folder / inside / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"Mac OS X's attributes")
    assert levels(folder, "train") == [7]
    if path.parent == folder / inside:
        assert sum(map(len, folder_batches(folder / inside))) == 1


def test_what_is_skipped_is_said(tmp_path):
    save(tmp_path / "train" / "a.png")
    save(tmp_path / "val" / "b.png")
    save(tmp_path / "more" / "c.png")
    (tmp_path / "train" / "d.jfif").touch()
    (tmp_path / "val" / "e.PPM").touch()
    (tmp_path / "README").touch()
    origin = load_dataset(f"folder:{tmp_path}").origin
    assert origin == (
        f"the train split of the pictures in {tmp_path}: 1 for training (train/), 1 kept for "
        "testing (val/), not read: 1 .jfif, 1 .ppm, 1 elsewhere in it, 1 without an ending"
    )


def test_fit_says_what_it_trains_on(tmp_path, capsys):
    for i in range(3):
        save(tmp_path / "train" / f"{i}.png", 100 + i)
    save(tmp_path / "val" / "b.png")
    shape = (1, 8, 8)
    model = GLF(mlp_encoder(shape, 4, (8,)), mlp_decoder(shape, 4, (8,)), one_sided_flow(4, 8))
    fit(model, load_dataset(f"folder:{tmp_path}"), quick(epochs=1))
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "3 for training (train/), 1 kept for testing (val/)" in told
    fit(model, torch.rand(4, *shape), quick(epochs=1))
    assert capsys.readouterr().err == ""


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="may read everything")
def test_a_folder_that_cannot_be_read_is_named(tmp_path):
    save(tmp_path / "a.png")
    (tmp_path / "private").mkdir(mode=0)
    with pytest.raises(DataError, match=r"cannot read .*private"):
        load_dataset(f"folder:{tmp_path}")


@pytest.mark.parametrize("read", [split_folder, list_pictures])
def test_a_folder_that_is_gone_is_named(tmp_path, read):
    gone = tmp_path / "gone"
    with pytest.raises(DataError) as error:
        read(gone)
    reason = "No such file or directory"
    assert str(error.value) == f"folder: cannot read {gone} ({reason}); is it yours to read?"


def test_pictures_are_listed_by_name_folder_after_folder(tmp_path):
    save(tmp_path / "pics" / "x.png")
    others = ("a/note.txt", "c/more.TXT", "README", ".hidden/a.png")
    for name in (
        "b.png",
        "a/z.PNG",
        "a/b/c.jpeg",
        "c/a.webp",
        "c/a\u0308.png",
        "c/b.png",
        "a-b/x.png",
        *others,
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "a" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "a" / "folder.png").mkdir()

    def names(**arguments):
        listing = list_pictures(tmp_path, **arguments)
        return [path.relative_to(tmp_path).as_posix() for path in listing.pictures]

    inside_a = ["a/b/c.jpeg", "a/gone.png", "a/z.PNG"]
    inside_c = ["c/a.webp", "c/b.png", "c/a\u0308.png"]  # as one letter it comes after "b"
    assert names() == [*inside_a, "a-b/x.png", "b.png", *inside_c, "pics/x.png"]
    assert names(without=(tmp_path / "pics", tmp_path / "c")) == [
        *inside_a,
        "a-b/x.png",
        "b.png",
    ]
    assert names(deep=False) == ["b.png"]
    assert list_pictures(tmp_path).others == {".txt": 2, "without an ending": 1}


def test_both_splits_have_the_same_channels(tmp_path):
    """Grey only where all are: the few pictures for testing may happen to be grey."""
    save(tmp_path / "train" / "a.png", mode="L")
    save(tmp_path / "train" / "b.png", mode="RGB")
    save(tmp_path / "test" / "c.png", mode="L")
    for split in ("train", "test"):
        assert load_dataset(f"folder:{tmp_path}", split).image_shape == (3, 8, 8)


def clear(mode, level=(40, 40, 40), key=None):
    """A picture of this mode: its left half opaque, its right half transparent over a colour."""
    opacity = np.zeros((8, 8), np.uint8)
    opacity[:, :4] = 255
    if key == "palette":
        picture = Image.new("P", (8, 8), 1)
        picture.putpalette([0, 0, 0, *level])
        picture.paste(0, (4, 0, 8, 8))
        return picture, {"transparency": 0}
    if key is not None:
        colour = {"I;16": 257 * 40, "L": 40, "RGB": level}[mode]
        array = np.zeros(
            (8, 8, 3) if mode == "RGB" else (8, 8), np.uint16 if "16" in mode else np.uint8
        )
        array[:, :4] = colour
        return Image.fromarray(array), {"transparency": key}
    picture = Image.new("RGB" if "RGB" in mode else "L", (8, 8), level if "RGB" in mode else 40)
    picture.putalpha(Image.fromarray(opacity))
    return picture, {}


@pytest.mark.parametrize(
    ("mode", "level", "key", "ending", "channels"),
    [
        ("RGBA", (40, 90, 20), None, "png", 3),
        ("RGBA", (40, 90, 20), None, "tif", 3),
        ("LA", (40, 40, 40), None, "png", 1),
        ("P", (40, 90, 20), "palette", "png", 3),
        ("P", (40, 90, 20), "palette", "gif", 3),
        ("L", (40, 40, 40), 0, "png", 1),
        ("RGB", (40, 90, 20), (0, 0, 0), "png", 3),
        ("I;16", (40, 40, 40), 0, "png", 1),
    ],
)
def test_white_shows_through_what_is_transparent(tmp_path, mode, level, key, ending, channels):
    """Not the colours hidden there; grey with transparency stays grey."""
    picture, options = clear(mode, level, key)
    picture.save(tmp_path / f"a.{ending}", **options)
    pixels = load_dataset(f"folder:{tmp_path}").pixels[0]
    assert len(pixels) == channels
    expected = torch.tensor(level[:channels], dtype=torch.uint8)
    assert (pixels[:, :, :4] == expected[:, None, None]).all()
    assert (pixels[:, :, 4:] == 255).all()
    (batch,) = folder_batches(tmp_path)
    assert torch.equal(batch[0, :channels] * 255, pixels.float())


def test_half_transparent_is_half_white(tmp_path):
    Image.new("RGBA", (8, 8), (0, 100, 255, 128)).save(tmp_path / "a.png")
    pixels = load_dataset(f"folder:{tmp_path}").pixels[0, :, 0, 0].tolist()
    assert pixels == pytest.approx([127, 177, 255], abs=1)


def test_the_first_frame_is_read(tmp_path):
    frames = [Image.new("L", (8, 8), level) for level in (10, 200)]
    for ending in ("gif", "tif"):
        frames[0].save(tmp_path / f"a.{ending}", save_all=True, append_images=frames[1:])
    assert (load_dataset(f"folder:{tmp_path}").pixels == 10).all()
