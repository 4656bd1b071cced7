"""What a training makes sure of: weights that can be trained, and flows that can be inverted."""

import json
import warnings

import torch
from torch import Tensor, nn

from glf_minimal.errors import RecipeError
from glf_minimal.flows import AffineCoupling, Flow
from glf_minimal.models.base import LatentModel, Trainable
from glf_minimal.networks import dtype_of

MAX_INVERSE_ERROR = 1e-3  # of ``Flow.inverse_error``


TOLERANCE = 1e-3  # of pixels beyond [0, 1]


class NoPixels(UserWarning):
    """A decoder's output leaves [0, 1]."""


class InexactInverse(UserWarning):
    """A flow's inverse no longer gives the latents back.

    Samples are then not what the likelihood was trained for.
    """


def check_batch_norm(model: Trainable, batch_size: int, images: int) -> None:
    """RecipeError where batch norm would see batches of one image."""
    has_batch_norm = any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in model.modules())
    if has_batch_norm and images == 1:
        raise RecipeError(
            "data: this model has batch norm, which needs at least 2 images; got 1 "
            "(two_sided_flow(dim, batch_norm=False) is a flow without)"
        )
    if has_batch_norm and batch_size == 1:
        raise RecipeError(
            "batch_size: this model has batch norm, which needs at least 2 images a batch; got 1"
        )


def check_number_of_images(model: Trainable, images: int) -> None:
    """RecipeError where a model could not be fitted to so few images when its training is over."""
    fewest = getattr(model, "fewest_images", 1)
    if images < fewest:
        raise RecipeError(
            f"components: a mixture of {fewest} Gaussians needs at least as many images, got "
            f"{images}; take fewer components"
        )


def require_json(settings: dict | None) -> None:
    """RecipeError where settings cannot be written into a run's config.json."""
    try:
        json.dumps(settings)
    except (TypeError, ValueError) as error:
        raise RecipeError(
            f"settings: expected numbers, words, lists and dicts of them ({error})"
        ) from error


def check_weights(model: Trainable) -> None:
    """RecipeError where weights cannot be trained: in half precision, or made in inference mode."""
    if any(tensor.is_inference() for tensor in model.state_dict(keep_vars=True).values()):
        raise RecipeError(
            "the model was built inside torch.inference_mode, where weights cannot be trained; "
            "build it outside"
        )
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


def watch_pixels(samples: Tensor) -> None:
    """Warn where the samples of a trained model are no pixels in [0, 1]."""
    low, high = samples.min().item(), samples.max().item()
    if low < -TOLERANCE or high > 1 + TOLERANCE:
        warnings.warn(
            f"samples go from {low:.2g} to {high:.2g} and not from 0 to 1; end the decoder with a "
            "sigmoid",
            NoPixels,
            stacklevel=2,
        )


def watch_inverse(
    model: Trainable, x: Tensor, history: list[dict], warn: bool = True
) -> dict[str, float]:
    """{"inverse_error"}: the largest of a model's flows, for latents of images x.

    A model without flows gives {}.

    The first of a training, by its ``history`` so far, that is above ``MAX_INVERSE_ERROR`` is also
    a warning. Leaves the model in eval mode, so that batch norm's statistics stay what they are,
    and the random state as it was.
    """
    flows = model.flows() if isinstance(model, LatentModel) else []
    if not flows:
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
        warnings.warn(
            f"epoch {len(history) + 1}: {what}; {_remedies(model, flows)}",
            InexactInverse,
            stacklevel=2,
        )
    return {"inverse_error": error}


def _remedies(model: LatentModel, flows: list[Flow]) -> str:
    """What makes the inverse of these flows more exact."""
    remedies = ["train with a smaller lr"]
    names = [name for name, part in model.named_children() if part in flows]
    single = [name for name in names if dtype_of(getattr(model, name)) != torch.float64]
    if single and next(model.parameters()).device.type != "mps":  # which has no float64
        calls = " and ".join(f"model.{name}.double()" for name in single)
        remedies.append(f"call {calls} before fit")
    couplings = [m for flow in flows for m in flow.modules() if isinstance(m, AffineCoupling)]
    if any(coupling.scale == "sigmoid" for coupling in couplings):
        remedies.append("take a flow with scale='soft-clamp', such as two_sided_flow")
    return ", or ".join(remedies)
