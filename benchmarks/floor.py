"""What a training step cannot do without: its matrix products and convolutions alone."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

PRODUCTS = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)


def products_only(model: nn.Module, run: Callable[[], object]) -> Callable[[], None]:
    """The matrix products and convolutions of ``run()``, forward and backward, and nothing else.

    ``run`` is called once and every linear or convolutional layer of ``model`` that it uses is
    noted with its input. The work returned calls these layers on inputs of the same shapes, and
    asks for the gradients of weights, biases and, except for inputs that need none, inputs.
    """
    calls: list[tuple[nn.Module, Tensor]] = []

    def note(layer: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
        x = given[0]
        calls.append(
            (layer, x.detach().clone().requires_grad_(x.requires_grad), torch.randn_like(output))
        )

    handles = [m.register_forward_hook(note) for m in model.modules() if isinstance(m, PRODUCTS)]
    run()
    for handle in handles:
        handle.remove()

    def work() -> None:
        for layer, x, gradient in calls:
            wanted = [*layer.parameters()] + ([x] if x.requires_grad else [])
            torch.autograd.grad(layer(x), wanted, gradient)

    return work
