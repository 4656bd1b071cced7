"""The perceptual loss: which features it compares, its weighting, where its weights come from."""

from urllib.error import URLError

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision import models

from glf_minimal import RecipeError, RunError, mlp_decoder, mlp_encoder, one_sided_flow
from glf_minimal.losses import PerceptualLoss, reconstruction_loss
from glf_minimal.models import GLF
from glf_minimal.perceptual import load_features


@pytest.fixture(scope="module")
def squeezenet():
    torch.manual_seed(0)
    return models.squeezenet1_1(weights=None).features.eval()


@pytest.fixture(scope="module")
def weights(squeezenet, tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    state = {f"features.{name}": tensor for name, tensor in squeezenet.state_dict().items()}
    save_file(state, folder / "features.safetensors")
    torch.save(state | {"classifier.1.weight": torch.zeros(3)}, folder / "whole.pth")
    return folder


@pytest.mark.parametrize(("size", "layers"), [(32, (1, 4, 7)), (64, (1, 4, 7, 11))])
def test_squeezenet_loss_by_hand(squeezenet, size, layers):
    loss = PerceptualLoss("squeezenet", features=squeezenet)
    x_hat, x = torch.rand(3, 3, size, size), torch.rand(3, 3, size, size)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    total = (x_hat - x).abs().sum()
    for layer in layers:
        first, second = (
            squeezenet[: layer + 1]((i - mean.view(3, 1, 1)) / std.view(3, 1, 1))
            for i in (x_hat, x)
        )
        total = total + (first - second).abs().sum()
    assert loss(x_hat, x).item() == pytest.approx(total.item() / 3, rel=1e-4)
    assert loss(x, x).item() == 0


def test_vgg_layers_are_the_authors():
    torch.manual_seed(0)
    vgg = models.vgg16(weights=None).features.eval()
    for size, count in ((28, 3), (64, 4)):
        maps = PerceptualLoss("vgg16", features=vgg).features(torch.rand(1, 1, size, size))
        assert len(maps) == count
        expected = [vgg[: i + 1] for i in (2, 7, 12, 21)][:count]
        grey = torch.rand(1, 1, size, size)
        normalized = (
            grey.expand(-1, 3, -1, -1) - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
        ) / torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
        for ours, layers in zip(
            PerceptualLoss("vgg16", features=vgg).features(grey), expected, strict=True
        ):
            assert torch.allclose(ours, layers(normalized), atol=1e-5)


@pytest.mark.parametrize("file", ["features.safetensors", "whole.pth"])
def test_weights_from_a_local_file(squeezenet, weights, file):
    features = load_features("squeezenet", weights / file)
    assert all(
        torch.equal(t, squeezenet.state_dict()[name]) for name, t in features.state_dict().items()
    )
    assert not any(p.requires_grad for p in features.parameters())
    loss = reconstruction_loss(f"squeezenet:{weights / file}")
    x_hat, x = torch.rand(2, 1, 28, 28, requires_grad=True), torch.rand(2, 1, 28, 28)
    loss(x_hat, x).backward()
    assert x_hat.grad.isfinite().all()
    assert x_hat.grad.abs().sum() > 0


def test_a_model_trains_on_it_and_does_not_keep_the_network(weights, digits):
    shape = (1, 32, 32)
    loss = f"squeezenet:{weights / 'features.safetensors'}"
    model = GLF(
        mlp_encoder(shape, 6, (8,)),
        mlp_decoder(shape, 6, (8,)),
        one_sided_flow(6, 8),
        reconstruction=loss,
    )
    names = set(model.state_dict())
    terms = model.losses(torch.rand(4, *shape))
    terms["loss"].backward()
    assert terms["loss"].isfinite()
    assert set(model.state_dict()) == names
    assert not any(name.startswith("reconstruction") for name in names)
    assert "reconstruction" not in model.stages[0].updates[0].parts
    assert model.describe()["reconstruction"] == "squeezenet"
    with torch.autocast("cpu", torch.bfloat16):
        assert model.losses(torch.rand(4, *shape))["recon"].dtype == torch.float32


def test_missing_and_wrong_weights_are_named(weights, tmp_path, monkeypatch):
    def no_network(*_, **__):
        raise URLError("no route to host")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", no_network)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", no_network)
    with pytest.raises(
        RecipeError,
        match=r"vgg16 could not be downloaded .*no route.*vgg16-.*\.pth into .*vgg16:PATH",
    ):
        load_features("vgg16")
    with pytest.raises(RunError, match=r"cannot read weights from .*none\.pth"):
        load_features("vgg16", tmp_path / "none.pth")
    with pytest.raises(RunError, match="weights of another model"):
        load_features("vgg16", weights / "features.safetensors")
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(RunError, match=r"text\.pth"):
        load_features("vgg16", tmp_path / "text.pth")
    with pytest.raises(
        ValueError, match=r"reconstruction: expected one of .*squeezenet.*'alexnet'"
    ):
        reconstruction_loss("alexnet")
    with pytest.raises(ValueError, match="network: expected one of"):
        PerceptualLoss("alexnet")


def test_wrong_size_or_channels_are_named(squeezenet):
    loss = PerceptualLoss("squeezenet", features=squeezenet)
    with pytest.raises(
        ValueError, match=r"perceptual loss: expected grey or RGB images .*got \(2, 2, 32, 32\)"
    ):
        loss(torch.rand(2, 2, 32, 32), torch.rand(2, 2, 32, 32))
    with pytest.raises(ValueError, match=r"at least 17 pixels.*got \(2, 1, 8, 8\)"):
        loss(torch.rand(2, 1, 8, 8), torch.rand(2, 1, 8, 8))


def test_given_layers_are_frozen():
    """One's own layers are not trained by the loss, nor does their batch norm move."""
    torch.manual_seed(0)
    layers = [
        nn.Conv2d(3, 4, 3),
        nn.ReLU(),
        nn.BatchNorm2d(4),
        nn.Dropout(0.5),
        nn.ReLU(),
        nn.Conv2d(4, 4, 3),
        nn.ReLU(),
        nn.ReLU(),
    ]
    loss = PerceptualLoss("squeezenet", features=nn.Sequential(*layers).train())
    x, x_hat = torch.rand(2, 2, 1, 20, 20).unbind()
    x_hat.requires_grad_()
    first, second = loss(x_hat, x), loss(x_hat, x)
    first.backward()
    assert first == second
    assert x_hat.grad.abs().sum() > 0
    assert all(p.grad is None for layer in layers for p in layer.parameters())
    assert torch.equal(layers[2].running_mean, torch.zeros(4))
