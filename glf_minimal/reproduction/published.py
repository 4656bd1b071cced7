"""The published numbers of the paper and its companions, and how each of them was read."""

from dataclasses import dataclass

# Where a number comes from, and its mark in tables.
READ, SECOND_HAND, RECALLED = "read", "second-hand", "recalled"
MARKS = {READ: "", SECOND_HAND: "†", RECALLED: "‡"}
MEANINGS = {
    SECOND_HAND: "† read in a secondary source",
    RECALLED: "‡ unverified, check against arXiv:1905.10485v2",
}


@dataclass(frozen=True)
class Published:
    """A published number.

    Args:
        value: the number.
        status: READ in the source, SECOND_HAND from a secondary one, or RECALLED from memory.
        sd: the number printed after its ±, if there is one; what it was taken over is not known.
    """

    value: float
    status: str = READ
    sd: float | None = None


def _read(**values: float) -> dict[str, Published]:
    return {name: Published(value) for name, value in values.items()}


# FID, lower is better; Table 1 of the paper.
_TABLE_1_DATA = ("mnist", "fashion-mnist", "cifar10", "celeba")
_TABLE_1 = {
    "vae": (28.2, 57.5, 142.5, 71.0),
    "wae-gan": (12.4, 31.5, 93.1, 66.5),
    "two-stage-vae": (10.9, 26.1, 96.1, 65.2),
    "rae-gmm": (10.8, 25.1, 91.6, 57.8),
    "vae-flow-prior": (28.3, 51.8, 110.4, 54.3),
    "vae-flow-posterior": (26.7, 55.1, 143.6, 67.9),
    "glann-perceptual": (8.6, 13.0, 46.5, 46.3),
}
TABLE_1: dict[str, dict[str, Published]] = {
    row: dict(zip(_TABLE_1_DATA, (Published(value, RECALLED) for value in values), strict=True))
    for row, values in _TABLE_1.items()
} | {
    "glf": {
        data: Published(value, RECALLED, sd)
        for data, value, sd in zip(
            _TABLE_1_DATA, (8.2, 21.3, 88.3, 53.2), (0.1, 0.2, 0.4, 0.2), strict=True
        )
    },
    "glf-perceptual": {
        "mnist": Published(5.8, SECOND_HAND),
        "fashion-mnist": Published(10.3, SECOND_HAND),
        "cifar10": Published(44.6, SECOND_HAND),
        "celeba": Published(41.8, RECALLED),
    },
}
# Losses in nats per image: the total, the reconstruction, and the KL divergence or NLL.
SLIDE_DECK = {
    "vae": _read(total=101.549, recon=70.645, second=30.853),
    "vae-flow-posterior": _read(total=102.535, recon=78.204, second=24.275),
    "vae-flow-prior": _read(total=78.613, recon=62.597, second=16.017),
    "glf": _read(total=178.635, recon=61.971, second=116.566),
}
# FCD on the features of the report's own classifier, lower is better.
FLOWAE_REPORT = _read(real=0.2, flowae=4.65, advae=6.03, aae=6.09, vae=8.12)
