"""One protocol for every model: each switch does what it says, numbers repeat, and better samples
score better.
"""

import math
from itertools import pairwise

import pytest
import torch
from torch import nn
from training_helpers import assert_equal_weights, conv_glf, quick, weights

from glf_minimal import VAE, Flow, fit, load_dataset, mlp_decoder, mlp_encoder
from glf_minimal.data import ImageDataset
from glf_minimal.errors import DivergenceError, MetricError
from glf_minimal.evaluation.classifier import Classifier, load_classifier
from glf_minimal.evaluation.features import InceptionFeatures
from glf_minimal.evaluation.measure import evaluate, generate
from glf_minimal.evaluation.protocol import Protocol
from glf_minimal.losses import mse
from glf_minimal.models import (
    AE,
    GaussianMixture,
    LatentGenerator,
    LatentModel,
    StandardNormal,
    TwoStageVAE,
)

pytestmark = pytest.mark.filterwarnings("ignore::glf_minimal.evaluation.frechet.TooFewSamples")

SHAPE = (1, 8, 8)
COMPARED = {"kid", "kid_std", "precision", "recall", "density", "coverage"}
RECONSTRUCTION = {"mse_per_image", "rmse_per_pixel", "psnr"}
DENSITY = {"nll", "bits_per_dim"}
GAUSSIANITY = {"frechet_to_normal", "ks_max", "ks_mean", "mean_squared_norm_over_d"}


@pytest.fixture(scope="module")
def test_digits(data_root):
    return load_dataset("digits", "test", data_root)


@pytest.fixture(scope="module")
def glf_model(digits):
    """Convolutions with batch norm, trained for a moment."""
    model = conv_glf(0)
    fit(model, digits, quick(epochs=3))
    return model


def small(kind, **arguments):
    """A model of 8x8 digits with 6 latents, without training; a VAE's encoder has two outputs per
    latent.
    """
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        outputs = 12 if issubclass(kind, VAE) else 6
        return kind(
            mlp_encoder(SHAPE, outputs, (32,)), mlp_decoder(SHAPE, 6, (32,)), 6, **arguments
        )


@pytest.fixture(scope="module")
def network():
    """A small classifier with random weights: as good as any for telling images apart."""
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        return Classifier(SHAPE, width=8).eval()


def samples(model, **changes):
    return torch.cat(list(generate(model, Protocol(**{"samples": 40, "batch_size": 20} | changes))))


class Memory(LatentModel):
    """A stub whose latents are images: it draws those that it was given, each once, with ``noise``
    on them.
    """

    def __init__(self, images, noise=0.0):
        super().__init__(
            nn.Flatten(), nn.Sequential(nn.Unflatten(1, images.shape[1:]), nn.Hardtanh(0, 1)), 64
        )
        self.images, self.noise = nn.Parameter(images.flatten(1)), noise

    def sample_latents(self, n, temperature=1.0, generator=None):
        chosen = self.images[torch.randperm(len(self.images), generator=generator)[:n]]
        return chosen + self.noise * torch.randn(chosen.shape, generator=generator)


REAL_TOO = {"classifier", "inception", "squeezenet"}  # groups that real images have, too


def test_all_groups_are_finite_numbers(glf_model, test_digits, network):
    measures = evaluate(glf_model, test_digits, Protocol(samples=150), classifier=network)
    assert set(measures) == {*REAL_TOO, "reconstruction", "latents"}
    assert set(measures["classifier"]) == {"fcd", "fcd_se"} | COMPARED
    assert measures["inception"].startswith("not run: needs the Inception weights")
    assert set(measures["reconstruction"]) == RECONSTRUCTION | {"fcd"}
    assert set(measures["latents"]) == {"frechet"} | DENSITY | GAUSSIANITY
    for group in ("classifier", "reconstruction", "latents"):
        for name, value in measures[group].items():
            assert type(value) is float, name
            assert math.isfinite(value), name


@pytest.mark.parametrize("train_mode", [False, True])
def test_it_repeats_for_a_seed_and_leaves_no_trace(train_mode, digits, test_digits, network):
    """Of a model that draws its latents, and has dropout in its decoder, too."""
    model = small(VAE)
    model.decoder = nn.Sequential(nn.Dropout(0.2), model.decoder)
    fit(model, digits, quick(epochs=1))
    before, state = weights(model), torch.random.get_rng_state()
    protocol = Protocol(samples=30, batch_size=20, train_mode=train_mode)
    first, second = (evaluate(model, test_digits, protocol, classifier=network) for _ in range(2))
    assert first == second
    assert torch.equal(torch.random.get_rng_state(), state)
    assert_equal_weights(weights(model), before)
    other = evaluate(
        model,
        test_digits,
        Protocol(30, batch_size=20, train_mode=train_mode, seed=1),
        classifier=network,
    )
    assert other["classifier"] != first["classifier"]
    assert other["latents"]["nll"] != first["latents"]["nll"]
    assert other["reconstruction"] == first["reconstruction"]  # of the posterior's mean


def test_any_number_of_samples(glf_model):
    """The first are the same, however many are drawn."""
    many = samples(glf_model, samples=60)
    for n in (5, 19, 20, 21, 47):
        assert torch.equal(samples(glf_model, samples=n), many[:n])
    assert [len(batch) for batch in generate(glf_model, Protocol(samples=47, batch_size=20))] == [
        20,
        20,
        7,
    ]


def test_samples_are_the_models_own(glf_model):
    expected = glf_model.sample(20, generator=torch.Generator().manual_seed(3))
    assert torch.equal(samples(glf_model, samples=20, seed=3, uint8=False), expected)
    assert not torch.equal(samples(glf_model, samples=20, seed=4, uint8=False), expected)


def test_uint8_rounds_to_256_levels(glf_model):
    rounded, exact = samples(glf_model), samples(glf_model, uint8=False)
    assert torch.equal(rounded, (exact * 255).round() / 255)
    assert not torch.equal(rounded, exact)


def test_stretch_spans_the_range_of_each_sample(glf_model):
    plain, stretched = (
        samples(glf_model, uint8=False),
        samples(glf_model, stretch=True, uint8=False),
    )
    assert (plain.amax((1, 2, 3)) < 1).all()
    assert torch.allclose(stretched.amin((1, 2, 3)), torch.zeros(40))
    assert torch.allclose(stretched.amax((1, 2, 3)), torch.ones(40))
    for before, after in zip(plain, stretched, strict=True):
        assert torch.allclose(
            after * (before.max() - before.min()) + before.min(), before, atol=1e-5
        )
    constant = Protocol(stretch=True).prepare(torch.full((2, 1, 3, 3), 0.5))
    assert constant.isfinite().all()


def test_binarize_rounds_samples_and_reference(glf_model, test_digits, network):
    images = samples(glf_model, binarize=True)
    assert torch.equal(images, (samples(glf_model, uint8=False) >= 0.5).float())
    assert set(images.unique().tolist()) == {0.0, 1.0}

    class Spy(nn.Module):
        """Keeps which values it has seen."""

        values = frozenset()

        def forward(self, x):
            self.values |= set(x.unique().tolist())
            return network(x)

    spy = Spy()
    measures = evaluate(glf_model, test_digits, Protocol(samples=20, binarize=True), classifier=spy)
    assert spy.values == {0.0, 1.0}
    evaluate(
        glf_model,
        test_digits,
        Protocol(samples=20, binarize=True),
        classifier=spy,
        real=test_digits,
    )
    assert spy.values == {0.0, 1.0}
    evaluate(glf_model, test_digits, Protocol(samples=20), classifier=spy)
    assert len(spy.values) > 10
    x = test_digits.binarized().batch(slice(None))
    expected = mse(glf_model.reconstruct(x), x).item()
    assert measures["reconstruction"]["mse_per_image"] == pytest.approx(expected, rel=1e-5)


def test_train_mode_gives_other_samples_and_moves_nothing(glf_model):
    glf_model.eval()
    before = weights(glf_model)
    plain, train = samples(glf_model, uint8=False), samples(glf_model, uint8=False, train_mode=True)
    assert not torch.allclose(plain, train, atol=1e-3)
    assert torch.equal(train, samples(glf_model, uint8=False, train_mode=True))
    assert_equal_weights(weights(glf_model), before)
    assert not any(module.training for module in glf_model.modules())
    # The last sample has as many companions as the others, however few are wanted of its batch.
    assert torch.equal(samples(glf_model, uint8=False, train_mode=True, samples=21), train[:21])
    # In train mode a sample depends on the others of its batch: here, on how many they are.
    assert not torch.allclose(
        samples(glf_model, uint8=False, train_mode=True, batch_size=10)[:5], train[:5], atol=1e-4
    )


def test_temperature_scales_the_noise(glf_model):
    coldest = samples(glf_model, uint8=False, temperature=0.0)
    assert torch.allclose(coldest, coldest[:1].expand_as(coldest), atol=1e-6)
    spread = [samples(glf_model, uint8=False, temperature=t).std(0).mean() for t in (0.2, 0.6, 1.0)]
    assert spread[0] < spread[1] < spread[2]


def test_fid_runs_where_inceptions_weights_are(glf_model, test_digits, network, inception_weights):
    reference = ImageDataset(test_digits.pixels[::9])
    inception = InceptionFeatures(64, inception_weights)
    measures = evaluate(glf_model, reference, Protocol(samples=20), inception, network)
    assert set(measures["inception"]) == {"fid", "fid_se"} | COMPARED
    assert all(math.isfinite(value) for value in measures["inception"].values())
    assert measures["inception"]["fid"] > 0


def test_real_images_in_place_of_samples(glf_model, digits, test_digits, network):
    """What a perfect model would get, without reconstruction and latents, which are the model's
    own.
    """
    protocol = Protocol(samples=600)
    measures = evaluate(glf_model, test_digits, protocol, classifier=network, real=digits)
    assert set(measures) == REAL_TOO
    own = evaluate(glf_model, test_digits, protocol, classifier=network)
    assert measures["classifier"]["fcd"] < 0.2 * own["classifier"]["fcd"]
    same = evaluate(glf_model, test_digits, protocol, classifier=network, real=test_digits)
    assert same["classifier"]["fcd"] == pytest.approx(0, abs=1e-9)


def test_tensors_of_images_will_do(glf_model, test_digits, network):
    few = Protocol(samples=40)
    images = test_digits.batch(torch.arange(len(test_digits)))
    expected = evaluate(glf_model, test_digits, few, classifier=network, real=test_digits)
    assert evaluate(glf_model, images, few, classifier=network, real=images) == expected


def test_real_images_are_chosen_at_random(glf_model, digits, network):
    """A data set sorted by class is not represented by its first images."""
    by_class = digits.labels.argsort()
    ordered = ImageDataset(digits.pixels[by_class])
    few = evaluate(glf_model, ordered, Protocol(samples=200), classifier=network, real=ordered)[
        "classifier"
    ]
    first = ImageDataset(ordered.pixels[:200])
    biased = evaluate(glf_model, ordered, Protocol(samples=200), classifier=network, real=first)[
        "classifier"
    ]
    assert few["fcd"] < 0.2 * biased["fcd"]
    assert few["recall"] > biased["recall"] + 0.2


def test_without_a_classifier_it_says_why(glf_model, test_digits):
    measures = evaluate(glf_model, test_digits, Protocol(samples=20))
    assert measures["classifier"].startswith(
        "not run: there is no classifier for digits, and so no FCD, only for"
    )
    assert "'glf train --recipe classifier-mnist --data digits'" in measures["classifier"]
    assert set(measures["latents"]) == {"frechet"} | DENSITY | GAUSSIANITY


@pytest.mark.parametrize("name", ["tensor", "folder:pics"])
def test_advice_for_images_without_labels_can_be_followed(name):
    """No classifier can be trained on them."""
    with pytest.raises(MetricError, match=f"there is no classifier for {name}") as caught:
        load_classifier(name)
    assert "glf train" not in str(caught.value)
    assert "take --fid, or give evaluate in Python a classifier of your own" in str(caught.value)


def test_the_data_sets_name_finds_the_classifier(data_root):
    """Its own, where the images are rounded to 0 or 1, too."""
    digits = load_dataset("mnist-5k", "test", data_root)
    few = ImageDataset(digits.pixels[::5], name=digits.name)
    for binarize in (False, True):
        measures = evaluate(small(AE), few, Protocol(samples=100, binarize=binarize), real=few)
        assert measures["classifier"]["fcd"] == pytest.approx(0, abs=1e-6)


def latents(model, data):
    return evaluate(model, data, Protocol(samples=20))["latents"]


def test_latents_under_a_flow(glf_model, test_digits):
    measures = latents(glf_model, test_digits)
    with torch.no_grad():
        z = glf_model.encode(test_digits.batch(slice(None)))
        nll = -glf_model.flow.log_prob(z).mean().item()
        eps, _ = glf_model.flow(z)
    assert isinstance(glf_model.prior, Flow)
    assert measures["nll"] == pytest.approx(nll, rel=1e-5)
    assert measures["bits_per_dim"] == pytest.approx(nll / (6 * math.log(2)), rel=1e-5)
    assert measures["mean_squared_norm_over_d"] == pytest.approx(
        eps.square().mean().item(), rel=1e-5
    )
    assert measures["frechet"] > 0


def test_latents_under_other_priors(digits, test_digits):
    """Gaussianity where the latents themselves should be normal; no likelihood where the density is
    not known.
    """
    z = small(AE).encode(test_digits.batch(slice(None)))
    normal, mixture = latents(small(AE), test_digits), latents(small(AE, components=3), test_digits)
    assert set(normal) == {"frechet"} | DENSITY | GAUSSIANITY
    assert normal["mean_squared_norm_over_d"] == pytest.approx(z.square().mean().item(), rel=1e-5)
    assert normal["nll"] == pytest.approx(-StandardNormal(6).log_prob(z).mean().item(), rel=1e-5)
    assert set(mixture) == {"frechet"} | DENSITY
    assert mixture["nll"] == pytest.approx(
        -GaussianMixture(6, 3).log_prob(z).mean().item(), rel=1e-5
    )
    generator = small(AE)
    generator.prior = LatentGenerator(6, (16,))
    assert set(latents(generator, test_digits)) == {"frechet"}


def test_latents_of_models_with_a_way_of_their_own(test_digits):
    """A prior says nothing of them: the two-stage VAE's latents come from a second VAE, and the
    stub has no prior.
    """
    assert set(latents(small(TwoStageVAE, hidden=(16,)), test_digits)) == {"frechet"}
    assert set(latents(Memory(test_digits.batch(slice(None))), test_digits)) == {"frechet"}


def test_a_vaes_latents_are_drawn(test_digits):
    """The prior should fit the aggregated posterior, not its means: the noise of the posterior is
    part of it.
    """
    model = small(VAE)
    mean, log_var = model.posterior(test_digits.batch(slice(None)))
    measures = latents(model, test_digits)
    expected = (mean.square() + log_var.exp()).mean().item()
    assert measures["mean_squared_norm_over_d"] == pytest.approx(expected, rel=0.15)
    assert measures["mean_squared_norm_over_d"] > 2 * mean.square().mean().item()


def test_a_trained_flow_fits_better_than_a_fresh_one(make_glf, digits, test_digits):
    fit(model := make_glf(), digits, quick(epochs=10))
    trained = evaluate(model, test_digits, Protocol(samples=20))
    model.flow = make_glf().flow
    fresh = evaluate(model, test_digits, Protocol(samples=20))
    assert trained["reconstruction"] == fresh["reconstruction"]
    for name in ("frechet", "nll", "bits_per_dim", "frechet_to_normal", "ks_mean"):
        assert trained["latents"][name] < 0.8 * fresh["latents"][name], name


def test_a_perfect_model_and_noisier_ones(digits, network):
    few = ImageDataset(digits.pixels[::3])
    protocol = Protocol(samples=len(few), batch_size=len(few), uint8=False)
    x = few.batch(slice(None))
    perfect, *noisy = (
        evaluate(Memory(x, noise), few, protocol, classifier=network)["classifier"]
        for noise in (0.0, 0.05, 0.2, 0.5)
    )
    assert perfect["fcd"] == pytest.approx(0, abs=1e-6)
    assert perfect["precision"] == perfect["recall"] == perfect["coverage"] == 1
    for better, worse in pairwise((perfect, *noisy)):
        assert better["fcd"] < worse["fcd"]
        assert better["kid"] < worse["kid"]
        assert better["precision"] >= worse["precision"]
    assert noisy[-1]["precision"] < 0.5


def test_a_perfect_reconstruction(test_digits, network):
    model = Memory(test_digits.batch(slice(None)))
    protocol = Protocol(samples=100, batch_size=100)
    measures = evaluate(model, test_digits, protocol, classifier=network)["reconstruction"]
    assert measures.pop("fcd") == pytest.approx(0, abs=1e-9)
    assert measures == {"mse_per_image": 0, "rmse_per_pixel": 0, "psnr": math.inf}


def test_too_few_images_are_named(glf_model, test_digits, network):
    for name, smallest in (("samples", 5), ("batch_size", 2)):
        with pytest.raises(
            MetricError, match=f"{name}: .*, at least {smallest}, got {smallest - 1}$"
        ):
            Protocol(**{name: smallest - 1})
    few = ImageDataset(test_digits.pixels[:4], name="four digits")
    for arguments in ({"reference": few}, {"reference": test_digits, "real": few}):
        with pytest.raises(
            MetricError, match="four digits: expected at least 5 images to compare, got 4"
        ):
            evaluate(glf_model, classifier=network, **arguments)
    fewest = evaluate(
        glf_model, ImageDataset(test_digits.pixels[:5]), Protocol(5), classifier=nn.Flatten()
    )
    assert all(math.isfinite(value) for value in fewest["classifier"].values())


def test_a_broken_model_is_named(glf_model, test_digits, network):
    broken = conv_glf(0)
    broken.load_state_dict(glf_model.state_dict())
    nn.init.constant_(next(broken.decoder.parameters()), math.nan)
    with pytest.raises(DivergenceError, match="samples have pixels that are NaN"):
        evaluate(broken, test_digits, Protocol(samples=20), classifier=network)
