"""Many flows that learn from one encoder, each with one thing changed: the model of
``benchmarks.levers``.
"""

import copy

import torch
from torch import Tensor, nn

from benchmarks.quality_points import Protocol
from glf_minimal.flows import Flow, two_sided_flow
from glf_minimal.models import GLF, Adam, Stage, Update
from glf_minimal.models.other_flows import mixture_flow, spline_flow
from glf_minimal.recipes.build import build_model
from glf_minimal.recipes.catalogue import get_recipe

QUEUE = 4  # batches
# Attribute of the model -> what it is.
VARIANTS = {
    "flow": "GLF",
    "faster": "flow: rate doubled",
    "slower": "flow: rate halved",
    "plain_adam": "flow: Adam's default settings",
    "queued": f"flow: batches of the last {QUEUE} steps",
    "repeated": "flow: two updates a step",
    "averaged": "flow: average of its weights",
    "standardized": "flow: standardizing first layer",
    "wide": "flow: twice as wide",
    "spline": "flow: splines added",
    "mixture": "flow: noise from a learned mixture",
}


class Standardize(nn.Module):
    """A first layer without parameters: latents (N, D) minus their mean, over their spread, both
    kept as moving averages.
    """

    def __init__(self, dim: int):
        super().__init__()
        self.dim = dim
        self.statistics = nn.BatchNorm1d(dim, affine=False)

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """(N, D) -> y (N, D), log_det (N,)."""
        if self.training:
            self.statistics(z)
        mean, scale = self._moments()
        return (z - mean) / scale, -scale.log().sum().expand(len(z))

    def inverse(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """(N, D) -> z (N, D), log_det (N,) of the inverse."""
        mean, scale = self._moments()
        return y * scale + mean, scale.log().sum().expand(len(y))

    def _moments(self) -> tuple[Tensor, Tensor]:
        variance = self.statistics.running_var + self.statistics.eps
        return self.statistics.running_mean.clone(), variance.sqrt()


class SideBySide(GLF):
    """GLF whose encoder teaches several flows. ``flow`` is GLF's own; each other part that is named
    in ``VARIANTS`` is a flow with one thing changed.

    Args:
        rest, named: GLF's arguments.
        settings: a recipe's group "flow".
        flow_adam: of GLF's own flow, from which the others differ in one thing at most.
    """

    def __init__(self, *rest, settings: dict, flow_adam: Adam, **named):
        super().__init__(*rest, flow_adam=flow_adam, **named)
        dim, blocks, hidden = self.flow.dim, settings["blocks"], settings["hidden"]
        for name in ("faster", "slower", "plain_adam", "queued", "repeated", "averaged"):
            setattr(self, name, copy.deepcopy(self.flow))
        self.standardized = Flow([Standardize(dim), *copy.deepcopy(self.flow).layers])
        self.wide = two_sided_flow(dim, 2 * hidden, blocks)
        self.spline = spline_flow(dim, hidden, blocks)
        self.mixture = mixture_flow(dim, hidden, blocks, components=20)
        self.queue: list[Tensor] = []
        rates = {"faster": 2.0, "slower": 0.5}
        self.adam = {
            name: Adam(rates.get(name, 1.0), flow_adam.betas, flow_adam.eps, flow_adam.weight_decay)
            for name in VARIANTS
            if name != "averaged"
        } | {"plain_adam": Adam()}
        joint = Update(self.auto_encoder_parts() | self.adam)
        again = Update({"repeated": self.adam["repeated"]}, "again_losses")
        self.stages = (Stage("joint", (joint, again)),)

    def flows(self) -> list[Flow]:
        """Only GLF's own is watched in training."""
        return [self.flow]

    def losses(self, x: Tensor) -> dict[str, Tensor]:
        """Images (N, C, H, W) -> {"loss", "recon", "nll", …}, one NLL for each flow."""
        z = self.encode(x)
        terms = {"recon": self.reconstruction_loss(z, x)}
        self.queue = [*self.queue, z.detach()][-QUEUE:]
        for name in self.adam:
            latents = torch.cat(self.queue) if name == "queued" else z.detach()
            terms["nll" if name == "flow" else name] = -getattr(self, name).log_prob(latents).mean()
        self._average()
        total = self.beta * terms["recon"] + sum(terms[name] for name in terms if name != "recon")
        return {"loss": total} | terms

    def again_losses(self, _: Tensor) -> dict[str, Tensor]:
        """The NLL of the flow with a second update, on the latents of the step."""
        return {"loss": -self.repeated.log_prob(self.queue[-1]).mean()}

    @torch.no_grad()
    def _average(self, rate: float = 0.005) -> None:
        """Move the average of GLF's flow towards its weights and statistics."""
        own = self.flow.state_dict()
        for name, value in self.averaged.state_dict().items():
            if value.is_floating_point():
                value.lerp_(own[name], rate)


def side_by_side(protocol: Protocol, shape: tuple[int, int, int]) -> SideBySide:
    """The model of the protocol's recipe with all flows, none trained."""
    settings = get_recipe(protocol.recipe).settings()
    model = build_model(settings, shape, protocol.seed)
    (update,) = model.stages[0].updates
    torch.manual_seed(protocol.seed)
    return SideBySide(
        model.encoder,
        model.decoder,
        model.flow,
        beta=model.beta,
        reconstruction=settings["model"]["reconstruction"],
        settings=settings["flow"],
        flow_adam=update.parts["flow"],
    )
