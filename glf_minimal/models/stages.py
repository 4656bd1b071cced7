"""How a model says, as data, how it is to be trained: optimizers, updates and stages."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Adam:
    """Settings of Adam for one part of a model.

    The rate is ``lr_factor`` times the training's ``lr``.
    """

    lr_factor: float = 1.0
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0

    def __post_init__(self):
        try:
            first, second = self.betas
            possible = (
                0 <= first < 1
                and 0 <= second < 1
                and self.lr_factor > 0
                and self.eps > 0
                and self.weight_decay >= 0
            )
        except TypeError:  # something that is no number
            possible = False
        if not possible:
            raise ValueError(
                "expected lr_factor > 0, betas in [0, 1), eps > 0 and weight_decay >= 0; got "
                f"{self}"
            )


@dataclass(frozen=True)
class Update:
    """One backward pass and one optimizer step.

    Args:
        parts: which sub-modules move, by attribute name, each with its optimizer settings.
            Gradients reach these parts and no others. A part, or a module within a part, whose
            parameters are all frozen stays in eval mode: so its batch norm does not move either.
        losses: name of the model's method that maps a batch to {"loss": ..., further terms}.
        repeats: how many times in a row, on the same batch (a critic's extra steps).
        inputs: what of a batch that method is given: "images" (B, C, H, W) in [0, 1], "index" (B,),
            the places of the images in the data set, "labels" (B,) or (B, K), "codes" (B, K), the
            model's ``codes`` of the images, without gradients: computed once, when the stage
            begins, if the stage does not train the encoder.
    """

    parts: dict[str, Adam]
    losses: str = "losses"
    repeats: int = 1
    inputs: tuple[str, ...] = ("images",)


@dataclass(frozen=True)
class Stage:
    """A span of epochs with its own updates, made in turn on every batch.

    Args:
        name: how the history calls it.
        updates: at least one. Sub-modules that appear in none are frozen, in eval mode, for this
            stage.
        share: its part of the training's epochs, relative to the other stages.
    """

    name: str
    updates: tuple[Update, ...]
    share: float = 1.0

    def __post_init__(self):
        if not self.share > 0:
            raise ValueError(
                f"share: expected more than 0 for the stage {self.name!r}, got {self.share}"
            )
