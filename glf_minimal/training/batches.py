"""What an update is given of a batch: images, their places and labels, a frozen encoder's codes."""

from collections.abc import Callable

import torch
from torch import Tensor

from glf_minimal.data import ImageDataset
from glf_minimal.models.base import LatentModel, Trainable, image_dtype
from glf_minimal.models.stages import Stage

IMAGES_AT_ONCE = 1000


def batch_of(
    data: ImageDataset, index: Tensor, dtype: torch.dtype, codes: Tensor | None = None
) -> dict[str, Tensor]:
    """What an update can ask for of the images at these places (B,), by name."""
    batch = {"images": data.batch(index).to(dtype), "index": index}
    if data.labels is not None:
        batch["labels"] = data.labels[index]
    if codes is not None:
        batch["codes"] = codes
    return batch


@torch.no_grad()
def kept_codes(model: Trainable, stage: Stage, data: ImageDataset) -> Tensor | None:
    """``model.codes`` of all images, (N, K), for a stage that works on them and keeps the encoder.

    None where the stage needs no codes, or trains the encoder, whose codes then change. They are
    computed in eval mode, in which the model stays, and in float32 whatever the precision of the
    training: so does everybody who uses the model later.
    """
    moved = {part for update in stage.updates for part in update.parts}
    if "encoder" in moved or not any("codes" in update.inputs for update in stage.updates):
        return None
    model.eval()
    return for_all_images(model, model.codes, data)


@torch.no_grad()
def fit_latents(model: Trainable, data: ImageDataset, codes: Tensor | None = None) -> None:
    """Fit what no gradient teaches a model, such as a mixture, to the latents of all images.

    Does nothing for a model without such a part; any other is in eval mode afterwards. ``codes``,
    if the last stage kept some, save encoding the images again where they are the latents.
    """
    if not (isinstance(model, LatentModel) and model.fits_latents):
        return
    model.eval()
    kept = codes is not None and codes.shape[1] == model.latent_dim
    model.fit_latents(codes if kept else for_all_images(model, model.encode, data))


@torch.no_grad()
def for_all_images(
    model: Trainable, function: Callable[[Tensor], Tensor], data: ImageDataset
) -> Tensor:
    """What a function of the model, such as ``model.encode``, makes of all images: (N, …).

    It is given a thousand at a time, in the floating point type of the model.
    """
    parts = torch.arange(len(data), device=data.pixels.device).split(IMAGES_AT_ONCE)
    return torch.cat([function(data.batch(part).to(image_dtype(model))) for part in parts])
