"""The recipes of the book: every system of the paper and its companions.

A recipe's name is "<system>-<data set>" with the paper's convolutional networks,
"<system>-small-mnist" with the same at half width, "<system>-slides-mnist" with the slide deck's
MLPs and "<system>-report-mnist" with the FlowAE report's.
"""

import dataclasses

from glf_minimal.errors import RecipeError, hint
from glf_minimal.recipes.recipe import Recipe

# From the authors' released MNIST code, but for the length of the latents.
PAPER_CONV = {"family": "conv", "latent_dim": 20, "width": 64, "hidden": 1024}
PAPER_FLOW = {
    "form": "two-sided",
    "hidden": 64,
    "blocks": 4,
    "batch_norm": True,
    "small_init": True,
}
AUTHORS_FLOW_ADAM = {"betas": [0.8, 0.9], "eps": 1e-6, "weight_decay": 2e-5}
PAPER_TRAIN = {"epochs": 100, "batch_size": 256, "lr": 1e-3, "schedule": "halve", "halve_every": 50}
# Latent length, width of the flow and epochs of an unofficial re-implementation; on MNIST the
# authors' code agrees, as far as it says.
PAPER_DATA = {
    "mnist": (20, 64, 100),
    "fashion-mnist": (20, 64, 100),
    "cifar10": (64, 256, 200),
    "celeba": (64, 256, 40),
}
TRAINING_IMAGES = {"mnist": 60_000, "fashion-mnist": 60_000, "cifar10": 50_000, "celeba": 162_770}

SLIDES_MLP = {
    "family": "mlp",
    "latent_dim": 40,
    "hidden": [200, 200],
    "activation": "ReLU",
    "batch_norm": False,
}
SLIDES_FLOW = {"form": "one-sided", "hidden": 200, "blocks": 4}
SLIDES_TRAIN = {"epochs": 15, "batch_size": 64, "lr": 1e-3}
SLIDES_EPOCHS = {
    "vae": 50,
    "vae-flow-posterior": 50,
    "vae-flow-prior": 19,
    "glf": 15,
}  # as the deck reports them

REPORT_MLP = {
    "family": "mlp",
    "latent_dim": 10,
    "hidden": [300, 300],
    "activation": "ELU",
    "batch_norm": True,
}
REPORT_FLOW = {"form": "one-sided", "hidden": 100, "blocks": 5, "depth": 1}

QUICK_CONV = PAPER_CONV | {"latent_dim": 12, "width": 32, "hidden": 256}
QUICK_TRAIN = {"batch_size": 128, "lr": 3e-3, "schedule": "cosine"}
SMALL_TRAIN = {"batch_size": 256, "lr": 2e-3, "schedule": "cosine"}
SMALL_EPOCHS = {"mnist": 6, "fashion-mnist": 6, "cifar10": 8, "celeba": 8}
# Systems of the small edition of Table 1; on MNIST every system has a small recipe.
SMALL_SYSTEMS = (
    "glf",
    "glf-mixture",
    "regularized-glf",
    "glf-perceptual",
    "vae",
    "vae-flow-prior",
    "vae-flow-posterior",
    "wae-gan",
    "wae-mmd",
    "two-stage-vae",
    "rae-gmm",
    "ae-gmm",
    "flowae",
    "advae",
    "glann",
    "glann-perceptual",
)

_BETA_AND_LOSS = {"beta": 1.0, "reconstruction": "mse"}
_FLOW = {"flow_adam": AUTHORS_FLOW_ADAM}
_GLF = {"kind": "glf", "stop_gradient": True} | _BETA_AND_LOSS | _FLOW
_VAE = {"kind": "vae", "prior": "normal", "posterior": "normal"} | _BETA_AND_LOSS
_AE = {"kind": "ae", "components": 0, "latent_penalty": 0.0, "decoder_decay": 0.0} | _BETA_AND_LOSS
_ADVAE = {
    "kind": "advae",
    "gan": "wgan-gp",
    "generator_hidden": [500, 500],
    "generator_batch_norm": True,
    "critic_hidden": [500, 500],
    "critic_steps": 5,
    "penalty_weight": 10.0,
    "gan_adam": {"betas": [0.5, 0.9]},
    "share": 0.5,
} | _BETA_AND_LOSS
_GAN = {
    "gan": "non-saturating",
    "critic_steps": 1,
    "gan_adam": {"lr_factor": 0.2, "betas": [0.5, 0.999]},
}
_CRITIC = {"critic_hidden": [500, 500], "critic_adam": {"lr_factor": 0.5, "betas": [0.5, 0.999]}}
_GLANN = {
    "kind": "glann",
    "images": 60_000,
    "generator_hidden": [500, 500],
    "candidates": 32,
    "share": 0.7,
}

# What each system is: title and settings of its model.
SYSTEMS: dict[str, tuple[str, dict]] = {
    "glf": ("GLF", _GLF),
    "glf-mixture": (
        "GLF that draws its noise from a mixture of Gaussians, fitted at the end",
        {"kind": "glf-mixture", "components": 20} | _BETA_AND_LOSS | _FLOW,
    ),
    "regularized-glf": (
        "Regularized GLF: the flow's likelihood reaches the encoder",
        _GLF | {"stop_gradient": False},
    ),
    "glf-perceptual": ("GLF with the perceptual loss on VGG16", _GLF | {"reconstruction": "vgg16"}),
    "vae": ("VAE", _VAE),
    "vae-gaussian": ("VAE with learned decoder variance", _VAE | {"reconstruction": "gaussian"}),
    "vae-flow-prior": ("VAE with a flow prior", _VAE | {"prior": "flow"} | _FLOW),
    "vae-flow-posterior": ("VAE with a flow posterior", _VAE | {"posterior": "flow"} | _FLOW),
    "flowae": (
        "FlowAE: auto-encoder, then a flow on its latents",
        {"kind": "flowae", "share": 0.5} | _BETA_AND_LOSS | _FLOW,
    ),
    "advae": ("AdvAE: auto-encoder, then a WGAN-GP on its latents", _ADVAE),
    "advae-gan": ("AdvAE with the non-saturating GAN", _ADVAE | _GAN),
    "aae": ("Adversarial auto-encoder", {"kind": "aae"} | _CRITIC | _BETA_AND_LOSS),
    "wae-gan": (
        "Wasserstein auto-encoder, GAN penalty",
        {"kind": "wae-gan", "penalty_weight": 10.0} | _CRITIC | _BETA_AND_LOSS,
    ),
    "wae-mmd": (
        "Wasserstein auto-encoder, MMD penalty",
        {"kind": "wae-mmd", "penalty_weight": 10.0} | _BETA_AND_LOSS,
    ),
    "two-stage-vae": (
        "Two-stage VAE",
        {"kind": "two-stage-vae", "reconstruction": "gaussian", "hidden": [500, 500], "share": 0.5},
    ),
    "ae": ("Auto-encoder decoding plain noise", _AE),
    "ae-gmm": ("Auto-encoder with a Gaussian mixture", _AE | {"components": 10}),
    "rae-gmm": (
        "Regularized auto-encoder (RAE-L2) with a Gaussian mixture",
        _AE | {"components": 10, "latent_penalty": 0.01, "decoder_decay": 1e-5},
    ),
    "glann": ("GLANN: latent optimization and IMLE", _GLANN | _BETA_AND_LOSS),
    "glann-perceptual": (
        "GLANN with the perceptual loss on VGG16",
        _GLANN | _BETA_AND_LOSS | {"reconstruction": "vgg16"},
    ),
}
# Where a system's own settings come from; without an entry, from this book.
SOURCES = {
    "glf": "authors' MNIST code",
    "glf-mixture": "authors' MNIST code; the mixture is this book's",
    "regularized-glf": "authors' MNIST code",
    "glf-perceptual": "authors' MNIST code",
    "vae-flow-prior": "authors' MNIST code for the flow",
    "vae-flow-posterior": "authors' MNIST code for the flow",
    "advae": "FlowAE report; widths of generator and critic are this book's",
    "advae-gan": "FlowAE report; widths of generator and critic are this book's",
    "wae-gan": "weight of the penalty unverified, check against arXiv:1711.01558",
    "wae-mmd": "weight of the penalty unverified, check against arXiv:1711.01558",
}


def _uses_flow(model: dict) -> bool:
    return "flow_adam" in model


def _recipe(system: str, family: str, summary: str, sources: list[str], **groups: dict) -> Recipe:
    title, _ = SYSTEMS[system]
    data = groups["data"]["name"]
    groups["flow"] = groups["flow"] if _uses_flow(groups["model"]) else {}
    if "images" in groups["model"]:
        groups["model"] = groups["model"] | {"images": TRAINING_IMAGES[data]}
    name = "-".join(part for part in (system, family, data) if part)
    # Other families replace what the system's source says.
    if system in SOURCES and (family in ("", "small") or system.startswith("wae")):
        sources = [*sources, SOURCES[system]]
    source = "; ".join(dict.fromkeys(sources))
    return Recipe(name=name, summary=f"{title}; {data}, {summary}", source=source, **groups)


def _paper(system: str, data: str) -> Recipe:
    latent_dim, hidden, epochs = PAPER_DATA[data]
    others = "latent_dim" if data == "mnist" else "latent_dim, width of the flow and epochs"
    return _recipe(
        system,
        "",
        "the paper's networks",
        ["authors' MNIST code", f"{others} of an unofficial re-implementation"],
        data={"name": data},
        networks=PAPER_CONV | {"latent_dim": latent_dim},
        flow=PAPER_FLOW | {"hidden": hidden},
        model=SYSTEMS[system][1],
        train=PAPER_TRAIN | {"epochs": epochs},
    )


def _small(system: str, data: str = "mnist") -> Recipe:
    latent_dim, hidden, _ = PAPER_DATA[data]
    if data == "mnist":
        latent_dim = 16
    return _recipe(
        system,
        "small",
        "half-width networks, a few minutes on two cores",
        ["this book"],
        data={"name": data},
        networks=QUICK_CONV | {"latent_dim": latent_dim},
        flow=PAPER_FLOW | {"hidden": hidden},
        model=SYSTEMS[system][1],
        train=SMALL_TRAIN | {"epochs": SMALL_EPOCHS[data]},
    )


def _slides(system: str) -> Recipe:
    model = dict(SYSTEMS[system][1])
    if model["reconstruction"] == "mse":
        model["reconstruction"] = "bce"
    if system == "vae-flow-prior":
        model["beta"] = 10.0
    if "flow_adam" in model:
        model["flow_adam"] = {}
    return _recipe(
        system,
        "slides",
        "the slide deck's MLPs",
        [
            "slide deck; its number of hidden layers is not given, two here",
            *([] if system in SLIDES_EPOCHS else ["model and epochs are this book's"]),
        ],
        data={"name": "mnist"},
        networks=SLIDES_MLP,
        flow=SLIDES_FLOW,
        model=model,
        train=SLIDES_TRAIN | {"epochs": SLIDES_EPOCHS.get(system, 15)},
    )


def _report(system: str) -> Recipe:
    model = SYSTEMS[system][1] | {"reconstruction": "bce"}
    widths = REPORT_MLP
    if "flow_adam" in model:
        model["flow_adam"] = {}
    if "critic_hidden" in model:
        model["critic_hidden"] = [20, 20]
    if system.startswith("advae"):
        widths = REPORT_MLP | {"hidden": [500, 500]}
    if "share" in model:
        model["share"] = 0.2  # 10 epochs of auto-encoder, then 40
    return _recipe(
        system,
        "report",
        "binarized, the FlowAE report's MLPs",
        [
            "FlowAE report and its public code; rate, batch size and width of the flow are this "
            "book's"
        ],
        data={"name": "mnist", "binarize": True},
        networks=widths,
        flow=REPORT_FLOW,
        model=model,
        train={"epochs": 50, "batch_size": 128, "lr": 1e-3},
    )


# Classifiers for the Frechet classifier distance: the model's settings and epochs by data set.
CLASSIFIERS = {
    "mnist": ({"width": 16, "zoom": 1.1, "shift": 0.07, "flip": False}, 8),
    "fashion-mnist": ({"width": 24, "zoom": 1.0, "shift": 0.03, "flip": True}, 8),
    "cifar10": (
        {
            "width": 24,
            "blocks": 2,
            "zoom": 1.0,
            "shift": 0.0,
            "crop": 4,
            "flip": True,
            "weight_decay": 1e-4,
        },
        40,
    ),
    # Zoomed by up to 1.7, so that whole frames (178 x 218) and the centre crop (140 x 140) are both
    # familiar.
    "celeba": ({"width": 24, "zoom": 1.7, "shift": 0.05, "flip": True, "stride": 2}, 8),
}


def _classifier(data: str) -> Recipe:
    settings, epochs = CLASSIFIERS[data]
    labels = (
        {"classes": 5, "attributes": True}
        if data == "celeba"
        else {"classes": 10, "attributes": False}
    )
    return Recipe(
        name=f"classifier-{data}",
        summary=f"The classifier behind the FCD of {data}",
        source="this book",
        data={"name": data},
        model={"kind": "classifier", "stride": 1} | labels | settings,
        train={"epochs": epochs, "batch_size": 128, "lr": 2e-3, "schedule": "cosine"},
    )


_QUICK = [
    Recipe(
        name="quickstart",
        summary="GLF on 4,500 MNIST digits, small convolutional networks, "
        "one to two minutes on two cores",
        source="this book",
        data={"name": "mnist-5k"},
        networks=QUICK_CONV,
        flow=PAPER_FLOW,
        model=_GLF | {"flow_adam": {}},
        train=QUICK_TRAIN | {"epochs": 30},
    ),
    Recipe(
        name="demo",
        summary="GLF of the page that runs in the browser, small enough for 'glf export'; "
        "mnist, minutes on one core",
        source="this book",
        data={"name": "mnist"},
        networks=PAPER_CONV | {"latent_dim": 12, "width": 16, "hidden": 96},
        flow=PAPER_FLOW,
        model=_GLF | {"flow_adam": {}},
        train=QUICK_TRAIN | {"epochs": 6},
    ),
    Recipe(
        name="glf-digits",
        summary="GLF on scikit-learn's 8x8 digits, small MLPs, a few seconds: "
        "for trying things out",
        source="this book",
        data={"name": "digits"},
        networks=SLIDES_MLP | {"latent_dim": 8, "hidden": [64]},
        flow=SLIDES_FLOW | {"hidden": 64},
        model=_GLF | {"flow_adam": {}},
        train={"epochs": 20, "batch_size": 64, "lr": 2e-3},
    ),
]
_ONE_SIDED = dataclasses.replace(
    _small("glf"),
    name="glf-one-sided-small-mnist",
    summary="GLF, its couplings one-sided; mnist, half-width networks, for comparison",
    flow=PAPER_FLOW | {"both_sides": False},
)
# Flows to compare the paper's with, on the latents of one auto-encoder.
OTHER_FLOWS = {
    "spline-flowae": ("FlowAE with a spline flow", {"form": "spline", "bins": 8}),
    "mixture-flowae": (
        "FlowAE with a flow whose noise is a mixture of Gaussians",
        {"form": "mixture", "components": 10},
    ),
}


def _other_flow(system: str, data: str) -> Recipe:
    title, flow = OTHER_FLOWS[system]
    affine = _small("flowae", data)
    return dataclasses.replace(
        affine,
        name=f"{system}-small-{data}",
        summary=f"{title}; {data}, half-width networks, for comparison",
        flow=affine.flow | flow,
    )


_ALL = [
    *_QUICK,
    *(_paper(system, data) for data in PAPER_DATA for system in SYSTEMS),
    *(_small(system) for system in SYSTEMS),
    *(_small(system, data) for data in list(PAPER_DATA)[1:] for system in SMALL_SYSTEMS),
    _ONE_SIDED,
    *(_other_flow(system, data) for data in PAPER_DATA for system in OTHER_FLOWS),
    *(_slides(system) for system in SYSTEMS),
    *(_report(system) for system in ("vae", "flowae", "advae", "advae-gan", "aae")),
    *(_classifier(data) for data in CLASSIFIERS),
]
RECIPES = {recipe.name: recipe for recipe in _ALL}


def get_recipe(name: str) -> Recipe:
    """Look a recipe up by name."""
    if name not in RECIPES:
        raise RecipeError(
            f"unknown recipe {name!r}; {hint(name, RECIPES, 'glf recipes lists them all')}"
        )
    return RECIPES[name]
