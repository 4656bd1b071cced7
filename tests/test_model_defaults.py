"""What each model is where nothing is asked of it: its stages, the parts that each step moves, its
weights.
"""

import pytest
import torch
from torch import nn

from glf_minimal import two_sided_flow
from glf_minimal.models import (
    AAE,
    AE,
    GLANN,
    GLF,
    VAE,
    WAEGAN,
    WAEMMD,
    Adam,
    AdvAE,
    FlowAE,
    GaussianMixture,
    LatentGenerator,
    LearnedMixture,
    MixtureGLF,
    StandardNormal,
    TwoStageVAE,
    mixture_flow,
)
from glf_minimal.networks import mlp

DIM, IMAGES = 2, 10


def networks(model):
    """What a model is made from, its positional arguments."""
    encoder, decoder = nn.Linear(4, DIM), nn.Linear(DIM, 4)
    critic, generator = mlp(DIM, (3,), 1), LatentGenerator(DIM, (3,))
    third = two_sided_flow(DIM, 4) if issubclass(model, GLF) else DIM
    rest = {AdvAE: (generator, critic), AAE: (critic,), WAEGAN: (critic,)}.get(model, ())
    return (IMAGES, decoder, DIM, generator) if model is GLANN else (encoder, decoder, third, *rest)


def adam(lr_factor=1.0, betas=(0.9, 0.999), weight_decay=0.0):
    return {"lr_factor": lr_factor, "betas": betas, "eps": 1e-8, "weight_decay": weight_decay}


def update(losses, repeats=1, inputs=("images",), **parts):
    return {"losses": losses, "repeats": repeats, "inputs": inputs, "parts": parts}


AUTO_ENCODER = {"encoder": adam(), "decoder": adam()}
FIRST_HALF = {"share": 0.5, "0": update("auto_encoder_losses", **AUTO_ENCODER)}
LEARNED_VARIANCE = {"reconstruction": adam(10.0)}
GAN = adam(betas=(0.5, 0.9))
CRITIC = adam(betas=(0.5, 0.999))
BY_INDEX = ("images", "index")
CODES = ("codes",)
# What ``describe`` says of each: (stages, what is its own).
DEFAULTS = {
    GLF: (
        {"joint": {"share": 1.0, "0": update("losses", **AUTO_ENCODER, flow=adam())}},
        {"stop_gradient": True},
    ),
    AE: (
        {"auto-encoder": {"share": 1.0, "0": update("losses", **AUTO_ENCODER)}},
        {"latent_penalty": 0.0},
    ),
    VAE: ({"joint": {"share": 1.0, "0": update("losses", **AUTO_ENCODER)}}, {}),
    FlowAE: (
        {
            "auto-encoder": FIRST_HALF,
            "flow": {"share": 0.5, "0": update("flow_losses", inputs=CODES, flow=adam())},
        },
        {"stop_gradient": True},
    ),
    MixtureGLF: (
        {"joint": {"share": 1.0, "0": update("losses", **AUTO_ENCODER, flow=adam())}},
        {"stop_gradient": True, "components": 20},
    ),
    TwoStageVAE: (
        {
            "first": {"share": 0.5, "0": update("losses", **AUTO_ENCODER, **LEARNED_VARIANCE)},
            "second": {"share": 0.5, "0": update("second_losses", inputs=CODES, second=adam())},
        },
        {"reconstruction": "GaussianLikelihood"},
    ),
    AdvAE: (
        {
            "auto-encoder": FIRST_HALF,
            "gan": {
                "share": 0.5,
                "0": update("critic_losses", repeats=5, inputs=CODES, critic=GAN),
                "1": update("generator_losses", inputs=CODES, prior=GAN),
            },
        },
        {"gan": "wgan-gp", "penalty_weight": 10.0},
    ),
    AAE: (
        {
            "in turn": {
                "share": 1.0,
                "0": update("auto_encoder_losses", **AUTO_ENCODER),
                "1": update("critic_losses", critic=CRITIC),
                "2": update("encoder_losses", encoder=CRITIC),
            }
        },
        {},
    ),
    WAEGAN: (
        {
            "joint": {
                "share": 1.0,
                "0": update("losses", **AUTO_ENCODER),
                "1": update("critic_losses", critic=CRITIC),
            }
        },
        {"penalty_weight": 10.0},
    ),
    WAEMMD: (
        {"joint": {"share": 1.0, "0": update("losses", **AUTO_ENCODER)}},
        {"penalty_weight": 10.0},
    ),
    GLANN: (
        {
            "latents": {
                "share": 0.5,
                "0": update("losses", repeats=4, inputs=BY_INDEX, latents=adam(60.0, (0.5, 0.9))),
                "1": update("losses", inputs=BY_INDEX, decoder=adam()),
            },
            "imle": {"share": 0.5, "0": update("imle_losses", inputs=BY_INDEX, prior=adam())},
        },
        {"candidates": 32, "encode_steps": 30},
    ),
}
MODELS = pytest.mark.parametrize("model", DEFAULTS, ids=lambda model: model.__name__)


@MODELS
def test_defaults(model):
    stages, own = DEFAULTS[model]
    common = {"class": model.__name__, "latent_dim": DIM, "beta": 1.0, "reconstruction": "mse"}
    assert model(*networks(model)).describe() == common | {"stages": stages} | own


@MODELS
def test_settings_arrive(model):
    """Whatever a model is told, it is: weights and losses, and how it shares the epochs."""
    told = (
        {"reconstruction": "l1"} if model is TwoStageVAE else {"reconstruction": "l1", "beta": 7.0}
    )
    told |= {
        name: 3
        for name in DEFAULTS[model][1]
        if name in ("latent_penalty", "penalty_weight", "candidates")
    }
    description = model(*networks(model), **told).describe()
    assert {name: description[name] for name in told} == told
    if len(model(*networks(model)).stages) == 2:
        stages = model(*networks(model), share=0.3).stages
        assert [stage.share for stage in stages] == pytest.approx([0.3, 0.7])


@MODELS
def test_the_temperature_is_1(model):
    """Where none is given, latents and images are drawn at temperature 1."""
    torch.manual_seed(0)
    made = model(*networks(model)).eval()
    for draw in (made.sample_latents, made.sample, getattr(made, "prior", made).sample):
        given, default = (
            draw(5, *t, generator=torch.Generator().manual_seed(1)) for t in ((1.0,), ())
        )
        assert torch.equal(given, default)


def test_generators_of_latents():
    """Batch norm only where it is asked for, and latents in the precision of the weights, float32
    at least.
    """
    plain, normed = (LatentGenerator(DIM, (3,), **told) for told in ({}, {"batch_norm": True}))
    for generator, layers in ((plain, 0), (normed, 1)):
        assert sum(isinstance(module, nn.BatchNorm1d) for module in generator.modules()) == layers
    assert (
        LatentGenerator(DIM, (3,)).bfloat16()(torch.zeros(4, DIM, dtype=torch.bfloat16)).dtype
        == torch.float32
    )
    for prior in (
        plain,
        StandardNormal(DIM),
        GaussianMixture(DIM, 2),
        LearnedMixture(DIM, 2),
        two_sided_flow(DIM, 4).eval(),
        mixture_flow(DIM, 4).eval(),
    ):
        given, default = (
            prior.sample(5, *t, generator=torch.Generator().manual_seed(1)) for t in ((1.0,), ())
        )
        assert torch.equal(given, default)


def test_parts_with_settings_of_their_own():
    (update,) = AE(*networks(AE), decoder_decay=0.25).stages[0].updates
    assert [update.parts[part].weight_decay for part in ("encoder", "decoder")] == [0.0, 0.25]
    assert [AE(*networks(AE), components=n).fits_latents for n in (0, 1, 2)] == [False, True, True]
    assert isinstance(AE(*networks(AE)).prior, StandardNormal)
    second = TwoStageVAE(*networks(TwoStageVAE)).second
    assert [layer.out_features for layer in second.encoder if isinstance(layer, nn.Linear)] == [
        512,
        512,
        2 * DIM,
    ]


@pytest.mark.parametrize("own", [Adam(), Adam(betas=(0.5, 0.9))])
def test_settings_of_the_flows(own):
    """Each flow, in every stage that trains it, has Adam's defaults or the settings given."""
    told = {} if own == Adam() else {"flow_adam": own}
    auto_encoder = {"encoder": Adam(), "decoder": Adam()}
    for model in (GLF, FlowAE, MixtureGLF):
        for stage in model(*networks(model), **told).stages:
            (update,) = stage.updates
            both = {"joint": auto_encoder | {"flow": own}, "auto-encoder": auto_encoder}
            assert update.parts == both.get(stage.name, {"flow": own})
    prior, posterior_flow = (two_sided_flow(DIM, 4) for _ in range(2))
    for flows in ({"prior": prior}, {"prior": prior, "posterior_flow": posterior_flow}):
        model = VAE(*networks(VAE), **flows, **told)
        (update,) = model.stages[0].updates
        assert update.parts == auto_encoder | dict.fromkeys(flows, own)
        assert model.prior is prior
        assert model.posterior_flow is flows.get("posterior_flow")


def test_what_cannot_be_is_named():
    for make, message in (
        (
            lambda: AdvAE(*networks(AdvAE), gan="wgan"),
            "gan: expected one of non-saturating, wgan-gp; got 'wgan'",
        ),
        (lambda: GaussianMixture(DIM, 0), "components: expected a whole number, at least 1, got 0"),
        (
            lambda: GaussianMixture(DIM, 3).fit(torch.zeros(2, DIM)),
            "components: 3 Gaussians cannot be fitted to 2 latents; take fewer",
        ),
    ):
        with pytest.raises(ValueError) as caught:  # noqa: PT011 (the whole message is compared)
            make()
        assert str(caught.value) == message
