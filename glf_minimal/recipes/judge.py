"""A classifier that a recipe has trained: how good it is, and how it becomes the judge of its data
set.
"""

from pathlib import Path

import torch

from glf_minimal.errors import RunError
from glf_minimal.evaluation.classifier import cast, classifier_path, save_classifier
from glf_minimal.files import make_folder, user_path
from glf_minimal.recipes.recipe import GROUPS
from glf_minimal.recipes.run import load_run, load_run_data, read_config, train_command


def is_classifier(folder: Path) -> bool:
    """Whether a run's folder holds a classifier."""
    return read_config(folder)["model"].get("kind") == "classifier"


def evaluate_classifier(
    folder: Path,
    root: Path | None = None,
    install: bool = False,
    device: torch.device | str = "cpu",
    data: str | None = None,
) -> dict:
    """Test accuracy of a finished classifier run; ``install`` makes it the one behind its data
    set's FCD.

    ``data`` says what its data is called now; None for what it was called. The accuracy is that of
    the weights in half precision, as they are installed.
    """
    folder = user_path(folder)
    config = read_config(folder)
    classifier, _ = load_run(folder, device)
    path = classifier_path(trained_on := config["data"]["name"])
    if install and not path.stem.endswith(f"-{trained_on}"):
        raise RunError(
            f"{path.name} serves more data than {trained_on}, on which {folder} was trained; "
            "train on all"
        )
    (test,) = load_run_data(folder, config, ("test",), root, data)
    test = test.to(device)
    classifier.load_state_dict(cast(cast(classifier.state_dict(), torch.float16), torch.float32))
    places = torch.arange(len(test)).split(500)
    facts = {
        "accuracy": classifier.accuracy(
            (test.batch(place), test.labels[place.to(device)]) for place in places
        ),
        "test_images": len(test),
        "test_sha256": test.digest,
        "command": train_command(config),
        "settings": {name: config.get(name) for name in (*GROUPS, "recipe", "image_shape")},
        "training": {"data_sha256": config["data_sha256"], **config.get("made_with", {})},
    }
    if install:
        make_folder(path.parent)
        save_classifier(classifier, path, facts)
    return facts
