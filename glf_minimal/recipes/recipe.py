"""What a recipe is: one training as plain data, and how its settings are changed."""

import copy
import dataclasses
import json
from dataclasses import dataclass, field

from glf_minimal.errors import RecipeError, hint
from glf_minimal.training.settings import TrainConfig, flatten

GROUPS = ("data", "networks", "flow", "model", "train")  # of settings

DATA_DEFAULTS = {"image_size": None, "binarize": False, "limit": None, "validation": None}


@dataclass(frozen=True)
class Recipe:
    """One training, as plain data.

    Args:
        name: what ``glf train --recipe`` calls it.
        summary: one line for ``glf recipes``.
        source: where its settings come from.
        data: ``name`` of the data set, ``image_size`` for folders, ``binarize`` to round pixels to
            0 or 1, ``limit`` to train on the first so many images only.
        networks: ``family`` ("conv" or "mlp"), ``latent_dim``, and the arguments of that family.
        flow: ``form`` ("two-sided", "one-sided", "spline" or "mixture") and the arguments of that
            form.
        model: ``kind`` and the arguments of that model.
        train: fields of ``TrainConfig`` that differ from its defaults.
    """

    name: str
    summary: str
    source: str
    data: dict = field(default_factory=dict)
    networks: dict = field(default_factory=dict)
    flow: dict = field(default_factory=dict)
    model: dict = field(default_factory=dict)
    train: dict = field(default_factory=dict)

    def with_settings(self, changes: dict[str, object]) -> "Recipe":
        """A copy with some settings replaced, named "group.key" ("train.epochs", "model.beta").

        Raises:
            RecipeError: no such setting, or a value of another type.
        """
        known = flatten(self.settings(), levels=2)
        groups = {group: dict(getattr(self, group)) for group in GROUPS}
        for name, value in changes.items():
            if name not in known:
                raise RecipeError(
                    f"recipe {self.name} has no setting {name!r}; {hint(name, known)}"
                )
            old = known[name]
            if isinstance(old, float) and type(value) is int:
                value = float(value)
            if old is not None and type(value) is not type(old):
                raise RecipeError(
                    f"{name}: expected a {type(old).__name__} like {json.dumps(old)}, got "
                    f"{json.dumps(value)}"
                )
            group, key = name.split(".")
            groups[group][key] = value
        return dataclasses.replace(self, **groups)

    def settings(self) -> dict[str, dict]:
        """All settings, defaults of the training filled in; a copy, which one may change."""
        defaults = {f.name: f.default for f in dataclasses.fields(TrainConfig)}
        own = {
            "data": DATA_DEFAULTS | self.data,
            "networks": self.networks,
            "flow": self.flow,
            "model": self.model,
            "train": defaults | self.train,
        }
        return copy.deepcopy(own)
