"""Two processes train as one does with batches twice as large, and leave a folder that one process
can use.
"""

import csv
import os
import subprocess
import sys
import time

import psutil
import pytest
import torch
from torch import nn

from glf_minimal import two_sided_flow
from glf_minimal.files import read_json, read_tensors
from glf_minimal.recipes.run import load_run
from glf_minimal.training.folder import CHECKPOINT, WEIGHTS
from glf_minimal.training.parallel import SharedBatchNorm, Team, share_batch_norm

SMALL = [
    "--data",
    "digits",
    "--set",
    "networks.width=4",
    "--set",
    "networks.hidden=16",
    "--device",
    "cpu",
]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
# "multi_gpu" is its word for several processes; on a machine without a GPU they run on the CPU.
ACCELERATE = [
    sys.executable,
    "-m",
    "accelerate.commands.launch",
    "--multi_gpu",
    "--num_processes=2",
]
ACCELERATE += ["--num_machines=1", "--mixed_precision=no", "--dynamo_backend=no"]


def train(
    out, data_root, processes, epochs=8, batch=256, launcher=TORCHRUN, start=subprocess.run, **more
):
    """``glf train`` on small digits, with ``batch`` images over all processes."""
    settings = {
        "train.epochs": epochs,
        "train.batch_size": batch // processes,
        "train.checkpoint_seconds": 0,
    }
    command = launcher if processes > 1 else [sys.executable]
    command = [
        *command,
        "-m",
        "glf_minimal",
        "train",
        "--recipe",
        "glf-small-mnist",
        "--out",
        out,
        *SMALL,
    ]
    command += ["--no-progress"]
    for name, value in settings.items():
        command += ["--set", f"{name}={value}"]
    environment = os.environ | {"GLF_DATA": str(data_root), "OMP_NUM_THREADS": "1"}
    return start(
        command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more
    )


def history(out):
    with open(out / "history.csv", encoding="utf-8") as file:
        return [
            {name: float(row[name]) for name in ("loss", "recon", "nll")}
            for row in csv.DictReader(file)
        ]


@pytest.fixture(scope="module")
def one_and_two(tmp_path_factory, data_root):
    folder = tmp_path_factory.mktemp("parallel")
    for processes, name in ((1, "one"), (2, "two")):
        done = train(folder / name, data_root, processes, launcher=ACCELERATE)
        assert done.returncode == 0, done.stderr
        assert len(done.stdout.splitlines()) == 2  # one of them speaks for both
    return folder / "one", folder / "two"


def test_the_loss_curve_is_that_of_one_process_with_the_doubled_batch(one_and_two):
    """With batch norm in all three networks, so that the statistics are shared, too."""
    for one, two in list(zip(*map(history, one_and_two), strict=True))[:3]:  # roundings add up
        assert two["recon"] == pytest.approx(one["recon"], rel=1e-5)
        assert two["nll"] == pytest.approx(one["nll"], abs=1e-2)
        assert two["loss"] == pytest.approx(one["loss"], abs=1e-2)


HALVES = """
import copy, sys, torch
from torch import nn
from glf_minimal.training.parallel import join, share_batch_norm

team, _ = join("cpu")
torch.manual_seed(0)
for whole, x in (
    (nn.BatchNorm1d(5), 3 + torch.randn(16, 5)),
    (nn.BatchNorm2d(5, momentum=None), torch.randn(16, 5, 4, 3)),
    (nn.BatchNorm1d(5, affine=False, track_running_stats=False), 100 + torch.randn(16, 5)),
):
    half, mine = copy.deepcopy(whole), team.share(torch.arange(16))
    share_batch_norm(half)
    weights = torch.randn_like(x)
    x.requires_grad_()
    (expected,) = torch.autograd.grad((whole(x) * weights).mean(), x)
    y = half(x[mine])
    assert torch.allclose(y, whole(x)[mine], atol=1e-5)
    half(x[mine])  # as often as the whole one
    (y * weights[mine]).mean().backward()
    got = x.grad[mine] / team.size
    assert torch.allclose(got, expected[mine], atol=1e-6), (got, expected[mine])
    for name, value in whole.state_dict().items():
        assert torch.allclose(half.state_dict()[name].float(), value.float(), rtol=1e-5), name
# At once: unbuffered, print would write it in parts, and the two would mix.
sys.stdout.write("as one\\n")
"""


def test_batch_norm_of_two_halves_is_that_of_the_whole(tmp_path):
    """Outputs, gradients and running statistics."""
    script = tmp_path / "halves.py"
    script.write_text(HALVES)
    command = [*TORCHRUN, script]
    done = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert done.stdout.splitlines() == ["as one", "as one"], done.stderr


def test_the_run_says_how_many_there_were(one_and_two):
    one, two = (read_json(out / "config.json")["train"] for out in one_and_two)
    assert "processes" not in one
    assert two["processes"] == 2
    model, _ = load_run(one_and_two[1])
    assert model.sample(3).shape == (3, 1, 8, 8)


def test_killed_they_go_on_together(tmp_path, data_root, one_and_two):
    out = tmp_path / "run"
    process = train(out, data_root, 2, start=subprocess.Popen)
    deadline = time.monotonic() + 120
    while not (out / CHECKPOINT).exists():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    launcher = psutil.Process(process.pid)
    for one in [launcher, *launcher.children(recursive=True)]:  # each in a group of its own
        one.kill()
    process.communicate()
    assert not (out / WEIGHTS).exists()
    done = train(out, data_root, 2)
    assert done.returncode == 0, done.stderr
    (unbroken, _), (resumed, _) = (
        read_tensors(one_and_two[1] / WEIGHTS),
        read_tensors(out / WEIGHTS),
    )
    assert all(torch.equal(unbroken[name], resumed[name]) for name in unbroken)
    assert not (out / CHECKPOINT).exists()


def test_another_number_of_processes_is_another_training(one_and_two, data_root):
    done = train(one_and_two[1], data_root, 1, batch=128)
    assert done.returncode == 1
    assert "train.processes" in done.stderr


def test_shares_are_disjoint_and_whole():
    index = torch.randperm(12)
    shares = [Team(rank, 3).share(index) for rank in range(3)]
    assert [len(share) for share in shares] == [4, 4, 4]
    assert torch.equal(torch.cat(shares), index)


def test_shared_batch_norm_keeps_weights_and_evaluates_as_before():
    flow = two_sided_flow(6)
    flow.train()(torch.randn(50, 6))
    flow.eval()
    z = torch.randn(9, 6)
    before, names = flow.log_prob(z), list(flow.state_dict())
    share_batch_norm(flow)
    assert sum(isinstance(module, SharedBatchNorm) for module in flow.modules()) == 32
    assert not any(type(module) is nn.BatchNorm1d for module in flow.modules())
    assert list(flow.state_dict()) == names
    assert torch.equal(flow.log_prob(z), before)
