"""A classifier that a recipe has trained: how good it is, and how it comes to judge samples."""

from pathlib import Path

import torch

from glf_minimal.errors import RunError
from glf_minimal.evaluation.classifier import cast, classifier_path, save_classifier
from glf_minimal.files import make_folder
from glf_minimal.recipes.recipe import GROUPS
from glf_minimal.recipes.run import FinishedRun, load_run_data, read_run, train_command


def evaluate_classifier(
    run: str | Path | FinishedRun,
    root: Path | None = None,
    install: bool = False,
    device: torch.device | str = "cpu",
    data: str | None = None,
) -> dict:
    """Test accuracy of a finished classifier run; gives the facts for the header of its file.

    The accuracy is that of the weights in half precision, as they are installed.

    Args:
        run: the run, or its folder.
        root: where the data is cached.
        install: make it the classifier behind the FCD of its data set.
        device: where to compute.
        data: what its data is called now, as in "folder:PATH"; None for what it was called.
    """
    run = read_run(run, device)
    config, classifier = run.config, run.model
    trained_on = config["data"]["name"]
    path = classifier_path(trained_on)
    if install and not path.stem.endswith(f"-{trained_on}"):
        raise RunError(
            f"{path.name} serves more data than {trained_on}, on which {run.folder} was trained; "
            "train on all"
        )
    (test,) = load_run_data(run.folder, config, ("test",), root, data)
    test = test.to(device)
    classifier.load_state_dict(cast(cast(classifier.state_dict(), torch.float16), torch.float32))
    batches = torch.arange(len(test)).split(500)
    facts = {
        "accuracy": classifier.accuracy(
            (test.batch(batch), test.labels[batch.to(device)]) for batch in batches
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
