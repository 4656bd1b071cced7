"""Where a number comes from: versions, code, hardware."""

import platform
import subprocess
from contextlib import suppress
from importlib import metadata
from pathlib import Path

import torch

LIBRARIES = (
    "torch",
    "torchvision",
    "numpy",
    "scipy",
    "scikit-learn",
    "pytorch-fid",
    "torchmetrics",
    "prdc",
)


def versions() -> dict[str, str]:
    """Versions of Python, this package and the libraries that its numbers depend on.

    Libraries that are not installed are left out.
    """
    from glf_minimal import __version__

    found = {"python": platform.python_version(), "glf_minimal": __version__}
    for name in LIBRARIES:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def git_commit() -> str | None:
    """The commit of this package's checkout, or None outside a checkout.

    It ends with "+" where files differ from it.
    """
    folder = Path(__file__).parent.parent
    if not (folder / ".git").exists():  # installed, perhaps below a repository of someone else
        return None
    try:
        commit, changes = (
            subprocess.run(
                ["git", "-C", folder, *command], capture_output=True, text=True, check=True
            ).stdout.strip()
            for command in (["rev-parse", "HEAD"], ["status", "--porcelain", "--", "glf_minimal"])
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit + ("+" if changes else "")


def made_on(device: torch.device) -> dict:
    """What a number was made with, as results keep it: versions, commit and hardware."""
    return {"versions": versions(), "commit": git_commit(), "hardware": hardware(device)}


def hardware(device: torch.device) -> str:
    """The GPU's name, or the CPU's and how many threads torch uses.

    A CPU's family and model are added where the system tells.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "mps":
        return "Apple GPU"
    cpu_info = Path("/proc/cpuinfo")
    lines = cpu_info.read_text(encoding="utf-8").splitlines() if cpu_info.exists() else []
    cpu = {
        name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)
    }
    # Clouds shorten names: one may stand for processors of very different speed.
    kind = [
        f"{name.removeprefix('cpu ')} {cpu[name]}"
        for name in ("cpu family", "model")
        if name in cpu
    ]
    threads = torch.get_num_threads()
    name = " ".join([cpu.get("model name", platform.processor()), *kind])
    return f"{name}, {threads} thread{'s' * (threads > 1)}"
