"""Charts of the small edition, and what the chapter and the appendix pages say of the records."""

import statistics
from itertools import pairwise
from pathlib import Path

import pytest

from glf_minimal.files import read_json, write_json
from glf_minimal.reproduction import plan
from glf_minimal.reproduction.charts import ablations, distances, paper_and_here, tuning
from glf_minimal.reproduction.figures import encode_png, over_data_sets, show
from glf_minimal.reproduction.findings import ahead_of_glf, floor_and_gap, samples_on
from glf_minimal.reproduction.judging import FCD
from glf_minimal.reproduction.noise_scale import over_scales, ratios
from glf_minimal.reproduction.recorded import nearest_distances, read_rows
from glf_minimal.reproduction.small_edition import DENSITIES, TABLE_1_SMALL
from glf_minimal.reproduction.tables import Text

RESULTS = Path(__file__).parent.parent / "data" / "results"


@pytest.fixture
def small(records):
    """small(row, seed, fcd, floor, fsd) writes a record of the small edition; gives the folder."""

    def write(row, fcd, floor=None, fsd=None, seed=0, experiment="table-1-small"):
        results = records(experiment, row, seed, fcd=fcd)
        path = plan.EXPERIMENTS[experiment].path(results, "mnist", row, seed).json
        record = read_json(path)
        metrics = record["metrics"]
        if floor is not None:
            metrics["reconstruction"] = {"fcd": floor, "mse_per_image": 1.0}
        if fsd is not None:
            metrics["squeezenet"] = {"fsd": fsd}
        write_json(path, record)
        return results

    return write


def test_a_chart_leads_from_reconstructions_to_samples(small):
    """Dots at the means over seeds, ticks at the reconstructions, far rows as numbers."""
    small("glf", 1.0, floor=0.5)
    small("glf", 3.0, floor=0.5, seed=1)
    small("vae", 6.0, floor=4.0)
    results = small("regularized-glf", 300.0)
    figure = distances(results, TABLE_1_SMALL)
    (axis,) = figure.axes
    assert [label.get_text() for label in axis.get_yticklabels()] == [
        "VAE, β = 1",
        "regularized GLF",
        "GLF",
    ]
    lines = [line.get_xydata().tolist() for line in axis.lines]
    assert [[0.5, 2], [2.0, 2]] in lines
    assert [[4.0, 0], [6.0, 0]] in lines
    assert [[0.5, 2]] in lines
    assert [text.get_text() for text in axis.texts] == ["300 →"]
    missing = figure.legends[0].get_title().get_text()
    assert missing == "not run yet: Fashion-MNIST, CIFAR-10, CelebA"


def test_rows_without_a_number_say_why(small, records):
    small("glf", 1.0)
    results = small("vae", 6.0)
    path = results / "table-1-small" / "mnist" / "vae" / "seed-0.json"
    record = read_json(path)
    record["metrics"] = dict.fromkeys(record["metrics"], "diverged: loss is nan at step 3")
    write_json(path, record)
    records("table-1-small", "glf", data="celeba", fcd=1.0)
    records("table-1-small", "wae-gan", data="celeba", fcd=2.0)
    mnist, celeba = distances(results, TABLE_1_SMALL).axes
    assert [label.get_text() for label in mnist.get_yticklabels()] == [
        "VAE, β = 1",
        "WAE-GAN",
        "GLF",
    ]
    assert [text.get_text() for text in mnist.texts] == ["diverged", "not run"]
    assert [text.get_text() for text in celeba.texts] == ["not run"]


def test_without_records_a_sentence_stands_in_place_of_a_chart(tmp_path):
    for draw in (tuning, ablations, lambda results: distances(results, DENSITIES)):
        assert "glf reproduce" in draw(tmp_path).markdown()
    assert isinstance(show("figure-5", tmp_path), Text)
    bottom = paper_and_here(tmp_path).axes[4:]
    assert [axis.texts[0].get_text() for axis in bottom] == ["not run"] * 4


def test_the_scale_of_the_noise_against_scale_1(small):
    for scale, fcd, fsd in (("0.85", 3.0, 30.0), ("1", 2.0, 40.0), ("1.15", 1.0, 10.0)):
        results = small(f"temperature-{scale}", fcd, fsd=fsd, experiment="noise-scale")
    assert ratios(results, "mnist", FCD) == [(0.85, 1.5), (1.0, 1.0), (1.15, 0.5)]
    left, right = over_scales(results).axes
    assert (left.get_title(), right.get_title()) == ("FCD", "FSD")
    assert list(right.lines[0].get_ydata()) == [0.75, 1.0, 0.25]
    assert [text.get_text() for text in left.figure.legends[0].get_texts()] == ["MNIST"]


def test_without_scale_1_there_is_nothing_to_compare_with(small):
    results = small("temperature-1.15", 1.0, experiment="noise-scale")
    assert ratios(results, "mnist", FCD) == []
    assert "glf reproduce noise-scale" in over_scales(results).markdown()


def test_who_is_ahead_of_glf_by_which_judge(small):
    small("glf", 2.0, fsd=10.0)
    small("vae", 1.0, fsd=9.0)
    small("wae-gan", 1.0, fsd=11.0)
    small("wae-mmd", 3.0, fsd=9.0)
    small("advae", 3.0, fsd=11.0)
    results = small("glf-squeezenet", 1.0, fsd=1.0)  # FSD does not judge it
    table = ahead_of_glf(results)
    by_fcd = "WAE-GAN (one seed); GLF, SqueezeNet's perceptual loss◊ (one seed)"
    assert table.rows[0] == ["MNIST", "5", "VAE, β = 1 (one seed)", by_fcd, "WAE-MMD (one seed)"]
    assert table.rows[3] == ["CelebA", "not run", "–", "–", "–"]
    assert "trained on the features of FSD" in table.notes[-1]


def test_who_is_ahead_over_seeds_is_said_without_a_caution(small):
    for seed in range(2):
        small("glf", 2.0 + 0.01 * seed, seed=seed)
        results = small("vae", 1.0, seed=seed)
    assert ahead_of_glf(results).rows[0][3] == "VAE, β = 1"


def test_a_difference_within_seeds_puts_nobody_ahead(small):
    for seed, (own, other) in enumerate(((1.0, 1.1), (3.0, 2.7))):
        small("glf", own, seed=seed)
        results = small("vae", other, seed=seed)
    assert ahead_of_glf(results).rows[0] == ["MNIST", "1", "–", "–", "–"]


def test_floor_and_gap(small):
    for row, fcd in (("glf", 1.5), ("flow", 1.25), ("mixture-50", 0.75), ("mixture-1", 7.0)):
        results = small(row, fcd, floor=0.5, experiment="densities")
    gap = ["0.50", "1.00", "0.75", "0.25", "mixture of 50 Gaussians"]
    assert floor_and_gap(results).rows[0] == ["MNIST", *gap]


def test_samples_of_the_small_edition_stand_in(records):
    """Where the full edition has not been run; a data set with neither is left out."""
    results = records("table-1", "glf", fcd=1.0)
    records("table-1-small", "glf", data="celeba", fcd=1.0)
    picture = (RESULTS / "table-1" / "mnist" / "glf" / "seed-0.png").read_bytes()
    for folder in ("table-1/mnist", "table-1-small/celeba"):
        (results / folder / "glf" / "seed-0.png").write_bytes(picture)
    titles = [axis.get_title() for axis in over_data_sets(results, plan.FIGURE_2, ("glf",)).axes]
    assert titles == ["MNIST", "CelebA, small edition"]
    text = samples_on(results, "celeba").markdown()
    assert text.count("generated/") == 1
    assert "`glf reproduce table-1` makes" in text


@pytest.mark.parametrize(("fcds", "label"), [((53, 52, 55), "FCD, from 51"), ((5, 1, 2), "FCD")])
def test_an_axis_begins_at_0_unless_all_distances_are_large(records, fcds, label):
    import matplotlib.pyplot as plt

    for row, fcd in zip(("glf", "flow", "mixture-1"), fcds, strict=True):
        results = records("densities", row, fcd=float(fcd))
    figure = distances(results, DENSITIES)
    (axis,) = figure.axes
    assert axis.get_xlabel() == label
    assert axis.get_xlim()[0] == (51 if "from" in label else 0)
    plt.close(figure)


def test_a_chart_is_a_small_file():
    import matplotlib.pyplot as plt

    figure = distances(RESULTS, DENSITIES)
    assert encode_png(figure)[:4] == b"\x89PNG"
    assert len(encode_png(figure)) < 40_000
    plt.close(figure)


# What the pages say of records of which no more are to come, beside the tables that show them.


def test_what_the_ablations_page_says():
    rows = read_rows(RESULTS, plan.ABLATIONS, "mnist")
    own = {name: row.of_seeds({0}) for name, row in rows.items()}
    base = own["base"]
    seeds = rows["base"].values("latents", "nll")
    spread = max(seeds) - min(seeds)
    nll = {name: row.mean("latents", "nll") for name, row in own.items()}
    for beta in ("beta-0.1", "beta-10", "beta-100"):
        assert abs(own[beta].test_error / base.test_error - 1) < 0.01
        assert abs(own[beta].fcd - base.fcd) < 0.1
    vaes = [own[f"vae-flow-prior-beta-{beta}"] for beta in (1, 10, 100, 400)]
    assert vaes[0].fcd > 3 * vaes[1].fcd
    level = rows["vae-flow-prior-beta-10"], rows["base"]
    assert abs(level[0].fcd - level[1].fcd) < statistics.stdev(level[1].values("classifier", "fcd"))
    wae = [own[f"wae-gan-{weight}"] for weight in (1, 10, 100, 1000)]
    assert 2.7 < wae[0].fcd / base.fcd < wae[1].fcd / base.fcd < 3.4
    normal = [row.mean("latents", "frechet_to_normal") for row in wae]
    assert min(normal[2:]) > 3 * max(normal[:2])
    assert nll["no-batch-norm"] - nll["base"] > 4 * spread
    assert abs(nll["one-sided-8"] - nll["base"]) < 0.2 < 1 < nll["one-sided-4"] - nll["base"]
    depth = [nll[name] for name in ("blocks-1", "blocks-2", "base", "blocks-8")]
    gains = [before - after for before, after in pairwise(depth)]
    assert gains == sorted(gains, reverse=True)
    assert gains[-1] > 0
    assert 0.75 < own["train-mode"].fcd / base.fcd < 0.85
    assert abs(own["stretch"].fcd - base.fcd) < 0.1
    lengths = [own[name] for name in ("latent-dim-4", "base", "latent-dim-32", "latent-dim-64")]
    assert 3.5 < lengths[0].test_error / base.test_error < 4.5
    errors = [row.test_error for row in lengths]
    assert errors == sorted(errors, reverse=True)
    assert 2 * base.fcd < lengths[2].fcd < lengths[3].fcd
    noise = read_rows(RESULTS, plan.FIRST_RANKING, "mnist")["ae"]
    shares = [round(noise.mean("classifier", name), 2) for name in ("recall", "coverage")]
    assert shares == [0.81, 0.16]


def test_what_the_companions_page_says():
    deck = read_rows(RESULTS, plan.SLIDE_DECK, "mnist")
    last = {
        name: [record.training["last"] for record in row.finished] for name, row in deck.items()
    }

    def mean(row, term):
        return statistics.mean(epoch[term] for epoch in last[row])

    for row, total in (("vae", 101.549), ("vae-flow-posterior", 102.535)):
        assert abs(mean(row, "recon") + mean(row, "kl") - total) < 2
    assert round(mean("vae", "recon") - 70.645) == 11
    assert round(mean("vae", "kl") - 30.853) == -11
    for row, recon in (("vae-flow-prior", 62.597), ("glf", 61.971)):
        assert abs(mean(row, "recon") / recon - 1) < 0.03
    others = ("glf-8-blocks", "glf-authors-flow", "ae-gmm")
    vaes = ("vae", "vae-flow-posterior", "vae-flow-prior")
    worst, best = (pick(deck[name].fcd for name in others) for pick in (max, min))
    assert worst < deck["glf"].of_seeds({0}).fcd - 1
    assert best > max(deck[name].fcd for name in vaes) + 1
    report = read_rows(RESULTS, plan.FLOWAE_REPORT, "mnist")
    assert 0.55 < report["flowae"].fcd / report["vae"].fcd < 0.7
    fcd = {name: row.values("classifier", "fcd") for name, row in report.items()}
    assert min(fcd["aae"]) > max(fcd["vae"])
    assert [round(value, 1) for value in fcd["advae-gan"]] == [6.1, 3.0, 2.9]


def test_samples_are_no_copies():
    """As the page of samples says: farther from the training images than new images are."""
    for data in ("mnist", "fashion-mnist"):
        found = nearest_distances(RESULTS, data)
        assert statistics.median(found["sample"]) > statistics.median(found["test"])


def test_what_the_page_of_the_full_edition_says():
    mnist = read_rows(RESULTS, plan.TABLE_1, "mnist")
    glf = mnist["glf"]
    for name in ("wae-gan", "two-stage-vae"):
        row = mnist[name]
        assert abs(row.mean("classifier", "recall") - glf.mean("classifier", "recall")) < 0.02
        share = row.mean("classifier", "coverage") / glf.mean("classifier", "coverage")
        assert 0.4 < share < 0.6
        assert row.fcd > mnist["vae"].fcd
    assert abs(mnist["vae-flow-posterior"].fcd - mnist["vae"].fcd) < 0.1
    assert abs(mnist["rae-gmm"].fcd - glf.fcd) < 0.3
    for data in ("mnist", "fashion-mnist"):
        rows = read_rows(RESULTS, plan.TABLE_1, data)
        assert rows["flowae"].fcd > rows["glf"].fcd
