"""What is to be reproduced, as data: the rows of each experiment on each data set."""

from dataclasses import replace

from glf_minimal.recipes.catalogue import PAPER_DATA, SYSTEMS
from glf_minimal.reproduction.cells import Experiment, Row, require_known
from glf_minimal.reproduction.small_edition import (
    DENSITIES,
    NOISE_SCALE,
    TABLE_1_SMALL,
    TUNING,
)

# What texts call the data sets.
NAMES = {
    "mnist": "MNIST",
    "fashion-mnist": "Fashion-MNIST",
    "cifar10": "CIFAR-10",
    "celeba": "CelebA",
}

_SLIDES = "-slides-mnist"
_AUTHORS_FLOW = {"flow.form": "two-sided", "flow.hidden": 64}
SLIDE_DECK = Experiment(
    "slide-deck",
    "The slide deck's table: four models of fully connected networks on MNIST",
    {
        "mnist": (
            Row("vae", "VAE", "vae" + _SLIDES),
            Row("vae-flow-posterior", "VAE, flow posterior", "vae-flow-posterior" + _SLIDES),
            Row("vae-flow-prior", "VAE, flow prior, β = 10", "vae-flow-prior" + _SLIDES),
            Row("glf", "GLF", "glf" + _SLIDES),
            Row("glf-authors-flow", "GLF, the authors' flow", "glf" + _SLIDES, _AUTHORS_FLOW),
            Row("glf-8-blocks", "GLF, 8 blocks", "glf" + _SLIDES, {"flow.blocks": 8}),
            Row("ae-gmm", "AE + Gaussian mixture", "ae-gmm" + _SLIDES),
        )
    },
)

_REPORT = "-report-mnist"
FLOWAE_REPORT = Experiment(
    "flowae-report",
    "The FlowAE report's table: Fréchet classifier distance on binarized MNIST",
    {
        "mnist": (
            Row("real", "training images", "vae" + _REPORT, real=True),
            Row("flowae", "FlowAE", "flowae" + _REPORT, extras=("map.csv",)),
            Row("advae", "AdvAE (WGAN-GP)", "advae" + _REPORT),
            Row("aae", "AAE", "aae" + _REPORT),
            Row("vae", "VAE", "vae" + _REPORT, extras=("map.csv",)),
            Row("advae-gan", "AdvAE, plain GAN", "advae-gan" + _REPORT),
        )
    },
)

# Those with a learning curve, for the paper's claim of faster convergence.
_CURVES = {"train.snapshots": True}
CONVERGING = ("glf", "vae-flow-prior", "flowae", "two-stage-vae", "vae")


def _table_1(data: str) -> tuple[Row, ...]:
    def row(system: str, title: str, needs: str = "") -> Row:
        return Row(
            system, title, f"{system}-{data}", _CURVES if system in CONVERGING else {}, needs=needs
        )

    def squeezed(name: str, title: str, system: str) -> Row:
        """In place of VGG16's features, where its weights cannot be had: a deviation."""
        changes = {"model.reconstruction": "squeezenet"}
        return Row(name, title, f"{system}-{data}", changes, needs="the SqueezeNet weights")

    vgg = "the VGG16 weights"
    extras = ("neighbours.png", "same-noise.png")
    if data == "celeba":
        extras += ("interpolation.png",)  # for Fig. 2
    return (
        row("vae", "VAE"),
        row("wae-gan", "WAE-GAN"),
        row("two-stage-vae", "two-stage VAE"),
        row("rae-gmm", "RAE + GMM"),
        row("vae-flow-prior", "VAE, flow prior, β = 1"),
        row("vae-flow-posterior", "VAE, flow posterior"),
        replace(row("glf", "GLF"), extras=extras),
        row("glf-perceptual", "GLF, perceptual loss", vgg),
        row("glann-perceptual", "GLANN, perceptual loss", vgg),
        squeezed("glf-squeezenet", "GLF, SqueezeNet's perceptual loss", "glf-perceptual"),
        squeezed("glann-squeezenet", "GLANN, SqueezeNet's perceptual loss", "glann-perceptual"),
        row("flowae", "FlowAE"),
        row("ae-gmm", "AE + GMM"),
        Row("real", "training images", f"glf-{data}", _CURVES, real=True),
    )


TABLE_1 = Experiment(
    "table-1",
    "Table 1 of the paper: the quality of samples, with the paper's networks",
    {data: _table_1(data) for data in PAPER_DATA},
)
GREY, COLOUR = ("mnist", "fashion-mnist"), ("cifar10", "celeba")
CONVERGENCE = Experiment(
    "convergence",
    "The quality of samples by epoch and by second, of the runs behind Table 1",
    {data: tuple(row for row in TABLE_1.rows[data] if row.name in CONVERGING) for data in GREY},
    records=TABLE_1.name,
)

# Of Figs. 3 and 4: 1 and 10 from the caption of Fig. 4, 400 the default of the authors' code, 100
# second-hand, 50 from memory.
BETAS = (1, 10, 50, 100, 400)


def _over(row: Row, setting: str, weights: tuple[int, ...], own: int = 1) -> tuple[Row, ...]:
    """The row at each of these weights; ``own``, the weight of its recipe, changes nothing."""

    def at(weight: int) -> Row:
        changes = row.changes | ({f"model.{setting}": float(weight)} if weight != own else {})
        return replace(
            row, name=f"{row.name}-{weight}", title=f"{row.title} = {weight}", changes=changes
        )

    return tuple(map(at, weights))


def _over_beta(system: str, title: str) -> tuple[Row, ...]:
    rows = Row(f"{system}-beta", f"{title}, β", f"{system}-cifar10", _CURVES)
    return (*_over(rows, "beta", BETAS), Row("glf", "GLF", "glf-cifar10", _CURVES))


FIGURE_3 = Experiment(
    "figure-3",
    "Figure 3 of the paper: VAEs with a flow prior over β, and GLF",
    {"cifar10": _over_beta("vae-flow-prior", "VAE, flow prior")},
    seeds=1,
)
FIGURE_4 = Experiment(
    "figure-4",
    "Figure 4 of the paper: regularized GLF over β, and GLF",
    {"cifar10": _over_beta("regularized-glf", "regularized GLF")},
    seeds=1,
)
FIGURE_2 = Experiment(
    "figure-2",
    "Figure 2 of the paper: samples of GLF on four data sets, and what lies between two noises "
    "on CelebA",
    {data: tuple(row for row in rows if row.name == "glf") for data, rows in TABLE_1.rows.items()},
    records=TABLE_1.name,
)
FIGURE_5 = Experiment(
    "figure-5",
    "Figure 5 of the paper: squared error against a perceptual loss",
    {
        data: tuple(row for row in rows if row.name in ("glf", "glf-perceptual", "glf-squeezenet"))
        for data, rows in TABLE_1.rows.items()
    },
    records=TABLE_1.name,
)

_SMALL = "glf-small-mnist"
_SMALL_PRIOR = Row("vae-flow-prior-beta", "VAE, flow prior, β", "vae-flow-prior-small-mnist")
_BASE = Row("base", "as in the authors' code", _SMALL)


def _ablation(
    name: str, title: str, changes: dict | None = None, recipe: str = _SMALL, **protocol: float
) -> Row:
    return Row(name, title, recipe, changes or {}, protocol)


# One question each: a heading and the rows that answer it. The base is the same in all of them.
ABLATION_GROUPS: dict[str, tuple[str, tuple[Row, ...]]] = {
    "beta": (
        "β, the weight of the reconstruction",
        (
            _ablation("beta-0.1", "GLF, β = 0.1", {"model.beta": 0.1}),
            replace(_BASE, title="GLF, β = 1 (base)"),
            *_over(Row("beta", "GLF, β", _SMALL), "beta", (10, 100)),
        ),
    ),
    "beta-vae": (
        "β in a VAE with a flow prior: towards GLF",
        (
            *_over(_SMALL_PRIOR, "beta", (1, 10, 100, 400)),
            replace(_BASE, title="GLF, β = 1 (base)"),
        ),
    ),
    "wae-gan": (
        "λ, the weight of the critic in a WAE-GAN",
        (
            *_over(
                Row("wae-gan", "WAE-GAN, λ", "wae-gan-small-mnist"),
                "penalty_weight",
                (1, 10, 100, 1000),
                own=10,
            ),
            replace(_BASE, title="GLF (base)"),
        ),
    ),
    "initialization": (
        "Batch norm inside the coupling networks, and the initialization at 0.05 · N(0, 1)",
        (
            replace(_BASE, title="both (base)"),
            _ablation("no-batch-norm", "without batch norm", {"flow.batch_norm": False}),
            _ablation("no-small-init", "without the initialization", {"flow.small_init": False}),
            _ablation(
                "neither", "without either", {"flow.batch_norm": False, "flow.small_init": False}
            ),
        ),
    ),
    "coupling": (
        "One- and two-sided couplings",
        (
            replace(_BASE, title="two-sided, 4 blocks (base)"),
            _ablation("one-sided-4", "one-sided, 4 blocks", recipe="glf-one-sided-small-mnist"),
            _ablation(
                "one-sided-8",
                "one-sided, 8 blocks",
                {"flow.blocks": 8},
                "glf-one-sided-small-mnist",
            ),
        ),
    ),
    "blocks": (
        "The number of blocks",
        (
            _ablation("blocks-1", "1 block", {"flow.blocks": 1}),
            _ablation("blocks-2", "2 blocks", {"flow.blocks": 2}),
            replace(_BASE, title="4 blocks (base)"),
            _ablation("blocks-8", "8 blocks", {"flow.blocks": 8}),
        ),
    ),
    "sampling": (
        "How the same model is sampled: batch norm in train mode, each sample stretched to [0, 1]",
        (
            replace(_BASE, title="eval mode, not stretched (base)"),
            _ablation("train-mode", "train mode", train_mode=True),
            _ablation("stretch", "stretched", stretch=True),
            _ablation(
                "train-mode-stretch",
                "train mode, stretched (authors' code)",
                train_mode=True,
                stretch=True,
            ),
        ),
    ),
    "reconstruction": (
        "What the auto-encoder is trained on",
        (
            replace(_BASE, title="squared error (base)"),
            _ablation("l1", "absolute error", {"model.reconstruction": "l1"}),
            _ablation("bce", "binary cross-entropy", {"model.reconstruction": "bce"}),
            Row(
                "squeezenet",
                "absolute error, and of SqueezeNet's features",
                "glf-perceptual-small-mnist",
                {"model.reconstruction": "squeezenet"},
                needs="the SqueezeNet weights",
            ),
        ),
    ),
    "temperature": (
        "The scale of the noise",
        (
            *(
                _ablation(f"temperature-{t}", f"temperature {t}", temperature=t)
                for t in (0.5, 0.7, 0.85)
            ),
            replace(_BASE, title="temperature 1 (base)"),
            _ablation("temperature-1.15", "temperature 1.15", temperature=1.15),
        ),
    ),
    "latent-dim": (
        "The length of the latents",
        (
            *(
                _ablation(f"latent-dim-{dim}", f"D = {dim}", {"networks.latent_dim": dim})
                for dim in (4, 8)
            ),
            replace(_BASE, title="D = 16 (base)"),
            *(
                _ablation(f"latent-dim-{dim}", f"D = {dim}", {"networks.latent_dim": dim})
                for dim in (32, 64)
            ),
        ),
    ),
}
ABLATIONS = Experiment(
    "ablations",
    "What matters: β, the form of the flow, how samples are drawn; MNIST, half-width networks, "
    "six epochs",
    {
        "mnist": tuple(
            {row.name: row for _, rows in ABLATION_GROUPS.values() for row in rows}.values()
        )
    },
)

FIRST_RANKING = Experiment(
    "first-ranking",
    "Every model on MNIST at one small budget: half-width networks, six epochs",
    {
        "mnist": (
            *(
                Row(system, title.partition(":")[0], f"{system}-small-mnist")
                for system, (title, _) in SYSTEMS.items()
                if not system.endswith("-perceptual")
            ),
            Row("real", "training images", "glf-small-mnist", real=True),
        )
    },
    seeds=1,
)

_COMPANIONS = (FIRST_RANKING, SLIDE_DECK, FLOWAE_REPORT)
_ALL = (
    *_COMPANIONS,
    TABLE_1,
    TABLE_1_SMALL,
    TUNING,
    DENSITIES,
    NOISE_SCALE,
    CONVERGENCE,
    ABLATIONS,
    FIGURE_2,
    FIGURE_3,
    FIGURE_4,
    FIGURE_5,
)
EXPERIMENTS = {experiment.name: experiment for experiment in _ALL}


def get_experiment(name: str) -> Experiment:
    """Look an experiment up by name."""
    return EXPERIMENTS[require_known(name, EXPERIMENTS, "table or figure")]
