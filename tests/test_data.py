"""Data: the packaged sets, the cache, downloads, folders of pictures, and what is said when
something is wrong.
"""

import gzip
import pickle
import socket
import struct
import time
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256

import numpy as np
import pytest
import torch
from PIL import Image

from glf_minimal import DataError, ImageDataset, load_dataset
from glf_minimal import data as data_module


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*_, **__):
        raise socket.gaierror("Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.mark.parametrize(
    ("name", "shape", "sizes"), [("mnist-5k", 28, (4500, 500)), ("digits", 8, (1621, 176))]
)
def test_packaged_sets_need_no_network(name, shape, sizes, data_root, no_network):
    train, test = (load_dataset(name, split, data_root) for split in ("train", "test"))
    assert (len(train), len(test)) == sizes
    for split in (train, test):
        assert split.image_shape == (1, shape, shape)
        assert sorted(set(split.labels.tolist())) == list(range(10))
        batch = split.batch(slice(100))
        assert batch.dtype == torch.float32
        assert batch.min() == 0
        assert 0.9 < batch.max() <= 1
    seen = {picture.tobytes() for picture in train.pixels.numpy()}
    assert not any(picture.tobytes() in seen for picture in test.pixels.numpy())
    again = load_dataset(name, "train", data_root)  # from the cache this time
    assert torch.equal(again.pixels, train.pixels)
    assert again.digest == train.digest != test.digest


def test_mnist_5k_is_real_mnist(data_root):
    """The known mean of MNIST's pixels is 0.1307; a class has a recognisable mean picture."""
    train = load_dataset("mnist-5k", "train", data_root)
    images = train.batch(slice(None))
    assert images.mean().item() == pytest.approx(0.1307, abs=0.003)
    zeros, ones = (images[train.labels == digit].mean(0)[0] for digit in (0, 1))
    assert zeros[14, 14] < 0.2 < 0.8 < ones[14, 14]


def test_batches_are_taken_by_index(digits):
    index = torch.tensor([5, 0, 5])
    assert torch.equal(digits.batch(index), digits.pixels[index].float() / 255)


def test_your_own_tensors():
    assert len(ImageDataset(torch.rand(3, 1, 4, 4))) == 3
    double = ImageDataset(torch.rand(3, 1, 4, 4, dtype=torch.float64))
    assert double.batch(slice(2)).dtype == torch.float32


@pytest.mark.parametrize(
    ("pixels", "words"),
    [
        (torch.rand(3, 4, 4), r"shape \(N, C, H, W\)"),
        (torch.rand(0, 1, 4, 4), "N > 0"),
        (torch.rand(3, 1, 4, 4) * 255, r"must lie in \[0, 1\]; these go from"),
        (torch.full((3, 1, 4, 4), float("nan")), "nan"),
        (-torch.rand(3, 1, 4, 4), r"must lie in \[0, 1\]"),
        (torch.zeros(3, 1, 4, 4, dtype=torch.int64), "int64"),
    ],
)
def test_bad_tensors_are_refused(pixels, words):
    with pytest.raises(DataError, match=words):
        ImageDataset(pixels)


def test_labels_must_match():
    with pytest.raises(DataError, match="3 images but 2 labels"):
        ImageDataset(torch.rand(3, 1, 4, 4), torch.zeros(2))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("imagenet",), "unknown data set 'imagenet'; known: mnist-5k"),
        (("mnist", "valid"), "mnist has train and test, got 'valid'"),
        (("folder:nowhere",), "nowhere is not a folder"),
        (("folder:",), "the path is missing"),
        (("folder:.", "train", None, 0), "at least 1; got 0"),
        (("folder:.", "train", None, "8"), "whole number of pixels, at least 1; got '8'"),
        (("folder:.", "valid"), "'train' and 'test', got 'valid'"),
        (("digits", "train", None, 32), "image_size is for folder"),
    ],
)
def test_unknown_names(arguments, words):
    with pytest.raises(DataError, match=words):
        load_dataset(*arguments)


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "cifar10", "celeba"])
def test_without_a_network_the_ways_out_are_named(name, tmp_path, no_network, monkeypatch):
    monkeypatch.setattr(data_module, "DEBIAN_FASHION_MNIST", tmp_path / "not-installed")
    with pytest.raises(
        DataError, match=rf"{name} is not in .*connect to the network, put {name}-train.npz"
    ) as caught:
        load_dataset(name, "train", tmp_path)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("*.npz"))


def _write_idx(folder, prefix, images, labels, opener=open, ending=""):
    folder.mkdir(parents=True, exist_ok=True)
    with opener(folder / f"{prefix}-images-idx3-ubyte{ending}", "wb") as file:
        file.write(struct.pack(">IIII", 2051, len(images), 28, 28) + images.tobytes())
    with opener(folder / f"{prefix}-labels-idx1-ubyte{ending}", "wb") as file:
        file.write(struct.pack(">II", 2049, len(labels)) + labels.tobytes())


@pytest.fixture
def pictures():
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (6, 28, 28, 1), np.uint8), rng.integers(0, 10, 6, np.uint8)


def test_torchvisions_mnist_is_written_to_the_cache(tmp_path, pictures, no_network):
    images, labels = pictures
    _write_idx(tmp_path / "downloads" / "MNIST" / "raw", "t10k", images, labels)
    _write_idx(tmp_path / "downloads" / "MNIST" / "raw", "train", images, labels)
    loaded = load_dataset("mnist", "test", tmp_path)
    assert np.array_equal(loaded.pixels.permute(0, 2, 3, 1).numpy(), images)
    assert loaded.labels.tolist() == labels.tolist()
    with np.load(tmp_path / "mnist-test.npz", allow_pickle=False) as cache:
        assert cache["images"].dtype == np.uint8
        assert cache["labels"].dtype == np.int64
    assert not list(tmp_path.glob(".*.tmp"))


def test_processes_that_start_together_download_once(tmp_path, monkeypatch):
    fetched = []

    def slowly(name, split, root):
        fetched.append(name)
        time.sleep(0.3)
        return np.zeros((3, 28, 28, 1), np.uint8), np.zeros(3, np.int64)

    monkeypatch.setattr(data_module, "_fetch", slowly)
    with ThreadPoolExecutor() as several:
        loaded = list(several.map(lambda _: load_dataset("mnist", "train", tmp_path), range(3)))
    assert [len(data) for data in loaded] == [3, 3, 3]
    assert fetched == ["mnist"]


def test_debians_fashion_mnist_is_used(tmp_path, pictures, no_network, monkeypatch):
    images, labels = pictures
    monkeypatch.setattr(data_module, "DEBIAN_FASHION_MNIST", tmp_path / "debian")
    _write_idx(tmp_path / "debian", "train", images, labels, gzip.open, ".gz")
    loaded = load_dataset("fashion-mnist", "train", tmp_path)
    assert np.array_equal(loaded.pixels[:, 0].numpy(), images[..., 0])
    assert loaded.labels.tolist() == labels.tolist()


def test_torchvisions_cifar10_is_read(tmp_path, monkeypatch):
    from torchvision.datasets import CIFAR10

    folder = tmp_path / "downloads" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    planes = np.random.default_rng(0).integers(0, 256, (4, 3, 32, 32), np.uint8)
    (folder / "test_batch").write_bytes(
        pickle.dumps({"data": planes.reshape(4, -1), "labels": [3, 1, 4, 1]})
    )
    (folder / "batches.meta").write_bytes(
        pickle.dumps({"label_names": [str(i) for i in range(10)]})
    )
    monkeypatch.setattr(CIFAR10, "_check_integrity", lambda self: True)
    monkeypatch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "md5": None})
    loaded = load_dataset("cifar10", "test", tmp_path)
    assert np.array_equal(loaded.pixels.numpy(), planes)
    assert loaded.labels.tolist() == [3, 1, 4, 1]


def test_torchvisions_celeba_is_cropped_and_scaled(tmp_path, monkeypatch):
    """Faces of 178x218: the central 140x140 becomes 64x64, so a frame around it must disappear."""
    from torchvision.datasets import CelebA

    folder = tmp_path / "downloads" / "celeba"
    (folder / "img_align_celeba").mkdir(parents=True)
    face = np.zeros((218, 178, 3), np.uint8)
    face[39:179, 19:159] = (200, 100, 50)
    names = [f"{i:06d}.jpg" for i in range(1, 5)]
    for name in names:
        Image.fromarray(face).save(folder / "img_align_celeba" / name, quality=100, subsampling=0)
    (folder / "list_eval_partition.txt").write_text(
        "".join(f"{n} {i // 2}\n" for i, n in enumerate(names))
    )
    (folder / "identity_CelebA.txt").write_text("".join(f"{name} 1\n" for name in names))
    tables = {
        "list_attr_celeba": [1, -1] * 20,
        "list_bbox_celeba": [1, 2],
        "list_landmarks_align_celeba": [1, 2],
    }
    for file, row in tables.items():
        header = " ".join(f"column{i}" for i in range(len(row)))
        lines = [" ".join(map(str, [name, *row])) for name in names]
        (folder / f"{file}.txt").write_text("\n".join([str(len(names)), header, *lines]) + "\n")
    monkeypatch.setattr(CelebA, "_check_integrity", lambda self: True)
    loaded = load_dataset("celeba", "train", tmp_path)
    assert loaded.image_shape == (3, 64, 64)
    assert len(loaded) == 2
    assert loaded.labels.tolist() == [[1, 0] * 20] * 2
    difference = loaded.pixels.float() - torch.tensor([200.0, 100.0, 50.0])[:, None, None]
    assert difference.abs().max() < 12  # JPEG
    assert len(load_dataset("celeba", "valid", tmp_path)) == 2


@pytest.mark.parametrize(
    "damage", ["truncated", "flipped", "text", "empty", "pickle", "shape", "dtype", "keys"]
)
def test_a_damaged_cache_is_named_and_left_alone(tmp_path, damage):
    path = tmp_path / "mnist-train.npz"
    images, labels = np.zeros((4, 28, 28, 1), np.uint8), np.zeros(4, np.int64)
    if damage == "shape":
        images = images[:, :20]
    elif damage == "dtype":
        images = images.astype(np.float32)
    elif damage == "pickle":
        labels = np.array([{}] * 4, dtype=object)
    np.savez(path, images=images, **({} if damage == "keys" else {"labels": labels}))
    content = bytearray(path.read_bytes())
    if damage == "truncated":
        content = content[: len(content) // 2]
    elif damage == "flipped":
        content[len(content) // 4] ^= 1
    elif damage == "text":
        content = b"not an archive"
    elif damage == "empty":
        content = b""
    path.write_bytes(content)
    with pytest.raises(
        DataError, match=r"the cache file .*mnist-train\.npz .*delete it and run again"
    ):
        load_dataset("mnist", "train", tmp_path)
    assert path.read_bytes() == content


def test_the_root_can_be_set_by_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("GLF_DATA", str(tmp_path))
    load_dataset("digits", "test")
    assert (tmp_path / "digits-test.npz").exists()


def _save_pictures(folder, count, size=(8, 8), mode="RGB", ending="png"):
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(len(ending))
    for i in range(count):
        array = rng.integers(0, 256, (size[1], size[0], 3), np.uint8)
        Image.fromarray(array).convert(mode).save(folder / f"{i:02d}.{ending}")


def test_a_folder_of_pictures_is_split_by_name(tmp_path):
    _save_pictures(tmp_path, 22)
    (tmp_path / "notes.txt").write_text("not a picture")
    train, test = (load_dataset(f"folder:{tmp_path}", split) for split in ("train", "test"))
    kept = [f"{i:02d}.png" for i in range(22) if _hash(f"{i:02d}.png") % 10 == 0]
    assert (len(train), len(test)) == (22 - len(kept), len(kept))
    for name, pixels in zip(kept, test.pixels, strict=True):
        expected = np.asarray(Image.open(tmp_path / name))
        assert np.array_equal(pixels.permute(1, 2, 0).numpy(), expected)
    assert train.image_shape == (3, 8, 8)


def _hash(name):
    return int(sha256(name.encode()).hexdigest()[:16], 16)


def test_a_folder_with_its_own_split(tmp_path):
    _save_pictures(tmp_path / "train", 3, mode="L")
    _save_pictures(tmp_path / "test" / "deeper", 2, mode="L")
    train, test = (load_dataset(f"folder:{tmp_path}", split) for split in ("train", "test"))
    assert (len(train), len(test)) == (3, 2)
    assert train.image_shape == (1, 8, 8)


@pytest.mark.parametrize(
    ("mode", "ending"),
    [("P", "png"), ("RGBA", "png"), ("CMYK", "jpg"), ("RGB", "webp")],
)
def test_other_colour_modes_become_rgb(tmp_path, mode, ending):
    _save_pictures(tmp_path, 2, mode=mode, ending=ending)
    assert load_dataset(f"folder:{tmp_path}").image_shape == (3, 8, 8)


def test_sixteen_bit_pictures_keep_their_brightness(tmp_path):
    Image.fromarray(np.full((8, 8), 257 * 100, np.uint16)).save(tmp_path / "a.png")
    assert (load_dataset(f"folder:{tmp_path}").pixels == 100).all()


def test_pictures_of_different_sizes_need_image_size(tmp_path):
    _save_pictures(tmp_path, 2)
    Image.new("RGB", (20, 10), "red").save(tmp_path / "wide.png")
    with pytest.raises(
        DataError, match=r"wide\.png is 20x10 but .*00\.png is 8x8; give image_size"
    ):
        load_dataset(f"folder:{tmp_path}")
    loaded = load_dataset(f"folder:{tmp_path}", image_size=12)
    assert loaded.image_shape == (3, 12, 12)
    assert (loaded.pixels[2, 0] > 250).all()


def test_unreadable_and_missing_pictures(tmp_path):
    with pytest.raises(DataError, match="no pictures for the train split"):
        load_dataset(f"folder:{tmp_path}")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    with pytest.raises(DataError, match=r"cannot read the picture .*broken\.png"):
        load_dataset(f"folder:{tmp_path}")
