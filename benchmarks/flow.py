"""A flow of four two-sided affine couplings with random permutations, in this module and in four
libraries.

Every coupling has the same conditioner, a perceptron with two hidden layers of ``hidden`` units:
one for scale and shift together ("joint"), or one each ("separate"). Each library has its own
function for the scale and its own checks; those are part of what is compared. The step is the one
of ``glf_minimal.training.loop``: negative log-likelihood, backward, fused Adam.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from benchmarks.compare import Contender
from benchmarks.floor import products_only

BLOCKS = 4


def mlp(inputs: int, outputs: int, hidden: int = 256) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, hidden),
        nn.ReLU(),
        nn.Linear(hidden, hidden),
        nn.ReLU(),
        nn.Linear(hidden, outputs),
    )


def ours(dim: int, hidden: int, joint: bool = True) -> tuple[nn.Module, Callable, Callable]:
    from glf_minimal.flows import AffineCoupling, Flow, Permutation

    layers = [
        (AffineCoupling(dim, hidden, joint=joint), Permutation(dim, seed)) for seed in range(BLOCKS)
    ]
    flow = Flow([layer for pair in layers for layer in pair])
    return flow, flow.log_prob, flow.sample


def freia(dim: int, hidden: int, joint: bool = True) -> tuple[nn.Module, Callable, Callable]:
    import FrEIA.framework as Ff
    import FrEIA.modules as Fm

    flow = Ff.SequenceINN(dim)
    block = Fm.GLOWCouplingBlock if joint else Fm.RNVPCouplingBlock
    for seed in range(BLOCKS):
        flow.append(block, subnet_constructor=lambda i, o: mlp(i, o, hidden))
        flow.append(Fm.PermuteRandom, seed=seed)
    normal = torch.distributions.Normal(0.0, 1.0)

    def log_prob(z: Tensor) -> Tensor:
        eps, log_det = flow(z)
        return normal.log_prob(eps).sum(1) + log_det

    return (
        flow,
        log_prob,
        lambda n: flow(torch.randn(n, dim, device=next(flow.parameters()).device), rev=True)[0],
    )


def nflows(dim: int, hidden: int) -> tuple[nn.Module, Callable, Callable]:
    from nflows.distributions import StandardNormal
    from nflows.flows import Flow
    from nflows.transforms import AffineCouplingTransform, CompositeTransform, RandomPermutation

    class Conditioner(nn.Sequential):
        def forward(self, x: Tensor, context: None = None) -> Tensor:
            return super().forward(x)

    half = torch.arange(dim) % 2
    layers = []
    for _ in range(BLOCKS):
        for mask in (half, 1 - half):
            layers.append(
                AffineCouplingTransform(mask, lambda i, o: Conditioner(*mlp(i, o, hidden)))
            )
        layers.append(RandomPermutation(dim))
    flow = Flow(CompositeTransform(layers), StandardNormal([dim]))
    return flow, flow.log_prob, flow.sample


def normflows(dim: int, hidden: int) -> tuple[nn.Module, Callable, Callable]:
    import normflows as nf

    layers = []
    for _ in range(BLOCKS):
        for mode in ("swap", "shuffle"):
            half = nf.nets.MLP([dim // 2, hidden, hidden, dim])
            layers += [nf.flows.AffineCouplingBlock(half), nf.flows.Permute(dim, mode=mode)]
    flow = nf.NormalizingFlow(nf.distributions.DiagGaussian(dim, trainable=False), layers)
    return flow, flow.log_prob, lambda n: flow.sample(n)[0]


def zuko(dim: int, hidden: int) -> tuple[nn.Module, Callable, Callable]:
    import zuko.flows

    flow = zuko.flows.RealNVP(
        dim, transforms=2 * BLOCKS, randmask=True, hidden_features=(hidden, hidden)
    )
    return flow, lambda z: flow().log_prob(z), lambda n: flow().sample((n,))


LIBRARIES = {
    "glf_minimal": ours,
    "FrEIA": freia,
    "nflows": nflows,
    "normflows": normflows,
    "zuko": zuko,
}


def train(
    library: str,
    batch: int,
    device: str,
    dim: int = 64,
    hidden: int = 256,
    steps: int = 20,
    mode: str = "",
    **settings,
) -> Callable[[], None]:
    """``steps`` training steps. ``mode``: "", "bf16" (autocast), "compile", or "floor": the matrix
    products alone.
    """
    flow, log_prob, _ = LIBRARIES[library](dim, hidden, **settings)
    flow = flow.to(device)
    optimizer = torch.optim.Adam(flow.parameters(), lr=1e-4, fused=True)
    z = torch.randn(batch, dim, device=device)
    if mode == "floor":
        products = products_only(flow, lambda: log_prob(z))

        def work() -> None:
            for _ in range(steps):
                products()

        work.facts = {"steps": steps}
        return work
    density = torch.compile(log_prob, mode="reduce-overhead") if mode == "compile" else log_prob

    def work() -> None:
        for _ in range(steps):
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast(device, torch.bfloat16, enabled=mode == "bf16"):
                loss = -density(z).mean()
            loss.backward()
            optimizer.step()

    work.facts = {"steps": steps, "parameters": sum(p.numel() for p in flow.parameters())}
    return work


def sample(
    library: str,
    batch: int,
    device: str,
    dim: int = 64,
    hidden: int = 256,
    steps: int = 20,
    **settings,
) -> Callable[[], None]:
    """``steps`` times ``batch`` samples."""
    flow, _, draw = LIBRARIES[library](dim, hidden, **settings)
    flow = flow.to(device).eval()

    @torch.no_grad()
    def work() -> None:
        for _ in range(steps):
            assert draw(batch).shape == (batch, dim)

    work.facts = {"steps": steps}
    return work


def contenders(task: str, batch: int, has_bf16: bool) -> list[Contender]:
    """Everyone at one batch size; first this module's, one network for scale and shift."""
    steps = {"steps": 20 if batch <= 256 else 3}
    function = f"benchmarks.flow:{task}"
    joint = {"glf_minimal": {}, "FrEIA (GLOW block)": {}, "nflows": {}, "normflows": {}, "zuko": {}}
    separate = {
        "glf_minimal, separate networks": {"joint": False},
        "FrEIA (RNVP block)": {"joint": False},
    }
    modes = {"floor": "its matrix products alone", "compile": "torch.compile"}
    if has_bf16:
        modes["bf16"] = "bf16 autocast"
    found = []
    for name, settings in (joint | separate).items():
        library = name.split(" (")[0].split(",")[0]
        found.append(
            Contender(name, function, {"library": library, "batch": batch, **steps, **settings})
        )
    if task == "train":
        for mode, what in modes.items():
            arguments = {"library": "glf_minimal", "batch": batch, **steps, "mode": mode}
            found.append(Contender(f"glf_minimal, {what}", function, arguments))
    return found
