import matplotlib
import pytest
import torch

from glf_minimal import GLF, Adam, ImageDataset, load_dataset, mlp_decoder, mlp_encoder, one_sided_flow

matplotlib.use("Agg")


@pytest.fixture(scope="session")
def data_root(tmp_path_factory):
    """An empty cache of the data sets, shared by all tests that read it."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def digits(data_root):
    return load_dataset("digits", "train", data_root)


@pytest.fixture
def make_glf():
    """A small GLF for 8x8 digits; the same arguments and seed give the same weights."""

    def make(seed=0, model=GLF, **arguments):
        with torch.random.fork_rng([]):
            torch.manual_seed(seed)
            shape = (1, 8, 8)
            parts = mlp_encoder(shape, 6, (32,)), mlp_decoder(shape, 6, (32,)), one_sided_flow(6, 16, blocks=2)
            return model(*parts, flow_adam=Adam(betas=(0.8, 0.9)), **arguments)

    return make


@pytest.fixture
def some_digits(digits):
    return ImageDataset(digits.pixels[:320], digits.labels[:320], "some digits")
