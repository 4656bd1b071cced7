"""A trained flow and decoder as one JavaScript file, for a page that runs them in the browser.

The file assigns one global, ``GLF_MODEL``: plain JSON, whose tensors are base64 of little-endian
floats. A page loads it with a script tag, so it needs no server; ``book/_static/demo.js`` reads and
runs it.

    recipe, data, image_shape (C, H, W), latent_dim D
    flow        its layers in the order data -> noise: couplings and permutations
    decoder     its layers
    latents     (N, D) encoded real images; center (D,) and axes (2, D) of their two leading
                principal components
    check       eps (n, D), latents (n, D), log_density (n,), images (n, C, H, W) and plain
                (n, C, H, W): what PyTorch makes of some noise with and without the flow, with the
                weights as rounded for the file

Batch norm is folded into the linear layer or convolution next to it, in float64: in eval mode it is
an affine map with constant coefficients. That leaves fewer numbers and fewer kinds of layer. The
weights are then rounded to float16.
"""

import base64
import copy
import json
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from glf_minimal.errors import RunError
from glf_minimal.files import atomic, user_path
from glf_minimal.flows import AffineCoupling, Conditioner, Flow, Permutation
from glf_minimal.models import FlowOnNoise, LatentModel
from glf_minimal.networks import ToImage
from glf_minimal.recipes.run import load_run, load_run_data

LATENTS, CHECKS = 400, 3  # points in the file


def _fold_batch_norm(network: nn.Sequential) -> nn.Sequential:
    """The same function in eval mode; a batch norm that has no linear layer beside it stays."""
    layers: list[nn.Module] = []
    for layer in network:
        before = layers[-1] if layers else None
        if isinstance(layer, nn.BatchNorm1d) and isinstance(before, nn.Linear):
            layers[-1] = fuse_linear_bn_eval(before, layer)
        elif isinstance(layer, nn.BatchNorm2d) and isinstance(before, nn.ConvTranspose2d):
            layers[-1] = fuse_conv_bn_eval(before, layer, transpose=True)
        elif isinstance(layer, nn.Linear) and isinstance(before, nn.BatchNorm1d):
            # W (scale * x + shift) + b, as in the authors' couplings, whose batch norm follows the
            # ReLU
            scale = before.weight / (before.running_var + before.eps).sqrt()
            shift = before.bias - scale * before.running_mean
            layer.bias.data += layer.weight @ shift
            layer.weight.data *= scale
            layers[-1] = layer
        else:
            layers.append(layer)
    return nn.Sequential(*layers)


def for_export(model: LatentModel) -> LatentModel:
    """A copy in eval mode without batch norm, its weights float32 numbers that float16 can hold."""
    model = copy.deepcopy(model).double().eval()
    for module in model.modules():
        if isinstance(module, Conditioner):
            module.nets = nn.ModuleList(_fold_batch_norm(net) for net in module.nets)
    model.decoder = _fold_batch_norm(model.decoder)
    return model.half().float()


def _tensor(tensor: Tensor, dtype: str = "float16") -> dict:
    """A tensor as {"shape": …, dtype: base64}: little-endian numbers in row-major order."""
    numbers = tensor.detach().numpy().astype({"float16": "<f2", "float32": "<f4"}[dtype])
    return {"shape": list(tensor.shape), dtype: base64.b64encode(numbers.tobytes()).decode()}


def _layer(layer: nn.Module) -> dict:
    """A layer of the decoder or of a conditioner: its type, its settings, its weights."""
    match layer:
        case nn.Linear():
            return {"type": "linear", "weight": _tensor(layer.weight), "bias": _tensor(layer.bias)}
        case nn.ConvTranspose2d(
            kernel_size=(4, 4), stride=(2, 2), padding=(1, 1), output_padding=(0, 0), groups=1
        ):
            return {
                "type": "conv-transpose",
                "weight": _tensor(layer.weight),
                "bias": _tensor(layer.bias),
            }
        case nn.ReLU():
            return {"type": "relu"}
        case nn.ELU(alpha=1.0):
            return {"type": "elu"}
        case nn.Unflatten():
            return {"type": "unflatten", "shape": list(layer.unflattened_size)}
        case ToImage():
            return {"type": layer.squash}
    raise RunError(
        f"cannot export the layer {layer}; expected one of the book's MLP and convolutional "
        "decoders"
    )


def _flow_layer(layer: nn.Module) -> dict:
    match layer:
        case Permutation():
            return {"type": "permutation", "order": layer.order.tolist()}
        case AffineCoupling():
            halves = {"move_first": layer.move_first, "move_second": layer.move_second}
            moves = {
                name: half and [[_layer(part) for part in net] for net in half.nets]
                for name, half in halves.items()
            }
            return {"type": "coupling", "scale": layer.scale, "sizes": layer.sizes} | moves
    raise RunError(
        f"cannot export a flow with the layer {type(layer).__name__}; expected affine couplings "
        "and permutations"
    )


@torch.no_grad()
def export_run(
    run: str | Path, out: str | Path, root: str | Path | None = None, data: str | None = None
) -> float:
    """Write a finished run's flow and decoder to the JavaScript file ``out``.

    Args:
        run: folder of a finished training of a GLF, or of another model that draws its latents from
            a flow.
        out: the file to write.
        root: where the data is cached; the latents in the file are those of the first test images.
        data: where the run's data lies now, as in "folder:PATH"; None for where it lay.

    Returns:
        The largest difference of a pixel, in [0, 1], that folding and rounding make on the file's
        check vectors.

    Raises:
        RunError: no such model, one with layers that the file has no words for, or one that was
            trained on other data.
    """
    run, out = user_path(run), user_path(out)
    model, config = load_run(run)
    prior = getattr(model, "prior", None)
    if not isinstance(prior, Flow) or isinstance(prior, FlowOnNoise):
        raise RunError(
            f"{run} holds the model {type(model).__name__}, whose latents come from no flow on "
            "N(0, I); give a GLF's run, with a flow of the form one-sided or two-sided"
        )
    rounded = for_export(model)
    if not all(parameter.isfinite().all() for parameter in rounded.parameters()):
        raise RunError(
            f"{run} has weights above 65504, the largest float16; train it with a smaller rate"
        )
    (test,) = load_run_data(run, config, ("test",), root, data)
    z = model.encode(test.batch(slice(LATENTS)))
    eps = torch.randn(CHECKS, model.latent_dim, generator=torch.Generator().manual_seed(0))
    latents, _ = rounded.prior.inverse(eps)
    check = {"eps": eps, "latents": latents, "log_density": rounded.prior.log_prob(latents)}
    check |= {"images": rounded.decode(latents), "plain": rounded.decode(eps)}
    content = {
        "recipe": config.get("recipe"),
        "data": config["data"]["name"],
        "image_shape": config["image_shape"],
        "latent_dim": model.latent_dim,
        "flow": [_flow_layer(layer) for layer in rounded.prior.layers],
        "decoder": [_layer(layer) for layer in rounded.decoder],
        "latents": _tensor(z),
        "center": _tensor(z.mean(0)),
        "axes": _tensor(torch.linalg.svd(z - z.mean(0), full_matrices=False).Vh[:2]),
        "check": {name: _tensor(tensor, "float32") for name, tensor in check.items()},
    }
    with atomic(out) as temporary:
        script = f"globalThis.GLF_MODEL = {json.dumps(content)};\n"
        temporary.write_text(
            "// A GLF, written by 'glf export': a description in JSON, weights in base64.\n"
            + script
        )
    return (check["images"] - model.decode(model.prior.inverse(eps)[0])).abs().max().item()
