"""What a training makes sure of: weights that can be trained, a safe memory format, flows that can
be inverted.
"""

import warnings

import torch
from torch import Tensor, nn

from glf_minimal.errors import RecipeError
from glf_minimal.models.base import LatentModel, Trainable

MAX_INVERSE_ERROR = 1e-3  # of ``Flow.inverse_error``


class InexactInverse(UserWarning):
    """A flow's inverse no longer gives the latents back, so samples are not what the likelihood was
    trained for.
    """


def check_batch_norm(model: Trainable, batch_size: int) -> None:
    """RecipeError where batch norm would see batches of one image."""
    if batch_size == 1 and any(
        isinstance(m, nn.modules.batchnorm._BatchNorm) for m in model.modules()
    ):
        raise RecipeError(
            "batch_size: this model has batch norm, which needs at least 2 images a batch; got 1"
        )


def check_weights(model: Trainable) -> None:
    """RecipeError where weights are in half precision."""
    half = [
        n
        for n, p in model.named_parameters()
        if p.requires_grad and p.dtype in (torch.float16, torch.bfloat16)
    ]
    if half:
        what = f"the weights {half[0]} are in half precision, in which Adam's small steps are lost"
        raise RecipeError(
            f"{what}; call model.float(), and set precision='bf16' to save time where that is safe"
        )


def watch_inverse(
    model: Trainable, x: Tensor, history: list[dict], warn: bool = True
) -> dict[str, float]:
    """{"inverse_error"}: the largest of a model's flows, for latents of images x; {} of a model
    without flows.

    The first of a training, by its ``history`` so far, that is above ``MAX_INVERSE_ERROR`` is also
    a warning. Leaves the model in eval mode, so that batch norm's statistics stay what they are,
    and the random state as it was.
    """
    if not (flows := model.flows() if isinstance(model, LatentModel) else []):
        return {}
    model.eval()
    with torch.no_grad(), torch.random.fork_rng(range(torch.cuda.device_count())):
        z = model.draw_latents(x)
    error = max(flow.inverse_error(z) for flow in flows)
    before = any(row.get("inverse_error", 0) > MAX_INVERSE_ERROR for row in history)
    if error > MAX_INVERSE_ERROR and warn and not before:
        what = (
            f"the flow's inverse misses its latents, of up to {z.abs().max():.3g}, "
            f"by {error:.1e} (relative)"
        )
        remedies = "train in float64, take scale='soft-clamp' instead of 'sigmoid', or a smaller lr"
        warnings.warn(f"epoch {len(history) + 1}: {what}; {remedies}", InexactInverse, stacklevel=2)
    return {"inverse_error": error}
