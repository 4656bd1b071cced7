"""The frame of the benchmarks measures what it says, and the book's tables are those of the
committed results.
"""

import json
import platform
import resource

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from benchmarks import flow, report, scale, step
from benchmarks.compare import KEEP_FREED_MEMORY, RESULTS, Contender, measure
from benchmarks.floor import products_only
from glf_minimal import GLF, conv_decoder, conv_encoder, two_sided_flow


def test_contenders_take_turns_and_ratios_are_to_the_first():
    function = "benchmarks.scale:epoch_of_batches"
    few, many = (Contender(str(n), function, {"images": n, "size": 8}) for n in (2_560, 128_000))
    first, second = measure([few, many], repeats=3, threads=1)
    assert (first["name"], second["name"]) == ("2560", "128000")
    assert (first["images"], second["images"]) == (2_560, 128_000)
    assert len(first["all_seconds"]) == len(second["all_seconds"]) == 3
    assert first["ratio"] == 1
    assert first["ratio_quartiles"] == [1, 1]
    assert second["ratio"] > 5
    assert second["ratio_quartiles"][0] <= second["ratio"] <= second["ratio_quartiles"][1]
    assert second["cpu_seconds"] > 5 * first["cpu_seconds"] > 0
    assert second["peak_mib"] - first["peak_mib"] > 0.9 * (128_000 - 2_560) * 3 * 64 / 2**20


def touch_anew(device, mebibytes):
    """Work that fills a buffer which is allocated anew each time."""

    def work():
        torch.ones(mebibytes * 2**18)

    return work


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="how glibc allocates")
def test_memory_that_is_kept_when_freed_has_no_page_faults():
    ways = {"fresh": scale.FRESH_MEMORY, "kept": KEEP_FREED_MEMORY}
    contenders = [
        Contender(name, "tests.test_benchmarks:touch_anew", {"mebibytes": 48}, environment)
        for name, environment in ways.items()
    ]
    fresh, kept = measure(contenders, repeats=2, threads=1, clock="cpu_seconds")
    pages = 48 * 2**20 / resource.getpagesize()
    assert fresh["page_faults"] > 0.9 * pages
    assert kept["page_faults"] < 0.1 * pages
    assert len(fresh["all_page_faults"]) == 2
    assert kept["ratio"] < 1


def test_a_contender_that_fails_stops_the_comparison(capfd):
    with pytest.raises(RuntimeError, match="wrong has stopped"):
        measure(
            [Contender("wrong", "benchmarks.scale:epoch_of_batches", {"images": -1})],
            repeats=1,
            threads=1,
        )
    assert "RuntimeError" in capfd.readouterr().err


class Counter(TorchDispatchMode):
    """Floating-point operations of matrix products and convolutions, by torch's own formulas."""

    def __init__(self):
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        output, count = (
            function(*args, **(kwargs or {})),
            flop_registry.get(function._overloadpacket),
        )
        self.total += count(*args, **(kwargs or {}), out_val=output) if count else 0
        return output


def flops(work):
    with Counter() as counter:
        work()
    return counter.total


@pytest.mark.parametrize("joint", [True, False])
def test_the_floor_of_a_flow_has_its_matrix_products_and_no_others(joint):
    """Counted in floating-point operations of a forward and a backward pass."""
    module, log_prob, _ = flow.ours(8, 16, joint)
    z = torch.randn(5, 8)
    assert (
        flops(products_only(module, lambda: log_prob(z)))
        == flops(lambda: log_prob(z).sum().backward())
        > 0
    )


def test_the_floor_of_glf_has_its_products_and_no_others():
    """The stop-gradient, and images that need no gradient, leave some of them out."""
    shape = (1, 8, 8)
    model = GLF(conv_encoder(shape, 4, 4, 16), conv_decoder(shape, 4, 4, 16), two_sided_flow(4, 8))
    x = torch.rand(6, *shape)
    floor = products_only(model, lambda: model.losses(x))
    assert flops(floor) == flops(lambda: model.losses(x)["loss"].backward()) > 0


@pytest.mark.parametrize("library", list(flow.LIBRARIES))
def test_the_flows_of_all_libraries_are_equally_large(library):
    for package in {"FrEIA": ["FrEIA"], "glf_minimal": []}.get(library, [library]):
        pytest.importorskip(package)
    module, log_prob, sample = flow.LIBRARIES[library](8, 16)
    own, _, _ = flow.ours(8, 16)
    weights = sum(p.numel() for p in module.parameters())
    assert weights == pytest.approx(sum(p.numel() for p in own.parameters()), rel=0.02)
    assert log_prob(torch.randn(5, 8)).shape == (5,)
    assert sample(5).shape == (5, 8)


@pytest.mark.parametrize("mode", ["eager", "floor"])
def test_a_step_of_glf_can_be_timed(mode):
    work = step.train("mnist", "cpu", mode, steps=1)
    work()
    assert work.facts == {"steps": 1, "images": step.BATCH}


def test_a_sweep_grows_what_it_says():
    sizes = [
        scale.step("cpu", batch=2, **{"blocks": n}).facts["parameters"]
        for n in scale.SWEEPS["blocks"][:2]
    ]
    assert sizes[1] > sizes[0]


def test_the_tables_of_the_book_are_those_of_the_results(tmp_path):
    paths = report.write(out=tmp_path)
    results = {path.stem.partition("-seed-")[0] for path in RESULTS.glob("*.json")}
    assert {path.stem for path in paths} == results
    for path in paths:
        assert path.read_text() == (report.OUT / path.name).read_text(), (
            f"{path.name}: run python -m benchmarks report"
        )


def test_a_table_shows_time_rate_and_ratio(tmp_path):
    row = {
        "name": "ours",
        "steps": 4,
        "images": 400,
        "seconds": 0.02,
        "ratio": 1.5,
        "peak_mib": 1234.4,
    }
    content = {"groups": {"small": [row | {"ratio_quartiles": [1.25, 1.75]}]}, "repeats": 3}
    content["made_with"] = {
        "hardware": "a machine, 1 threads",
        "commit": "abc",
        "versions": {"torch": "2"},
    }
    path = tmp_path / "result.json"
    path.write_text(json.dumps(content))
    text = report.table(path)
    assert "| ours | 5 ms | 20,000 | 1.50 (1.25 to 1.75) | 1,234 MiB |" in text
    assert "a machine, 1 threads; 3 repeats. Commit abc; torch 2." in text
    content["groups"]["small"][0] |= {"cpu_seconds": 0.016, "page_faults": 4000}
    path.write_text(json.dumps(content | {"clock": "cpu_seconds"}))
    text = report.table(path)
    assert "|  | CPU time of a step | images/CPU s | ratio | page faults | peak memory |" in text
    assert "| ours | 4 ms | 25,000 | 1.50 (1.25 to 1.75) | 1,000 | 1,234 MiB |" in text
