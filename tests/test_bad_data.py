"""Bad data: every array cache and every tensor is loaded right or refused in one sentence that says
what to do.
"""

import gzip
import io
import zipfile

import numpy as np
import pytest
import torch
from damage import damaged, load_or_sentence
from training_helpers import quick

from glf_minimal import DataError, ImageDataset, fit, load_dataset
from glf_minimal import data as data_module

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (6, 28, 28, 1), np.uint8)
LABELS = np.arange(6)


def archive(save=np.savez, **arrays):
    file = io.BytesIO()
    save(file, **({"images": IMAGES, "labels": LABELS} | arrays))
    return file.getvalue()


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("seeds", range(10))
def test_damaged_caches(tmp_path, save, seeds):
    """400 of them."""
    path, content = tmp_path / "mnist-train.npz", archive(save)
    for seed in range(20 * seeds, 20 * seeds + 20):
        path.write_bytes(damaged(content, seed))
        before = path.read_bytes()
        loaded = load_or_sentence(
            lambda: load_dataset("mnist", "train", tmp_path), str(path), "delete it"
        )
        if loaded is not None:
            assert np.array_equal(loaded.pixels.permute(0, 2, 3, 1).numpy(), IMAGES)
            assert loaded.labels.tolist() == LABELS.tolist()
        assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {path.name: before}


def patched(content, mark, offset, value):
    """The archive with bytes replaced behind each of zip's marks."""
    bad, at = bytearray(content), content.find(mark)
    while at >= 0:
        bad[at + offset : at + offset + len(value)] = value
        at = content.find(mark, at + 1)
    return bytes(bad)


def unended_header():
    """Digests that fit, but a header of numpy's that never ends."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as out:
        out.writestr("images.npy", b"\x93NUMPY\x01\x00\x10\x00" + b"{'descr': (((((\n")
    return file.getvalue()


BAD_CACHES = {
    "unknown compression": patched(
        patched(archive(), b"PK\1\2", 10, b"\x63"), b"PK\3\4", 8, b"\x63"
    ),
    "lzma that is none": patched(patched(archive(), b"PK\1\2", 10, b"\x0e"), b"PK\3\4", 8, b"\x0e"),
    "encrypted": patched(patched(archive(), b"PK\1\2", 8, b"\1"), b"PK\3\4", 6, b"\1"),
    "header without an end": unended_header(),
    "no archive but an array": b"\x93NUMPY" + archive().partition(b"\x93NUMPY")[2],
    "no images": archive(images=IMAGES[:0], labels=LABELS[:0]),
    "pixels in float": archive(images=IMAGES / 255),
    "pixels of another size": archive(images=IMAGES[:, :20]),
    "channels first": archive(images=IMAGES.transpose(0, 3, 1, 2)),
    "labels missing at the end": archive(labels=LABELS[:5]),
    "a single label": archive(labels=np.int64(3)),
    "labels of three dimensions": archive(labels=LABELS.reshape(6, 1, 1)),
    "labels in words": archive(labels=np.array(list("abcdef"))),
    "labels in float": archive(labels=LABELS / 2),
    "labels NaN": archive(labels=np.full(6, np.nan)),
    "labels of another byte order": archive(labels=LABELS.astype(">i8")),
    "labels below 0": archive(labels=LABELS - 1),
    "labels above 9": archive(labels=LABELS + 5),
    "labels of objects": archive(labels=np.array([{}] * 6)),
}


@pytest.mark.parametrize("name", BAD_CACHES)
def test_caches_of_the_wrong_kind(tmp_path, name):
    path = tmp_path / "mnist-train.npz"
    path.write_bytes(BAD_CACHES[name])
    with pytest.raises(
        DataError, match=r"the cache file .*mnist-train\.npz .*delete it and run again"
    ) as caught:
        load_dataset("mnist", "train", tmp_path)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == BAD_CACHES[name]


@pytest.mark.parametrize("bad", ["no gzip", "cut", "fewer labels", "no pixels"])
def test_a_damaged_source_leaves_no_cache(tmp_path, monkeypatch, bad):
    debian = tmp_path / "debian"
    debian.mkdir()
    images = gzip.compress(bytes(16) + (b"" if bad == "no pixels" else IMAGES.tobytes()))
    images = {"no gzip": b"nothing", "cut": images[:-20]}.get(bad, images)
    (debian / "train-images-idx3-ubyte.gz").write_bytes(images)
    labels = bytes(8 + (5 if bad == "fewer labels" else 0 if bad == "no pixels" else 6))
    (debian / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(labels))
    monkeypatch.setattr(data_module, "DEBIAN_FASHION_MNIST", debian)
    with pytest.raises(DataError, match="install its package"):
        load_dataset("fashion-mnist", "train", tmp_path / "cache")
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [".lock"]


@pytest.mark.parametrize("bad", [b"", b"\0" * 16, b"\0\0\x08\x03" + bytes(40)])
def test_damaged_downloads_are_named(tmp_path, monkeypatch, bad):
    """MNIST as torchvision has unpacked it: it only looks whether the files are there."""
    raw = tmp_path / "downloads" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for kind in ("train", "t10k"):
        (raw / f"{kind}-images-idx3-ubyte").write_bytes(bad)
        (raw / f"{kind}-labels-idx1-ubyte").write_bytes(bad)
    with pytest.raises(DataError, match=r"delete what is damaged in .*downloads"):
        load_dataset("mnist", "train", tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"downloads", ".lock"}


@pytest.mark.parametrize(
    "name", ["folder:" + "x" * 300, "folder:a\0b", "folder:" + "x/" * 5000, None, 5, [], "../mnist"]
)
def test_names_that_are_none(name, tmp_path):
    with pytest.raises(DataError, match=r"unknown data set|is not a folder"):
        load_dataset(name, "train", tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("root", ["x" * 300, "a\0b"])
def test_roots_that_cannot_be(root):
    with pytest.raises(DataError, match=r"cannot use the folder .*set another root"):
        load_dataset("digits", "train", root)


GOOD = torch.rand(4, 1, 8, 8)


@pytest.mark.parametrize(
    ("pixels", "words"),
    [
        ((GOOD > 0.5).to(torch.uint8), "uint8 images hold only 0 and 1, where 255 is white"),
        ((GOOD > 0.5) / 255, "were they divided by 255 twice"),
        ((GOOD > 0.5).half() / 255, "were they divided by 255 twice"),
    ],
)
def test_images_that_are_almost_black_are_warned_about(pixels, words, make_glf):
    """Once, and wherever they come in."""
    for use in (ImageDataset, lambda pixels: fit(make_glf(), pixels, quick(epochs=1))):
        with pytest.warns(UserWarning, match=words) as caught:
            use(pixels)
        assert len(caught) == 1


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "pixels", [(GOOD > 0.5).float(), (GOOD > 0.5).to(torch.uint8) * 255, GOOD / 100]
)
def test_images_that_are_not_are_not(pixels):
    ImageDataset(pixels).binarized()


@pytest.mark.parametrize(
    "pixels",
    [
        GOOD.numpy(),
        GOOD.tolist(),
        None,
        GOOD[:, :, :0],
        GOOD[:, :0],
        GOOD[0, 0],
        GOOD.to(torch.complex64),
        GOOD > 0.5,
        GOOD.to(torch.float8_e4m3fn),
        GOOD.index_fill(0, torch.tensor([2]), float("nan")),
        GOOD.index_fill(0, torch.tensor([2]), float("inf")),
        GOOD - 0.5,
        (GOOD * 255).short(),
    ],
)
def test_bad_tensors(pixels, make_glf):
    for use in (ImageDataset, lambda pixels: fit(make_glf(), pixels)):
        with pytest.raises(
            DataError,
            match=r"expected (a tensor of images of shape \(N|uint8 or float)|must lie in \[0",
        ):
            use(pixels)


@pytest.mark.parametrize(
    "labels",
    [
        torch.zeros(4),
        torch.zeros(3).long(),
        torch.tensor(1),
        [0, 1, 2, 3],
        LABELS[:4],
        torch.zeros(4, 1, 1).long(),
    ],
)
def test_bad_labels(labels):
    with pytest.raises(
        DataError,
        match=r"4 images but .* labels \(.*expected a tensor of int64, \(N,\) or \(N, K\)",
    ):
        ImageDataset(GOOD, labels)


@pytest.mark.parametrize(
    "pixels", [GOOD.half(), GOOD.bfloat16(), GOOD.double(), GOOD.clone().requires_grad_(), GOOD.mT]
)
def test_unusual_tensors_load(pixels):
    """The digest is of the values, whatever their strides."""
    data = ImageDataset(pixels)
    assert data.batch(slice(2)).dtype == torch.float32
    assert (
        data.digest
        == ImageDataset(pixels.detach().clone(memory_format=torch.contiguous_format)).digest
    )
    assert data.digest != ImageDataset(pixels.detach().flip(0)).digest
