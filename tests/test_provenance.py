"""Where numbers come from: what is said where something is missing."""

import subprocess
from importlib import metadata
from pathlib import Path

import torch

from glf_minimal import provenance


def test_a_library_that_is_not_installed_has_no_version(monkeypatch):
    def version(name):
        if name == "prdc":
            raise metadata.PackageNotFoundError(name)
        return "1.0"

    monkeypatch.setattr(provenance.metadata, "version", version)
    found = provenance.versions()
    assert found["torch"] == "1.0"
    assert "prdc" not in found


def test_a_checkout_has_a_commit_and_a_mark_where_files_differ(tmp_path, monkeypatch):
    (tmp_path / "glf_minimal").mkdir()
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "glf_minimal" / "provenance.py"))
    assert provenance.git_commit() is None  # installed without a checkout
    (tmp_path / ".git").mkdir()
    assert provenance.git_commit() is None  # a folder of that name, but no repository
    (tmp_path / ".git").rmdir()

    def git(*command):
        author = ("-c", "user.name=a", "-c", "user.email=a@b.c")
        subprocess.run(["git", "-C", tmp_path, *author, *command], check=True, capture_output=True)

    git("init")
    (tmp_path / "glf_minimal" / "file").write_text("one")
    git("add", ".")
    git("commit", "-m", "first")
    clean = provenance.git_commit()
    assert len(clean) == 40
    (tmp_path / "glf_minimal" / "file").write_text("two")
    assert provenance.git_commit() == clean + "+"


def test_git_that_is_not_installed_is_no_error(monkeypatch):
    def run(*_, **__):
        raise FileNotFoundError("git")

    monkeypatch.setattr(provenance.subprocess, "run", run)
    assert provenance.git_commit() is None


def test_hardware_by_device(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"Some GPU {device.index}")
    assert provenance.hardware(torch.device("cuda", 1)) == "Some GPU 1"
    assert provenance.hardware(torch.device("mps")) == "Apple GPU"
    monkeypatch.setattr(Path, "exists", lambda path: False)  # no /proc/cpuinfo
    monkeypatch.setattr(provenance.platform, "processor", lambda: "some processor")
    for threads, expected in ((1, "some processor, 1 thread"), (4, "some processor, 4 threads")):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        assert provenance.hardware(torch.device("cpu")) == expected


def test_a_cpu_is_known_by_family_and_model_too(monkeypatch, tmp_path):
    """Two processors of one name and of different speed have to differ in a record."""
    (tmp_path / "cpuinfo").write_text(
        "processor\t: 0\ncpu family\t: 25\nmodel\t\t: 1\nmodel name\t: Some CPU\n\n"
    )
    monkeypatch.setattr(provenance, "Path", lambda name: tmp_path / Path(name).name)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert provenance.hardware(torch.device("cpu")) == "Some CPU family 25 model 1, 1 thread"


def test_a_number_is_kept_with_versions_commit_and_hardware(monkeypatch):
    monkeypatch.setattr(provenance, "git_commit", lambda: "abc")
    found = provenance.made_on(torch.device("mps"))
    assert found == {
        "versions": provenance.versions(),
        "commit": "abc",
        "hardware": "Apple GPU",
    }
