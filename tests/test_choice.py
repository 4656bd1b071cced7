"""The page "When should I use GLF?": its tables, and its sentences against the records."""

import statistics
from pathlib import Path

import pytest

from glf_minimal.files import read_json, write_json
from glf_minimal.reproduction.choice import choice, stakes
from glf_minimal.reproduction.recorded import read_rows
from glf_minimal.reproduction.small_edition import TABLE_1_SMALL
from glf_minimal.reproduction.small_tables import above_reconstructions

RESULTS = Path(__file__).parent.parent / "data" / "results"


def test_a_line_for_each_system_on_each_data_set_that_has_been_run(records):
    results = records("table-1-small", "glf", data="cifar10", fcd=2.0, nll=7.0)
    records("table-1-small", "flowae", data="cifar10", fcd=1.5, nll=6.0)
    path = results / "table-1-small" / "cifar10" / "flowae" / "seed-0.json"
    record = read_json(path)
    record["metrics"]["reconstruction"]["fcd"] = 0.25
    write_json(path, record)
    table = choice(results)
    assert [line[:3] for line in table.rows] == [
        ["CIFAR-10", "VAE, flow prior, tuned", "not run"],
        ["", "AE + mixture", "not run"],
        ["", "FlowAE", "1.50 (1.25)"],
        ["", "GLF", "2.00 (–)"],
    ]
    assert table.rows[2][-2:] == ["6.0", "+ 64"]  # on top of the auto-encoder's
    assert table.rows[3][-2:] == ["7.0", "64"]
    assert "MNIST, Fashion-MNIST, CelebA: not run." in table.notes


def test_likelihoods_of_other_latents_are_not_compared(records):
    results = records("table-1-small", "vae-flow-prior-tuned", fcd=2.0, nll=7.0)
    assert choice(results).rows[0][-2] == "–"


@pytest.fixture(scope="module", params=["mnist", "fashion-mnist"])
def grey(request):
    """The rows of the small edition on one of the grey data sets, as they are recorded."""
    return read_rows(RESULTS, TABLE_1_SMALL, request.param)


@pytest.mark.parametrize("judge", [("classifier", "fcd"), ("squeezenet", "fsd")])
def test_the_mixture_is_nearer_than_the_flow_on_the_same_latents(grey, judge):
    """As the page says, by both judges and in likelihood; and so is the flow fitted afterwards."""
    assert grey["ae-gmm"].mean(*judge) < grey["flowae"].mean(*judge) < grey["glf"].mean(*judge)
    nll = [grey[name].mean("latents", "nll") for name in ("ae-gmm", "flowae", "glf")]
    assert nll == sorted(nll)


def test_the_tuned_vae_is_level_on_mnist_and_behind_on_fashion_mnist():
    """Within 0.5 of FCD on MNIST; by both judges on Fashion-MNIST, where its decoder is at fault:
    its samples are no farther above its reconstructions than those of GLF.
    """
    rows = {data: read_rows(RESULTS, TABLE_1_SMALL, data) for data in ("mnist", "fashion-mnist")}
    glf, vae = (rows["mnist"][name] for name in ("glf", "vae-flow-prior-tuned"))
    assert abs(glf.fcd - vae.fcd) < 0.5
    assert glf.mean("squeezenet", "fsd") < vae.mean("squeezenet", "fsd")
    glf, vae = (rows["fashion-mnist"][name] for name in ("glf", "vae-flow-prior-tuned"))
    for judge in (("classifier", "fcd"), ("squeezenet", "fsd")):
        assert glf.mean(*judge) < vae.mean(*judge)
        above = [statistics.mean(above_reconstructions(row, *judge)) for row in (vae, glf)]
        assert above == sorted(above)


def test_beta_hardly_matters_to_glf_and_matters_to_the_vaes():
    """On held-out digits, as the page says: within 5 %, and by a factor of more than 2."""
    (glf, vae, flow_prior) = (
        [float(line[index]) for index in (3, 4)]
        for title in ("GLF: β", "VAE: β", "VAE, flow prior: β")
        for line in stakes(RESULTS).rows[:4]
        if line[1] == title
    )
    assert glf[1] < 1.05 * glf[0]
    assert vae[1] > 2 * vae[0]
    assert flow_prior[1] > 2 * flow_prior[0]
