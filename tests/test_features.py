"""Inception's features and FID as the pytorch_fid command has them, without a download; folders;
the loop.
"""

import os
import pickle
import subprocess
import sys
from urllib.error import URLError

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from glf_minimal import ImageDataset
from glf_minimal.errors import DataError, MetricError
from glf_minimal.evaluation.features import (
    InceptionFeatures,
    as_uint8,
    extract,
    folder_batches,
    image_batches,
    require,
)
from glf_minimal.evaluation.metrics import fid

pytest.importorskip("pytorch_fid.inception")
NAME = "pt_inception-2015-12-05-6726825d.pth"


def pictures(n, channels, seed):
    """Smooth patterns and noise, (n, channels, 32, 32) in [0, 1], not on the 256 levels."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(n, channels, 4, 4, generator=generator)
    smooth = nn.functional.interpolate(coarse, size=32, mode="bicubic")
    return (smooth + 0.2 * torch.rand(n, channels, 32, 32, generator=generator)).clamp(0, 1)


def save(images, folder):
    """One PNG each: grey where there is one channel, RGB where there are three."""
    folder.mkdir(exist_ok=True)
    for i, image in enumerate((images * 255).round().byte().numpy()):
        Image.fromarray(image[0] if len(image) == 1 else image.transpose(1, 2, 0)).save(
            folder / f"{i:04}.png"
        )
    return folder


def test_fid_is_that_of_the_pytorch_fid_command(inception_weights, tmp_path):
    """Grey and coloured PNG files; images in memory are rounded and so stand for their files."""
    grey, coloured = pictures(72, 1, seed=0), pictures(72, 3, seed=1)
    folders = save(grey, tmp_path / "grey"), save(coloured, tmp_path / "coloured")
    command = [sys.executable, "-W", "ignore", "-m", "pytorch_fid", *map(str, folders)]
    command += ["--device", "cpu", "--dims", "64", "--batch-size", "50"]
    environment = os.environ | {"TORCH_HOME": str(inception_weights.parents[2])}
    printed = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=True
    ).stdout
    expected = float(printed.rpartition("FID:")[2])
    assert 0.1 < expected < 100
    assert fid(folders[0], coloured, inception_weights, dims=64) == pytest.approx(
        expected, abs=1e-3
    )


def test_images_in_memory_are_their_files(tmp_path):
    coloured, grey = pictures(7, 3, seed=0), pictures(7, 1, seed=1)
    for images in (coloured, grey):
        files = list(image_batches(save(images, tmp_path / str(images.shape[1])), 3))
        memory = list(image_batches(images, 3))
        assert [len(batch) for batch in files] == [len(batch) for batch in memory] == [3, 3, 1]
        assert torch.equal(torch.cat(files), torch.cat(memory).expand(-1, 3, -1, -1))
    data = ImageDataset((grey * 255).round().byte())
    assert torch.equal(torch.cat(list(image_batches(data))), as_uint8(grey))


def test_inception_features(inception_weights, tmp_path, monkeypatch):
    """One vector an image, in eval mode whatever happens, and the same from every source of the
    weights.
    """
    state = torch.get_rng_state()
    extractor = InceptionFeatures(64, inception_weights)
    assert torch.equal(torch.get_rng_state(), state)
    grey = pictures(3, 1, seed=0)
    features = extractor.train()(grey)
    assert features.shape == (3, 64)
    assert features.dtype == torch.float32
    assert not features.requires_grad
    assert (features.std(0) > 0).float().mean() > 0.9
    assert not any(module.training for module in extractor.modules())
    assert torch.equal(extractor(grey), features)
    assert torch.allclose(extractor(grey.double().expand(-1, 3, -1, -1)), features, atol=1e-5)
    assert torch.allclose(torch.cat([extractor(x) for x in grey.split(1)]), features, atol=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(extractor(grey), features)

    save_file(torch.load(inception_weights, weights_only=True), tmp_path / "inception.safetensors")
    assert torch.equal(InceptionFeatures(64, tmp_path / "inception.safetensors")(grey), features)
    monkeypatch.setenv("TORCH_HOME", str(inception_weights.parents[2]))
    assert torch.equal(InceptionFeatures(64)(grey), features)


@pytest.mark.parametrize("dims", [192, 768, 2048])
def test_deeper_features(inception_weights, dims):
    features = InceptionFeatures(dims, inception_weights)(pictures(2, 3, seed=0))
    assert features.shape == (2, dims)
    assert features.isfinite().all()
    assert (features[0] != features[1]).any()


def test_missing_weights(tmp_path, monkeypatch):
    """Neither a download nor a file: one sentence with the reason, the place, and the argument."""

    def refuse(*_, **__):
        raise URLError("Name or service not known")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", refuse)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(MetricError) as caught:
        InceptionFeatures()
    message = str(caught.value)
    assert "Name or service not known" in message
    assert f"put {NAME} into {tmp_path / 'hub' / 'checkpoints'}" in message
    assert message.endswith("as weights")
    assert "\n" not in message
    for missing in ("missing.pth", "missing.safetensors"):
        with pytest.raises(MetricError, match=rf"{missing} \(.*put {NAME} into .*as weights"):
            fid(torch.rand(2, 1, 8, 8), torch.rand(2, 1, 8, 8), weights=tmp_path / missing)


def test_weights_that_are_not_inceptions(tmp_path):
    (tmp_path / "damaged.pth").write_bytes(b"not a checkpoint")
    (tmp_path / "damaged.safetensors").write_bytes(b"not a checkpoint")
    (tmp_path / "empty.pth").touch()
    (tmp_path / "code.pth").write_bytes(pickle.dumps(print, protocol=2))
    for name in ("damaged.pth", "damaged.safetensors", "empty.pth", "code.pth"):
        with pytest.raises(MetricError, match=name):
            InceptionFeatures(64, tmp_path / name)
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "other.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    for name in ("other.pth", "list.pth"):
        with pytest.raises(MetricError, match=rf"{name} does not hold FID's Inception"):
            InceptionFeatures(64, tmp_path / name)


def test_wrong_arguments(inception_weights):
    with pytest.raises(MetricError, match="dims: expected one of 64, 192, 768, 2048; got 100"):
        InceptionFeatures(100)
    extractor = InceptionFeatures(64, inception_weights)
    for images in (
        torch.rand(2, 2, 8, 8),
        torch.rand(1, 8, 8),
        torch.rand(2, 1, 8, 8) * 255,
        torch.rand(2, 1, 8, 8) - 1,
    ):
        with pytest.raises(MetricError, match=r"grey or RGB images .* in \[0, 1\]; got \("):
            extractor(images)
    with pytest.raises(DataError, match="float images must lie in"):
        next(image_batches(torch.rand(2, 1, 8, 8) * 255))
    with pytest.raises(MetricError, match="batch_size: expected at least 1, got 0"):
        next(image_batches(torch.rand(2, 1, 8, 8), 0))


def test_a_missing_package_is_named():
    with pytest.raises(MetricError, match="pip install no-such-package"):
        require("no_such_package.module", "no-such-package")


def test_as_uint8():
    levels = torch.arange(256) / 255
    assert torch.equal(as_uint8(levels), levels)
    images = torch.rand(1000, generator=torch.Generator().manual_seed(0))
    assert (as_uint8(images) - images).abs().max() <= 0.5 / 255 + 1e-6
    assert torch.equal((as_uint8(images) * 255).round().byte().float() / 255, as_uint8(images))


def test_folder_is_read_by_name_in_rgb(tmp_path):
    """Every picture, whatever its mode; other files and sub-folders are left alone."""
    save(torch.full((1, 3, 6, 5), 0.6), tmp_path / "inner")
    for i, (name, mode) in enumerate(
        [("b.png", "L"), ("a.PNG", "RGB"), ("c.png", "RGBA"), ("d.gif", "P"), ("e.bmp", "1")]
    ):
        Image.new(mode, (5, 6), 1 if mode in "1P" else (20 * i,) * len(mode)).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no picture")
    batches = list(folder_batches(tmp_path, batch_size=2))
    assert [tuple(batch.shape) for batch in batches] == [(2, 3, 6, 5), (2, 3, 6, 5), (1, 3, 6, 5)]
    levels = [round(255 * image.mean().item()) for image in torch.cat(batches)]
    assert levels[:3] == [20, 0, 221]  # of 40, opaque by 40 of 255, before white
    assert all(batch.dtype == torch.float32 for batch in batches)
    assert torch.equal(batches[1][0], torch.full((3, 6, 5), 221 / 255))


def test_folders_that_cannot_be_read(tmp_path):
    with pytest.raises(DataError, match="missing is not a folder"):
        next(folder_batches(tmp_path / "missing"))
    with pytest.raises(DataError, match="no pictures in"):
        next(folder_batches(tmp_path))
    Image.new("L", (5, 6)).save(tmp_path / "1.png")
    Image.new("L", (6, 6)).save(tmp_path / "2.png")
    with pytest.raises(DataError, match=r"2.png is 6x6 but .*1.png is 5x6; crop and scale"):
        list(folder_batches(tmp_path, batch_size=1))
    (tmp_path / "2.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"cannot read the picture .*2.png"):
        list(folder_batches(tmp_path))
    Image.fromarray(np.full((6, 5), 1.0, np.float32)).save(tmp_path / "2.tif")
    (tmp_path / "2.png").unlink()
    with pytest.raises(DataError, match=r"2.tif \(it has 32 bits a channel"):
        list(folder_batches(tmp_path))


def test_pictures_of_16_bits_are_read_as_a_data_set_reads_them(tmp_path):
    Image.fromarray(np.full((6, 5), 257 * 100, np.uint16)).save(tmp_path / "1.png")
    (batch,) = folder_batches(tmp_path)
    assert torch.equal(batch, torch.full((1, 3, 6, 5), 100 / 255))


def test_extract_streams_any_module():
    """One batch at a time, the module in eval mode, and the same features each time."""
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout(), nn.Flatten()
    ).train()
    images, alive = torch.rand(10, 1, 5, 5), []

    def batches():
        for batch in images.split(4):
            alive.append(len(batch))
            yield batch

    features = extract(module, batches())
    assert features.shape == (10, 36)
    assert features.dtype == torch.float32
    assert features.device.type == "cpu"
    assert not features.requires_grad
    assert not module.training
    assert alive == [4, 4, 2]
    assert torch.equal(extract(module, images.split(4)), features)
    assert extract(module.double(), images.double().split(4)).dtype == torch.float32
    with pytest.raises(MetricError, match=r"expected \(B, F\) for 10 images, got \(10, 1, 5, 5\)"):
        extract(nn.Identity(), [images])
    with pytest.raises(MetricError, match="at least one batch"):
        extract(nn.Flatten(), [])
