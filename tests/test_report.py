"""Tables and figures: what the book shows is what the records say."""

from itertools import takewhile
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from PIL import Image
from training_helpers import curve, diverge

from glf_minimal.evaluation.classifier import classifier_digest
from glf_minimal.files import read_json, write_csv, write_json
from glf_minimal.reproduction import FIGURES, TABLES, plan, published, tables, write_report
from glf_minimal.reproduction.extras import read_latent_maps, silhouette

ROOT = Path(__file__).parent.parent
GENERATED, RESULTS = ROOT / "book" / "generated", ROOT / "data" / "results"


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    out = tmp_path_factory.mktemp("report")
    write_report(RESULTS, out)
    return out


def test_the_books_tables_are_the_records_byte_for_byte(written):
    names = sorted(f"{name}.md" for name in TABLES)
    assert sorted(path.name for path in GENERATED.glob("*.md")) == names
    for name in names:
        assert (written / name).read_bytes() == (GENERATED / name).read_bytes(), (
            f"{name}: run 'make results'"
        )


def test_the_books_figures_are_the_records(written):
    """The same pictures, where the same version of matplotlib drew them; others set letters
    differently.
    """
    names = sorted(path.name for path in written.glob("*.png"))
    assert sorted(path.name for path in GENERATED.glob("*.png")) == names
    assert {name.removesuffix(".png") for name in names} <= set(FIGURES)
    for name in names:
        new, old = imread(written / name), imread(GENERATED / name)
        with Image.open(written / name) as ours, Image.open(GENERATED / name) as committed:
            same_version = ours.info["Software"] == committed.info["Software"]
        if same_version:
            assert new.shape == old.shape, f"{name}: run 'make results'"
            assert np.abs(new - old).mean() < 1e-4, f"{name}: run 'make results'"
        assert (GENERATED / name).stat().st_size < 300_000


def test_every_record_is_of_a_planned_cell():
    """No record lies around that no table shows."""
    for path in RESULTS.rglob("seed-*.json"):
        experiment, data, row = path.relative_to(RESULTS).parts[:3]
        assert row in {planned.name for planned in plan.EXPERIMENTS[experiment].rows[data]}
        record = read_json(path)
        assert (record["experiment"], record["row"], record["seed"]) == (
            experiment,
            row,
            int(path.stem[5:]),
        )
        if digest := (record.get("classifier") or {}).get("sha256"):  # older records do not say
            assert digest == classifier_digest(data), f"{path}: measured with another classifier"


def test_every_figure_and_table_is_in_the_book():
    texts = [*(ROOT / "book").glob("*.md"), *GENERATED.glob("*.md")]
    pages = "".join(path.read_text() for path in texts)
    notebooks = "".join(path.read_text() for path in (ROOT / "notebooks").glob("*.ipynb"))
    for name in TABLES:
        assert f"generated/{name}.md" in pages or f'TABLES[\\"{name}\\"]' in notebooks, name
    for name in FIGURES:
        drawn = (GENERATED / f"{name}.png").exists()  # one that has not been run has no picture
        on_page = f"generated/{name}.png" in pages or not drawn
        assert on_page or f'show(\\"{name}\\"' in notebooks, name


def line(table, title):
    (found,) = (row for row in table.rows if row[0] == title)
    return dict(zip(table.header, found, strict=True))


def test_numbers():
    assert tables.number([]) == "–"
    assert tables.number([1.125]) == "1.12"
    assert tables.number([1.0, 2.0, 3.0]) == "2.00 ± 1.00"
    assert tables.difference([1.0, 2.0], published.Published(2.0)) == "-0.50"
    assert tables.difference([1.0], None) == "–"
    assert tables.quoted(published.Published(8.2, published.RECALLED, 0.1)) == "8.2 ± 0.1‡"
    assert tables.quoted(published.Published(5.8, published.SECOND_HAND)) == "5.8†"
    assert tables.quoted(published.Published(0.2)) == "0.2"


def test_table_1(records):
    """Published beside measured, with the marks of what is not certain; reduced runs and missing
    ones say so.
    """
    for seed, fcd in enumerate((1.0, 2.0, 3.0)):
        records("table-1", "glf", seed, fcd=fcd, fid=10.0 + seed, nll=5.0, gpu=True)
    results = records("table-1", "vae", epochs=20, fcd=4.0)
    table = tables.table_1(results, "mnist")
    glf, vae, other = line(table, "GLF"), line(table, "VAE (reduced)"), line(table, "WAE-GAN")
    assert glf["FID, paper"] == "8.2 ± 0.1‡"
    assert glf["FID, ours"] == "11.0 ± 1.0 (+2.8)"
    assert glf["FCD"] == "2.00 ± 1.00"
    assert glf["seconds"] == "1000 on a GPU"
    assert vae["seconds"] == "160"  # on a CPU, what it computed
    assert vae["FID, ours"] == other["FCD"] == "not run"
    text = table.markdown()
    extents = "reduced: 20 of 100 epochs, 1 seed of 3, CPU (VAE); 100 epochs, 3 seeds, GPU (GLF)"
    assert f"Run: {extents}." in text
    assert "‡ unverified, check against arXiv:1905.10485v2." in text
    assert "† read in a secondary source." in text
    assert "FID not run: needs the Inception weights." in text
    full = "glf reproduce table-1 --dataset mnist"
    reduced = f"{full} --rows vae --set train.epochs=20 --seeds 1"
    fid = "--fid  # fills the column FID, ours"
    assert table.commands == [
        full,
        f"{reduced}  # reduced, as above",
        f"{full} {fid}",
        f"{reduced} {fid}",
    ]
    records("table-1", "glf", 0, fcd=1.0)  # on a CPU now, beside two on a GPU
    table = tables.table_1(results, "mnist")
    assert "100 epochs, 3 seeds, CPU and GPU (GLF)." in table.markdown()
    assert line(table, "GLF")["seconds"] == "–"
    assert f"glf reproduce table-1 --dataset mnist {fid}" in table.commands
    assert "Not run (need the VGG16 weights): GLF, perceptual loss; GLANN, perceptual loss." in text
    assert {len(row) for row in table.rows} == {len(table.header)}
    path = results / "table-1" / "mnist" / "vae" / "seed-0.json"
    record = read_json(path)
    del record["training"]["cpu_seconds"]  # as older records are
    write_json(path, record)
    assert line(tables.table_1(results, "mnist"), "VAE (reduced)")["seconds"] == "–"


def test_seconds_of_a_cpu_and_of_a_gpu_share_no_axis(records):
    """In tables those of a GPU are marked; where there is but one kind, nothing is."""
    results = records("table-1", "glf", fcd=6.0, gpu=True, curve=curve(9, 6))
    both = ["epoch", "seconds of training"]
    assert [axis.get_xlabel() for axis in FIGURES["convergence-mnist"](results).axes] == both
    assert line(tables.convergence(results, "mnist"), "GLF")["FCD ≤ 10"] == "1 (10 s)"
    assert line(tables.table_1(results, "mnist"), "GLF")["seconds"] == "1000"
    results = records("table-1", "vae", fcd=6.0, curve=curve(9, 6))
    assert [axis.get_xlabel() for axis in FIGURES["convergence-mnist"](results).axes] == both[:1]
    table = tables.convergence(results, "mnist")
    assert line(table, "GLF")["FCD ≤ 10"] == "1 (10 s on a GPU)"
    assert line(table, "VAE")["FCD ≤ 10"] == "1 (8 s)"
    assert table.notes[1].endswith(
        "compare. Timed on one machine, as far as the records tell: (VAE)."
    )


def test_seconds_of_two_machines_share_no_axis(records):
    results = records("table-1", "glf", fcd=6.0, curve=curve(9, 6))
    records("table-1", "vae", fcd=6.0, curve=curve(9, 6))
    axes = ["epoch", "seconds of training"]
    assert [axis.get_xlabel() for axis in FIGURES["convergence-mnist"](results).axes] == axes
    path = results / "table-1" / "mnist" / "vae" / "seed-0.json"
    record = read_json(path)
    record["training"]["hardware"] = "Some faster CPU, 1 thread"
    write_json(path, record)
    assert [axis.get_xlabel() for axis in FIGURES["convergence-mnist"](results).axes] == axes[:1]


def test_a_run_that_diverged_at_once(records):
    """It has no history, and no level was reached by all seeds; another diverged later."""
    results = records("slide-deck", "vae", recon=1.0)
    records("table-1", "glf", 0, fcd=6.0, curve=curve(9, 6))
    records("table-1", "glf", 1, fcd=6.0)
    records("table-1", "vae", 0, fcd=1.0)
    records("table-1", "vae", 1, fcd=3.0)
    diverge(results / "table-1/mnist/vae/seed-0.json")
    for path in (
        results / "slide-deck/mnist/vae/seed-0.json",
        results / "table-1/mnist/glf/seed-1.json",
    ):
        diverge(path)
        path.with_suffix(".csv").unlink()
    write_report(results, results / "out")
    assert line(tables.convergence(results, "mnist"), "GLF")["FCD ≤ 10"] == "–"


def test_divergence_is_said(records):
    results = records("table-1", "glf", fcd=1.0)
    path = results / "table-1" / "mnist" / "glf" / "seed-0.json"
    record = read_json(path)
    record["metrics"] = dict.fromkeys(
        record["metrics"], "diverged: nll is nan at step 13 (epoch 3)"
    )
    write_json(path, record)
    table = tables.table_1(results, "mnist")
    assert line(table, "GLF")["FCD"] == "–"
    assert "Run: 100 epochs, 1 seed of 3, 1 diverged, CPU (GLF)." in table.notes
    assert "GLF: seed 0 diverged: nll is nan at step 13 (epoch 3)." in table.notes
    records("table-1", "glf", 1, fcd=3.0)
    table = tables.table_1(results, "mnist")
    assert line(table, "GLF")["FCD"] == "3.00"
    assert "Run: 100 epochs, 2 seeds of 3, 1 diverged, CPU (GLF)." in table.notes
    for name in TABLES:
        assert TABLES[name](results).markdown()


def test_what_is_reduced_is_said(records):
    results = records("table-1", "glf", epochs=20)
    path = results / "table-1" / "mnist" / "glf" / "seed-0.json"
    record = read_json(path)
    record["settings"]["networks"]["width"] = 32
    write_json(path, record)
    table = tables.table_1(results, "mnist")
    assert line(table, "GLF (reduced)")
    assert (
        "Run: reduced: 20 of 100 epochs, networks.width 32, not 64, 1 seed of 3, CPU (GLF)."
        in table.notes
    )
    assert "--set networks.width=32 --set train.epochs=20 --seeds 1" in table.commands[1]
    records("table-1", "glf", 1, epochs=20)  # not of the same width: not in one mean
    assert any("1 seed of 3, CPU (GLF)." in note for note in tables.table_1(results, "mnist").notes)


def test_full_and_reduced_runs_are_not_averaged(records):
    records("table-1", "glf", 0, epochs=20, fcd=9.0)
    results = records("table-1", "glf", 1, fcd=2.0)
    table = tables.table_1(results, "mnist")
    assert line(table, "GLF")["FCD"] == "2.00"
    assert "Run: 100 epochs, 1 seed of 3, CPU (GLF)." in table.notes


def test_the_slide_decks_table(records):
    records("slide-deck", "vae", 0, recon=70.0, kl=30.0)
    table = tables.slide_deck(records("slide-deck", "vae", 1, recon=72.0, kl=32.0))
    rows = {(table.rows[0][0], row[1]): row for row in table.rows[:3]}
    assert rows["VAE", "total"][2:5] == ["101.549", "102.00 ± 2.83", "+0.45"]
    assert rows["VAE", "KL"][2:5] == ["30.853", "31.00 ± 1.41", "+0.15"]
    assert sum("not run" in row for row in table.rows) == 9


def test_the_reports_table(records):
    records("flowae-report", "vae", fcd=4.0)
    flowae = line(tables.flowae_report(records("flowae-report", "flowae", fcd=1.0)), "FlowAE")
    assert (flowae["report / VAE"], flowae["ours / VAE"]) == ("0.57", "0.25")


def test_compute(records):
    """Hours of training by experiment and hardware; what two records share counts once."""
    for seed in range(3):
        records("table-1", "glf", seed, gpu=True)
    records("ablations", "base", epochs=6)
    results = records("ablations", "stretch", epochs=6)
    assert tables.compute(results).rows == [
        ["table-1", "Some GPU", "python 3, torch 2", "3", "0.8"],
        ["ablations", "Some CPU, 1 thread", "python 3, torch 2", "1", "0.0"],
    ]


def test_convergence(records):
    """Levels count as reached where every seed reaches them; when, is read from a line between
    snapshots.
    """
    records("table-1", "glf", 0, curve=curve(30, 9, 1.5), fcd=1.5)
    records("table-1", "glf", 1, curve=curve(30, 12, 6), fcd=6)
    glf = line(
        tables.convergence(records("table-1", "vae", epochs=3, curve=curve(40, 20, 11)), "mnist"),
        "GLF",
    )
    assert glf["stages"] == "1"
    assert glf["FCD at the end"] == "3.75 ± 3.18"
    assert [glf[f"FCD ≤ {level}"] for level in (20, 10, 5)] == ["1.5 (12 s)", "2.1 (17 s)", "–"]


def test_the_report_of_an_empty_folder(glf, tmp_path):
    """Says of everything that it was not run, with the command."""
    (tmp_path / "empty").mkdir()
    code, out, _ = glf("report", "--results", tmp_path / "empty", "--out", tmp_path / "out")
    assert code == 0
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert len(out.splitlines()) == len(written)
    # Those that need no records; no figure is blank.
    assert {name for name in written if name.endswith(".png")} == {"table-1-paper-and-here.png"}
    for name in TABLES:
        text = (tmp_path / "out" / f"{name}.md").read_text()
        assert "not run" in text.lower() or "not tested" in text


def test_a_report_that_cannot_be_made(glf, records, tmp_path):
    """No folder of records, or a damaged record: one sentence, nothing written."""
    code, _, err = glf("report", "--results", tmp_path / "none", "--out", tmp_path / "out")
    assert code == 1
    assert "none is not a folder" in err
    results = records("table-1", "glf", fcd=1.0)
    path = results / "table-1" / "mnist" / "glf" / "seed-0.json"
    for content, reason in (
        (path.read_text()[:100], "is damaged"),
        ("{}", r"is damaged (no settings)"),
    ):
        path.write_text(content)
        code, _, err = glf("report", "--results", results, "--out", tmp_path / "out")
        assert code == 1
        assert reason in err
        assert "delete it and run 'glf reproduce' again" in err
    assert not (tmp_path / "out").exists()


def test_celeba_says_which_faces(records):
    results = records("table-1", "glf", data="celeba", fcd=1.0)
    path = results / "table-1" / "celeba" / "glf" / "seed-0.json"
    for images, subset in ((2903, True), (19_962, False)):
        write_json(path, read_json(path) | {"evaluation": {"reference_images": images}})
        text = tables.table_1(results, "celeba").markdown()
        assert (f"Measured on {images} test faces" in text) == subset
        assert ("squashed" in text) == subset


def test_figures_over_beta(records):
    """A line for every row that has been run, with as many points as epochs."""
    results = records(
        "figure-3", "vae-flow-prior-beta-10", data="cifar10", curve=curve(9, 8), fcd=8.0
    )
    results = records("figure-3", "glf", data="cifar10", curve=curve(7, 6), fcd=6.0)
    axes = FIGURES["figure-3"](results).axes
    titles = ["FCD of samples", "entropy of the posterior (nats)", "negative log-likelihood (nats)"]
    assert [axis.get_title() for axis in axes] == titles
    lines = {drawn.get_label(): drawn.get_xydata().tolist() for drawn in axes[0].lines}
    assert lines == {"VAE, flow prior, β = 10": [[1, 9], [2, 8]], "GLF": [[1, 7], [2, 6]]}
    assert "`glf reproduce figure-4`" in FIGURES["figure-4"](results).markdown()


def test_memorization(records):
    """Medians by kind; 1 where every sample is nearer than every test image, half of a tie."""
    results = records("table-1", "glf", epochs=20, fcd=1.0)
    kinds = {"sample": (1.0, 2.0, 3.0), "test": (4.0, 5.0, 6.0), "reconstruction": (1.0, 2.0, 3.0)}
    rows = [
        {"image": kind, "distance": distance}
        for kind, distances in kinds.items()
        for distance in distances
    ]
    write_csv(results / "table-1" / "mnist" / "glf" / "seed-0-neighbours.csv", rows)
    table = tables.memorization(results)
    assert list(line(table, "mnist").values())[1:] == ["2.00", "5.00", "2.00", "1.00", "0.50"]
    assert list(line(table, "celeba (not run)").values())[1:] == ["–"] * 5
    assert table.notes[-1] == "GLF of Table 1; mnist: reduced: 20 of 100 epochs, 1 seed of 3, CPU."


def test_ablations_compare_the_same_seeds(records):
    """A row that has more seeds shows in the table those that all have, and the rest below it."""
    records("ablations", "base", 0, fcd=1.0)
    records("ablations", "base", 1, fcd=3.0)
    results = records("ablations", "beta-10", 0, fcd=1.5)
    table = tables.ablation(results, "beta")
    assert line(table, "GLF, β = 1 (base)")["FCD"] == "1.00"
    assert line(table, "GLF, β = 10")["FCD"] == "1.50"
    assert "FCD of GLF, β = 1 (base): 2.00 ± 1.41 over 2 seeds." in table.notes[0]
    records("ablations", "beta-10", 1, fcd=2.5)
    table = tables.ablation(results, "beta")
    assert line(table, "GLF, β = 1 (base)")["FCD"] == "2.00 ± 1.41"
    assert "over" not in "".join(table.notes)
    results = records("ablations", "beta-100", 2, fcd=4.0)  # no seed in common with the others
    records("ablations", "beta-100", 0)
    diverge(results / "ablations/mnist/beta-100/seed-0.json")
    table = tables.ablation(results, "beta")
    assert line(table, "GLF, β = 1 (base)")["FCD"] == "2.00 ± 1.41"
    assert line(table, "GLF, β = 100")["FCD"] == "4.00"


def test_figure_5_compares(records):
    """It shows the data sets on which a perceptual loss was tried; GLF alone is Figure 2."""
    results = records("table-1", "glf", fcd=1.0)
    for row in ("glf", "glf-squeezenet"):
        records("table-1", row, data="cifar10", fcd=1.0)
        (results / "table-1" / "cifar10" / row / "seed-0.png").write_bytes(
            (GENERATED / "figure-2.png").read_bytes()
        )
    (results / "table-1" / "mnist" / "glf" / "seed-0.png").write_bytes(
        (GENERATED / "figure-2.png").read_bytes()
    )
    titles = [axis.texts[0].get_text() for axis in FIGURES["figure-5"](results).axes]
    assert titles == ["CIFAR-10: GLF", "CIFAR-10: GLF, SqueezeNet's\nperceptual loss"]


def printed_table(page, header):
    """The cells of each line of a Markdown table that begins with this header."""
    lines = page.split(header, 1)[1].splitlines()[2:]
    rows = [line.strip("|").split("|") for line in takewhile(lambda s: s.startswith("|"), lines)]
    return {name.strip(): [float(cell) for cell in cells] for name, *cells in rows}


def test_the_slide_decks_digits_tell_on_which_images_they_were_measured():
    """The page's numbers follow from the printed digits, and these are those of the table."""
    page = (ROOT / "book" / "slide_deck.md").read_text()
    printed = printed_table(page, "| model | total |")
    last_batch = printed_table(page, "| model | $m$, if training images |")
    published_rows = zip(printed.values(), published.SLIDE_DECK.values(), strict=True)
    for (total, recon, second, _), row in published_rows:
        values = [row[name].value for name in ("total", "recon", "second")]
        assert [total, recon, second] == pytest.approx(values, abs=6e-4)
    for name, (total, recon, second, excess) in printed.items():
        assert total - recon - second == pytest.approx(excess, abs=6e-4)
        if name not in last_batch:  # adds up to rounding
            assert abs(total - recon - second) < 1e-4
            continue
        for images, mean in zip((60_000, 10_000), last_batch[name], strict=True):
            over = (total - recon - second) * images / (64 - images % 64)
            assert over == pytest.approx(mean, abs=0.6)


def test_the_page_on_the_slide_deck_quotes_the_silhouettes():
    maps = read_latent_maps(RESULTS)
    own, vae = (f"{silhouette(maps[name]):.2f}" for name in ("flowae", "vae"))
    page = " ".join((ROOT / "book" / "slide_deck.md").read_text().split())
    assert f"its mean is {own} for the auto-encoder and {vae} for the VAE" in page
