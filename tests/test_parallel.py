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
from training_helpers import weights

from glf_minimal import two_sided_flow
from glf_minimal.files import read_json, read_tensors
from glf_minimal.recipes.run import load_run
from glf_minimal.training.folder import CHECKPOINT, WEIGHTS
from glf_minimal.training.parallel import Team, shared_batch_norm

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
    out,
    data_root,
    processes,
    epochs=8,
    batch=256,
    launcher=TORCHRUN,
    start=subprocess.run,
    batch_norm="false",
    **more,
):
    """``glf train`` on small digits, with ``batch`` images over all processes."""
    settings = {
        "networks.batch_norm": batch_norm,
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
        "glf-digits",
        "--out",
        out,
        "--device",
        "cpu",
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
    for one, two in list(zip(*map(history, one_and_two), strict=True))[:3]:  # roundings add up
        assert two["recon"] == pytest.approx(one["recon"], rel=1e-5)
        assert two["nll"] == pytest.approx(one["nll"], rel=1e-4)
        assert two["loss"] == pytest.approx(one["loss"], rel=1e-4)


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


def test_on_gpus_batch_norm_is_torchs_shared_one_while_they_train():
    """Afterwards the model has its own modules, with their hooks and what they have learned."""
    flow = two_sided_flow(6)
    own, hooked = dict(flow.named_modules()), flow.layers[0].move_first.nets[0][2]
    hooked.register_forward_hook(lambda *_: None)
    before, tensors = weights(flow), [id(t) for t in flow.state_dict(keep_vars=True).values()]
    with shared_batch_norm(flow, Team(0, 2), torch.device("cuda")):
        kinds = [type(module) for module in flow.modules()]
        assert kinds.count(nn.SyncBatchNorm) == 32
        assert nn.BatchNorm1d not in kinds
        for module in flow.modules():
            if isinstance(module, nn.SyncBatchNorm):
                module.num_batches_tracked.add_(1)
                module.running_mean.lerp_(torch.ones(64), 0.5)
        flow.eval()
    assert dict(flow.named_modules()) == own
    assert [id(tensor) for tensor in flow.state_dict(keep_vars=True).values()] == tensors
    assert len(hooked._forward_hooks) == 1
    assert not any(module.training for module in flow.modules())
    for name, tensor in weights(flow).items():
        moved = {"num_batches_tracked": 1, "running_mean": 0.5}.get(name.rpartition(".")[2], 0)
        assert torch.equal(tensor, before[name] + moved), name


def test_a_single_process_keeps_its_batch_norm():
    flow = two_sided_flow(6)
    for device in ("cpu", "cuda"):
        with shared_batch_norm(flow, Team(), torch.device(device)):
            assert not any(isinstance(module, nn.SyncBatchNorm) for module in flow.modules())


def test_several_processes_on_cpus_refuse_batch_norm(tmp_path, data_root):
    """Each would have statistics of its own, and the model those of the first."""
    done = train(tmp_path / "run", data_root, 2, batch_norm="true")
    assert done.returncode != 0
    assert (
        "glf: this model has batch norm, whose statistics several processes share on GPUs only; "
        "train it in one process, or take networks and a flow without batch norm"
    ) in done.stderr.splitlines()
    assert not (tmp_path / "run").exists()
