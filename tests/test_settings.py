"""Settings of a training: their names, their differences, what they may be, what they mean here."""

import math
from types import SimpleNamespace

import pytest
import torch

from glf_minimal.errors import RecipeError
from glf_minimal.training import settings
from glf_minimal.training.settings import TrainConfig, difference, flatten, pick_device, uses_bf16


def test_flat_names_are_those_of_groups_and_keys():
    nested = {"a": {"b": {"c": 1, "d": [2]}, "e": {}}, "f": None}
    assert flatten(nested) == {"a.b.c": 1, "a.b.d": [2], "f": None}
    assert flatten(nested, levels=1) == nested
    assert flatten(nested, levels=2) == {"a.b": {"c": 1, "d": [2]}, "a.e": {}, "f": None}
    assert flatten({"b": {"c": 1}}, prefix="a.") == {"a.b.c": 1}


def test_differences_are_old_and_new_by_name():
    old = {"train": {"epochs": 2, "seed": 0}, "model": {"betas": (0.5, 0.9), "beta": 1.0}}
    assert difference(old, old) == {}
    assert difference(old, {**old, "model": {"betas": [0.5, 0.9], "beta": 1.0}}) == {}
    new = {"train": {"epochs": 3, "seed": 0}, "model": {"betas": (0.5, 0.9), "gamma": 2}}
    assert difference(old, new) == {
        "train.epochs": (2, 3),
        "model.beta": (1.0, None),
        "model.gamma": (None, 2),
    }
    assert difference(old, new, levels=1) == {
        "train": ({"epochs": 2, "seed": 0}, {"epochs": 3, "seed": 0}),
        "model": ({"betas": [0.5, 0.9], "beta": 1.0}, {"betas": [0.5, 0.9], "gamma": 2}),
    }


def test_free_settings_are_no_difference_nor_what_lies_below_them():
    old = {"train": {"device": "cpu", "devices": 1}, "made_with": {"versions": {"torch": "2"}}}
    new = {"train": {"device": "cuda", "devices": 2}, "made_with": {"versions": {"torch": "3"}}}
    assert difference(old, new) == {"train.devices": (1, 2)}
    assert difference(old, new, free=("train",)) == {"made_with.versions.torch": ("2", "3")}


def test_schedules():
    cosine = TrainConfig(schedule="cosine")
    halve = TrainConfig(schedule="halve", halve_every=10)
    factors = [cosine.lr_factor(7, progress) for progress in (0, 1 / 3, 0.5)]
    assert factors == [1, pytest.approx(0.75), pytest.approx(0.5)]
    assert [halve.lr_factor(epoch, 0.9) for epoch in (0, 9, 10, 25)] == [1, 1, 0.5, 0.25]
    assert TrainConfig().lr_factor(99, 0.9) == 1


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"epochs": 0}, "epochs: expected a whole number, at least 1, got 0"),
        ({"batch_size": 0}, "batch_size: expected a whole number, at least 1, got 0"),
        ({"halve_every": 0}, "halve_every: expected a whole number, at least 1, got 0"),
        ({"seed": -1}, "seed: expected a whole number, at least 0, got -1"),
        ({"seed": 2**32}, "seed: expected less than 2^32, got 4294967296"),
        ({"lr": 0}, "lr: expected a positive number, got 0.0"),
        ({"lr": math.nan}, "lr: expected a positive number, got nan"),
        ({"lr": math.inf}, "lr: expected a positive number, got inf"),
        ({"lr": "fast"}, "lr: expected a positive number, got 'fast'"),
        ({"checkpoint_seconds": None}, "checkpoint_seconds: expected a number, got None"),
        (
            {"schedule": "step"},
            "schedule: expected one of ('constant', 'cosine', 'halve'), got 'step'",
        ),
        (
            {"precision": "int8"},
            "precision: expected one of ('auto', 'float32', 'bf16'), got 'int8'",
        ),
    ],
)
def test_bad_settings_are_named(bad, message):
    with pytest.raises(RecipeError) as error:
        TrainConfig(**bad)
    assert str(error.value) == message


def test_the_least_and_the_largest_settings():
    config = TrainConfig(
        epochs=1,
        batch_size=1,
        halve_every=1,
        seed=2**32 - 1,
        lr=1,
        checkpoint_seconds=0,
        device=torch.device("cuda", 1),
    )
    assert (config.epochs, config.batch_size, config.halve_every) == (1, 1, 1)
    assert config.seed == 2**32 - 1
    assert type(config.lr) is type(config.checkpoint_seconds) is float
    assert config.device == "cuda:1"
    assert TrainConfig(lr=0.5).lr == 0.5
    for precision in ("auto", "float32", "bf16"):
        assert TrainConfig(precision=precision, schedule="constant").precision == precision


@pytest.mark.parametrize("there", [True, False])
def test_the_automatic_device_is_the_gpu_if_there_is_one(monkeypatch, there):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    assert pick_device() == pick_device("auto") == torch.device("cuda" if there else "cpu")


def test_devices_by_name(monkeypatch):
    assert pick_device("cpu") == torch.device("cpu")
    expected = "device: expected 'auto', 'cpu', 'cuda', 'cuda:0', … or 'mps'; got 'meta:0'"
    with pytest.raises(RecipeError) as error:
        pick_device("meta:0")
    assert str(error.value) == expected
    expected = "device: torch has no device 'cuda:77' here; use 'cpu' or 'auto'"
    with pytest.raises(RecipeError) as error:
        pick_device("cuda:77")
    assert str(error.value) == expected
    # A machine with both kinds of GPU; torch says which device a tensor is on.
    monkeypatch.setattr(torch, "empty", lambda _, device: SimpleNamespace(device=device + "!"))
    assert [pick_device(name) for name in ("cuda:1", "mps")] == ["cuda:1!", "mps!"]


@pytest.mark.parametrize(
    ("flags", "has_bf16"),
    [("avx2 avx512_bf16", True), ("amx_bf16 avx2", True), ("avx2 avx512f", False), ("", False)],
)
def test_a_cpu_trains_in_bf16_where_it_has_the_instructions(monkeypatch, tmp_path, flags, has_bf16):
    (tmp_path / "cpuinfo").write_text(f"flags: {flags} β", encoding="utf-8")
    files = {"/proc/cpuinfo": tmp_path / "cpuinfo"}
    monkeypatch.setattr(settings, "Path", lambda path: files[path])
    assert uses_bf16("auto", torch.device("cpu")) is has_bf16
    assert not uses_bf16("auto", torch.device("mps"))
    assert uses_bf16("bf16", torch.device("mps"))
    assert not uses_bf16("float32", torch.device("cpu"))
    files["/proc/cpuinfo"] = tmp_path / "missing"
    assert not uses_bf16("auto", torch.device("cpu"))


@pytest.mark.parametrize(
    ("capability", "has_bf16"), [((7, 5), False), ((8, 0), True), ((9, 0), True)]
)
def test_a_gpu_trains_in_bf16_from_ampere_on(monkeypatch, capability, has_bf16):
    asked = {torch.device("cuda", 1): capability}
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: asked[device])
    assert uses_bf16("auto", torch.device("cuda", 1)) is has_bf16
