"""Many flows on one encoder: they do not disturb each other, and the table says what each left."""

import pytest
import torch

from benchmarks import levers
from benchmarks.levers_model import VARIANTS, Standardize, side_by_side
from benchmarks.quality_ours import train_config
from benchmarks.quality_points import Protocol
from glf_minimal import ImageDataset, load_dataset
from glf_minimal.recipes.build import build_model
from glf_minimal.recipes.catalogue import get_recipe
from glf_minimal.training.loop import fit

# Few images make it fast.
pytestmark = pytest.mark.filterwarnings("ignore::glf_minimal.models.priors.TooFewLatents")


@pytest.fixture
def protocol(data_root, monkeypatch):
    data = load_dataset("mnist-5k", "train", data_root)
    data = ImageDataset(data.pixels[:256], name="mnist-5k")
    monkeypatch.setattr(Protocol, "data", lambda self: data)
    return Protocol(samples=500)


def test_flows_beside_it_leave_glf_as_it_is(protocol):
    data = protocol.data()
    many = side_by_side(protocol, data.image_shape)
    alone = build_model(get_recipe(protocol.recipe).settings(), data.image_shape, protocol.seed)
    for model in (many, alone):
        fit(model, data, train_config(protocol, 2))
    for name, tensor in alone.state_dict().items():
        assert torch.equal(tensor, many.state_dict()[name]), name
    z = torch.randn(64, alone.latent_dim)
    with torch.no_grad():
        densities = torch.stack([getattr(many, name).log_prob(z).mean() for name in VARIANTS])
    assert len(densities.unique()) == len(VARIANTS)


def test_standardizing_layer_inverts_and_knows_its_determinant():
    layer = Standardize(3)
    z = 2 + 5 * torch.randn(1000, 3, dtype=torch.float64)
    layer.double()
    for _ in range(100):
        layer(z)
    layer.eval()
    y, log_det = layer(z)
    assert torch.allclose(y.mean(0), torch.zeros(3, dtype=y.dtype), atol=1e-3)
    assert torch.allclose(y.std(0), torch.ones(3, dtype=y.dtype), atol=1e-2)
    back, inverse_log_det = layer.inverse(y)
    assert torch.allclose(back, z)
    jacobian = torch.autograd.functional.jacobian(lambda one: layer(one[None])[0][0], z[0])
    assert torch.allclose(jacobian.logdet(), log_det[0])
    assert torch.allclose(inverse_log_det, -log_det)


def test_every_lever_has_its_row_above_the_same_floor(protocol, data_root, monkeypatch):
    monkeypatch.setattr(levers, "COMPONENTS", (2,))
    monkeypatch.setattr(levers, "TIMED_UPDATES", 1)
    test = load_dataset("mnist-5k", "test", data_root)
    scorer = levers.Scorer("mnist-5k", test=test)
    results = levers.run(protocol, 1, scorer, test, polish=(1,))
    titles = [row["lever"] for row in results["levers"]]
    assert titles[: len(VARIANTS)] == list(VARIANTS.values())
    assert titles[len(VARIANTS) :] == [
        "mixture of 2 as noise",
        "polished for 1 epoch",
        "polished for 1 epoch, mixture of 20 as noise",
        "no flow: mixture of 50 on the latents",
    ]
    lines = levers.table(results).splitlines()
    first = results["levers"][0]
    assert lines[2].startswith("| GLF | ")
    assert f"{first['fcd'] - results['floor']['fcd']:.2f} ±" in lines[2]
    assert "per epoch" in lines[2]
    assert "once" in lines[2 + len(VARIANTS)]
