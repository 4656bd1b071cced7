"""Records of finished trainings: where they lie, what they say, how they are read and written.

A record is a JSON file, ``<results>/<experiment>/<data set>/<row>/seed-<k>.json``. It holds every
setting, every metric with its protocol, versions, hardware, times, the digests of the data and the
commands that make it again. Beside it lie 64 samples (.png), the history of the training (.csv) and
whatever else figures need of it.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from pathlib import Path

from glf_minimal.errors import RunError
from glf_minimal.files import atomic, make_folder, read_csv, read_json, user_path, write_json
from glf_minimal.history import History
from glf_minimal.training.folder import HISTORY, SAMPLES

# What the images of a record are.
GENERATED, REAL, NONE = "generated", "real training images", "none"


class Status(StrEnum):
    """What came of a training, or of one group of its metrics.

    In the file a group that was measured is a table of numbers; any other is a sentence that begins
    with its status, such as "not run: needs the Inception weights".
    """

    MEASURED = "measured"
    DIVERGED = "diverged"
    NOT_RUN = "not run"

    def because(self, reason: str) -> str:
        """The sentence that stands in a record in place of numbers."""
        return f"{self}: {reason}"


@dataclass(frozen=True)
class RecordPath:
    """Where one record lies, and what lies beside it.

    Args:
        results: the folder of all records.
        experiment: the folder of its experiment.
        data: the data set; ":" and "/" in its name become "-".
        row: the row.
        seed: the seed of the training.

    Raises:
        RunError: a name that leads out of the folder of the records.

    >>> RecordPath(Path("results"), "table-1", "mnist", "glf").json.as_posix()
    'results/table-1/mnist/glf/seed-0.json'
    """

    results: Path
    experiment: str
    data: str
    row: str
    seed: int = 0

    def __post_init__(self):
        object.__setattr__(self, "data", self.data.replace(":", "-").replace("/", "-"))
        for name in (self.experiment, self.data, self.row, f"seed-{self.seed}"):
            require_name(name)

    def _file(self, end: str) -> Path:
        folder = user_path(self.results) / self.experiment / self.data / self.row
        return folder / f"seed-{self.seed}{end}"

    @property
    def json(self) -> Path:
        """The record itself."""
        return self._file(".json")

    @property
    def png(self) -> Path:
        """Its 64 samples; real images and most diverged trainings have none."""
        return self._file(".png")

    @property
    def csv(self) -> Path:
        """The history of its training; real images have none."""
        return self._file(".csv")

    def extra(self, name: str) -> Path:
        """A further file of this name, such as "map.csv"."""
        return self._file(f"-{name}")

    def exists(self) -> bool:
        """Whether there is a record. Its JSON file is written last."""
        return self.json.exists()


def require_name(name: str) -> None:
    """RunError where a name of an experiment, a data set or a row is no name of a folder."""
    if name in ("", ".", "..") or "/" in name or "\0" in name:
        raise RunError(
            f"expected the name of an experiment, a data set or a row, without '/'; got {name!r}"
        )


@dataclass(frozen=True, eq=False)
class Record(Mapping):
    """One record. It can also be read as what its file holds: ``record["commands"]``.

    Args:
        content: of the file.
        history: of the training, one row an epoch; empty for real images. ``record["history"]`` is
            the same.
    """

    content: dict
    history: History = field(default_factory=list)

    def __getitem__(self, name: str) -> object:
        return self.history if name == "history" else self.content[name]

    def __iter__(self) -> Iterator[str]:
        return iter([*self.content, "history"])

    def __len__(self) -> int:
        return len(self.content) + 1

    @property
    def seed(self) -> int:
        """The seed of the training."""
        return self.content["seed"]

    @property
    def settings(self) -> dict[str, dict]:
        """By group, as they were when the training began."""
        return self.content["settings"]

    @property
    def protocol(self) -> dict:
        """The fields of its ``Protocol``, and "samples_are"."""
        return self.content["protocol"]

    @property
    def training(self) -> dict:
        """Epochs, times, hardware and versions of the training, and "last", its last epoch."""
        return self.content["training"]

    @property
    def evaluation(self) -> dict:
        """On what, when and how it was measured; empty where it was not."""
        return self.content.get("evaluation", {})

    @property
    def curve(self) -> list[dict]:
        """What its snapshots are worth, one point each; empty where there were none."""
        return self.content.get("curve", [])

    @property
    def judge_digest(self) -> str | None:
        """SHA-256 of the classifier that judged it; older records do not say."""
        return (self.content.get("classifier") or {}).get("sha256")

    @cached_property
    def status(self) -> Status:
        """DIVERGED where the training did, else MEASURED."""
        groups = [self.status_of(group) for group in self.content["metrics"]]
        return Status.DIVERGED if Status.DIVERGED in groups else Status.MEASURED

    def status_of(self, group: str) -> Status:
        """What came of a group of metrics, such as "classifier" or "inception"."""
        found = self.content["metrics"].get(group)
        if isinstance(found, dict):
            return Status.MEASURED
        said = str(found).startswith(Status.DIVERGED)
        return Status.DIVERGED if said else Status.NOT_RUN

    def said(self, group: str) -> str:
        """The sentence that stands in place of a group's numbers; empty where there are numbers."""
        found = self.content["metrics"].get(group, Status.NOT_RUN)
        return "" if isinstance(found, dict) else str(found)

    def measures(self, group: str) -> dict[str, float]:
        """The numbers of a group; empty where it was not measured."""
        return self.content["metrics"][group] if self.status_of(group) is Status.MEASURED else {}


def read_record(path: Path) -> Record:
    """The record in one JSON file, without its history; RunError where it is damaged."""
    remedy = "delete it and run 'glf reproduce' again"
    content = read_json(path, remedy)
    kinds = dict.fromkeys(("settings", "metrics", "protocol", "training"), dict) | {"seed": int}
    missing = [name for name, kind in kinds.items() if not isinstance(content.get(name), kind)]
    if missing:
        raise RunError(f"{path} is damaged (no {missing[0]}); {remedy}")
    return Record(content)


def find_records(results: str | Path, experiment: str, data: str) -> list[RecordPath]:
    """The records of an experiment on a data set, by the names of their rows and their seeds."""
    require_name(experiment)
    require_name(data)
    found = []
    folder = user_path(results) / experiment / data
    for path in folder.glob("*/seed-*.json"):
        seed = re.fullmatch(r"seed-(0|[1-9]\d*)", path.stem)
        if seed:
            found.append(
                RecordPath(Path(results), experiment, data, path.parent.name, int(seed[1]))
            )
    return sorted(found, key=lambda path: (path.row, path.seed))


def read_records(results: str | Path, experiment: str, data: str) -> dict[str, list[Record]]:
    """The records of an experiment on a data set, with their histories: by row, one for each seed.

    Raises:
        RunError: there are none, or one is damaged.
    """
    records: dict[str, list[Record]] = {}
    for path in find_records(results, experiment, data):
        content = read_record(path.json).content
        history = read_csv(path.csv) if path.csv.exists() else []
        records.setdefault(path.row, []).append(Record(content, history))
    if not records:
        folder = user_path(results) / experiment / data
        raise RunError(
            f"no records in {folder}; 'glf evaluate RUN --record {experiment}/ROW' writes them"
        )
    return records


def write_record(content: dict, run: Path, results: Path, experiment: str, row: str) -> Path:
    """Write a record with the samples and the history of its run beside it.

    The JSON file is written last, so that where it is nothing is missing.

    Args:
        content: from ``evaluate_run`` or ``diverged_run``.
        run: the folder of the run.
        results: the folder of all records.
        experiment: the folder of the experiment.
        row: the row.

    Returns:
        The path of the JSON file.

    Raises:
        RunError: a run that no command makes again, or files that cannot be read or written.
    """
    if not content["commands"]:
        raise RunError(
            f"no recipe of the catalogue makes {run} again, so there are no commands to record"
        )
    path = RecordPath(
        results, experiment, content["settings"]["data"]["name"], row, content["seed"]
    )
    sources = {}
    if content["protocol"]["samples_are"] == GENERATED:
        sources = {path.png: SAMPLES, path.csv: HISTORY}
    elif content["protocol"]["samples_are"] == NONE and (run / HISTORY).exists():
        sources = {path.csv: HISTORY}  # it diverged after a checkpoint
    beside = {target: _read_bytes(run / name) for target, name in sources.items()}
    make_folder(path.json.parent)
    for target in {path.png, path.csv} - beside.keys():  # of a record that this one replaces
        target.unlink(missing_ok=True)
    for target, copied in beside.items():
        with atomic(target) as temporary:
            temporary.write_bytes(copied)
    write_json(path.json, {"experiment": experiment, "row": row} | content)
    return path.json


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise RunError(f"cannot read {path} ({error.strerror}); train the run again") from error
