"""Encoders and decoders: the slide deck's MLPs and the paper's InfoGAN convolutional pair.

Every encoder maps images (N, C, H, W) in [0, 1] to (N, latent_dim); every decoder maps (N,
latent_dim) back to images in [0, 1]. A VAE, whose encoder gives means and log-variances, asks for 2
* latent_dim.
"""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

Shape = tuple[int, int, int]


def dtype_of(network: nn.Module, default: torch.dtype = torch.float32) -> torch.dtype:
    """The floating point type of a network's first weights.

    It is ``default`` where there are none, as in a plain function.
    """
    weights = network.parameters() if isinstance(network, nn.Module) else ()
    types = (parameter.dtype for parameter in weights)
    return next((dtype for dtype in types if dtype.is_floating_point), default)


def at_least_float32(x: Tensor) -> Tensor:
    """Half precision as float32; float32 and float64 as they are."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def run_in_its_dtype(network: nn.Module, x: Tensor) -> Tensor:
    """network(x), with x in the type of the network's weights: parts of a model may differ."""
    return network(x.to(dtype_of(network, x.dtype)))


class ConvNetwork(nn.Sequential):
    """Layers in sequence that keep images in the fastest memory format for convolutions.

    What it returns has the usual format again, and its weights never leave it.
    """

    def forward(self, x: Tensor) -> Tensor:
        for layer in self:
            if x.ndim == 4:
                x = x.contiguous(memory_format=torch.channels_last)
            x = layer(x)
        # A copy: of one channel torch takes the one format for the other, and keeps its strides.
        return x.clone(memory_format=torch.contiguous_format) if x.ndim == 4 else x


class ToImage(nn.Module):
    """Logits -> pixels in [0, 1]: sigmoid, or the authors' 0.5 * tanh + 0.5.

    Computed in float32 at least: bfloat16 rounds every pixel above 0.998 to 1, which ruins a BCE.
    """

    def __init__(self, squash: str = "sigmoid"):
        super().__init__()
        if squash not in ("sigmoid", "tanh"):
            raise ValueError(f"squash: expected 'sigmoid' or 'tanh', got {squash!r}")
        self.squash = squash

    def forward(self, logits: Tensor) -> Tensor:
        logits = at_least_float32(logits)
        return logits.sigmoid() if self.squash == "sigmoid" else 0.5 * logits.tanh() + 0.5


def _mlp(widths: list[int], activation: str, batch_norm: bool) -> list[nn.Module]:
    if activation not in ("ReLU", "ELU"):
        raise ValueError(f"activation: expected 'ReLU' or 'ELU', got {activation!r}")
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths[:-1]):
        layers.append(nn.Linear(inputs, outputs))
        if batch_norm:
            layers.append(nn.BatchNorm1d(outputs))
        layers.append(getattr(nn, activation)())
    return [*layers, nn.Linear(widths[-2], widths[-1])]


def mlp(
    inputs: int,
    hidden: tuple[int, ...],
    outputs: int,
    activation: str = "ReLU",
    batch_norm: bool = False,
) -> nn.Sequential:
    """A fully connected network on vectors, (N, inputs) -> (N, outputs).

    Critics and generators of latents are such networks.
    """
    return nn.Sequential(*_mlp([inputs, *hidden, outputs], activation, batch_norm))


def mlp_encoder(
    image_shape: Shape,
    latent_dim: int,
    hidden: tuple[int, ...] = (200, 200),
    activation: str = "ReLU",
    batch_norm: bool = False,
) -> nn.Sequential:
    """Fully connected encoder of the slide deck (200 units a layer, latent_dim 40 there)."""
    widths = [math.prod(image_shape), *hidden, latent_dim]
    return nn.Sequential(nn.Flatten(), *_mlp(widths, activation, batch_norm))


def mlp_decoder(
    image_shape: Shape,
    latent_dim: int,
    hidden: tuple[int, ...] = (200, 200),
    activation: str = "ReLU",
    batch_norm: bool = False,
) -> nn.Sequential:
    """Fully connected decoder, the mirror image of ``mlp_encoder``."""
    widths = [latent_dim, *reversed(hidden), math.prod(image_shape)]
    return nn.Sequential(
        *_mlp(widths, activation, batch_norm), nn.Unflatten(1, image_shape), ToImage()
    )


def _quarter(image_shape: Shape) -> tuple[int, int, int]:
    channels, height, width = image_shape
    if height % 4 or width % 4:
        raise ValueError(
            "image_shape: the convolutional pair halves the sides twice, so they must be "
            f"multiples of 4; got {height}x{width}: scale the images, or use the MLPs"
        )
    return channels, height // 4, width // 4


def _init_infogan(network: nn.Sequential) -> nn.Sequential:
    """Weights N(0, 0.02), biases 0, as the authors do; batch norm keeps its gain of 1."""
    for module in network:
        if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, std=0.02)
            nn.init.zeros_(module.bias)
    return network


def conv_encoder(
    image_shape: Shape, latent_dim: int, width: int = 64, hidden: int = 1024
) -> nn.Sequential:
    """The paper's InfoGAN encoder: two strided convolutions, one hidden layer.

    Any image whose sides are multiples of 4; the paper uses 28, 32 and 64 pixels with
    ``width`` 64 (128 channels in the second convolution) and ``hidden`` 1024.
    """
    channels, height, width_ = _quarter(image_shape)
    network = ConvNetwork(
        nn.Conv2d(channels, width, kernel_size=4, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(width, 2 * width, kernel_size=4, stride=2, padding=1),
        nn.BatchNorm2d(2 * width),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(2 * width * height * width_, hidden),
        nn.BatchNorm1d(hidden),
        nn.ReLU(),
        nn.Linear(hidden, latent_dim),
    )
    return _init_infogan(network)


def conv_decoder(
    image_shape: Shape, latent_dim: int, width: int = 64, hidden: int = 1024
) -> nn.Sequential:
    """The paper's InfoGAN generator, ending in 0.5 * tanh + 0.5."""
    channels, height, width_ = _quarter(image_shape)
    features = 2 * width * height * width_
    network = ConvNetwork(
        nn.Linear(latent_dim, hidden),
        nn.BatchNorm1d(hidden),
        nn.ReLU(),
        nn.Linear(hidden, features),
        nn.BatchNorm1d(features),
        nn.ReLU(),
        nn.Unflatten(1, (2 * width, height, width_)),
        nn.ConvTranspose2d(2 * width, width, kernel_size=4, stride=2, padding=1),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.ConvTranspose2d(width, channels, kernel_size=4, stride=2, padding=1),
        ToImage("tanh"),
    )
    return _init_infogan(network)
