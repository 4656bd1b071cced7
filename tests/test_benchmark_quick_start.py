"""The quick start without and with a mixture as noise, over seeds, in one table."""

import pytest

from benchmarks import quick_start
from glf_minimal import ImageDataset, load_dataset
from glf_minimal.models import GaussianMixture

# Few images make it fast.
pytestmark = pytest.mark.filterwarnings("ignore::glf_minimal.models.priors.TooFewLatents")


def test_every_way_is_judged_with_every_seed(data_root, monkeypatch):
    data = load_dataset("mnist-5k", "train", data_root)
    data = ImageDataset(data.pixels[:128], name="mnist-5k")
    fitted = []
    fit = GaussianMixture.fit
    monkeypatch.setattr(GaussianMixture, "fit", lambda own, z: fitted.append(z) or fit(own, z))
    scorer = quick_start.Scorer("mnist-5k", test=load_dataset("mnist-5k", "test", data_root))
    results = quick_start.run(2, data, scorer, epochs=3, samples=200)
    assert [len(seeds) for seeds in results["rows"].values()] == [2, 2]
    assert len(fitted) == 2  # one for each seed
    plain, mixed = results["rows"].values()
    assert all(a["fcd"] != b["fcd"] for a, b in zip(plain, mixed, strict=True))
    assert all(a["cpu_seconds"] < b["cpu_seconds"] for a, b in zip(plain, mixed, strict=True))
    lines = quick_start.table(results).splitlines()
    assert lines[2].startswith("| GLF (the recipe) | ")
    assert "2 seeds" in lines[5]
