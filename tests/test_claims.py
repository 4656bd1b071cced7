"""Verdicts on the claims: each follows from the records by its rule."""

from training_helpers import curve, diverge

from glf_minimal.files import read_json, write_csv, write_json
from glf_minimal.reproduction import claims, judging, plan, published
from glf_minimal.reproduction.claims import companions, method, samples
from glf_minimal.reproduction.tables import table_1


def verdict(judge, results):
    return judge(results)[0]


def test_verdicts_follow_the_records(records, tmp_path):
    """Each rule gives each of its verdicts for records that deserve it."""
    for claim in claims.CLAIMS:
        assert verdict(claim.judge, tmp_path) == judging.NOT_TESTED
    short, grey = {"epochs": 20}, claims.CLAIMS[0].judge
    for data in ("mnist", "fashion-mnist"):
        records("table-1", "glf", fcd=2.0, data=data, **short, curve=curve(9, 4, 2))
    for count, fcd, expected in (
        (5, 3, "not tested"),
        (6, 3, "partly"),
        (12, 3, "supported"),
        (7, 1, "not supported"),
    ):
        for index in range(count):
            data, row = ("mnist", "fashion-mnist")[index // 6], samples.RIVALS[index % 6]
            results = records("table-1", row, fcd=float(fcd), data=data, **short)
        assert verdict(grey, results) == expected
    results = records("table-1", "vae", fcd=9.0, epochs=100)
    assert "9.00 VAE" not in grey(results)[1]  # no match: trained for longer
    assert grey(results).met == "5 of 11, 12 planned"
    for data in ("mnist", "fashion-mnist"):
        for row in ("flowae", "vae-flow-prior", "two-stage-vae"):
            results = records(
                "table-1", row, fcd=3.0, data=data, curve=curve(9, 8, 7, 6, 3), **short
            )
        if data == "mnist":
            assert (
                verdict(method.faster_convergence, results) == "partly"
            )  # half of what is planned is missing
    assert verdict(method.faster_convergence, results) == "supported"
    for row in ("vae-flow-prior", "flowae"):
        results = records("table-1", row, fcd=3.0, curve=curve(1, 0.5), **short)
    assert verdict(method.faster_convergence, results) == "partly"
    for data in ("mnist", "fashion-mnist"):
        for row in ("vae-flow-prior", "flowae", "two-stage-vae"):
            results = records("table-1", row, fcd=3.0, data=data, curve=curve(1, 0.5), **short)
    assert verdict(method.faster_convergence, results) == "not supported"
    assert method.single_stage(results)[:3:2] == ("partly", "2 of 2, 4 planned")
    assert "not tested yet: cifar10, celeba" in method.single_stage(results).evidence
    records("table-1", "flowae", fcd=1.0, **short)
    results = records("table-1", "flowae", fcd=1.0, data="fashion-mnist", **short)
    assert method.single_stage(results)[:3:2] == ("not supported", "0 of 2, 4 planned")
    for data in ("cifar10", "celeba"):
        records("table-1", "glf", fcd=2.0, data=data)
        results = records("table-1", "flowae", fcd=3.0, data=data)
    for data in ("mnist", "fashion-mnist"):
        results = records("table-1", "flowae", fcd=3.0, data=data, **short)
    assert method.single_stage(results)[:3:2] == ("supported", "4 of 4")
    records("first-ranking", "glf", mse_per_image=5.0, nll=17.0, fcd=1.0)
    for values, expected in (
        ((-96, 12, 8), "supported"),
        ((10, 12, 8), "partly"),
        ((10, 5, 8), "not supported"),
    ):
        names = dict(zip(("nll", "mse_per_image", "fcd"), values, strict=True))
        assert (
            verdict(method.stop_gradient, records("first-ranking", "regularized-glf", **names))
            == expected
        )
    for error, expected in ((5.0, "supported"), (4.5, "partly"), (4.0, "not supported")):
        assert (
            verdict(
                method.reconstruction, records("first-ranking", "ae", mse_per_image=error, fcd=9.0)
            )
            == expected
        )
    results = records(
        "first-ranking", "regularized-glf", nll=-96, mse_per_image=12, fcd=8, epochs=1
    )
    assert verdict(method.stop_gradient, results) == "not tested"  # fewer epochs than GLF


def test_verdicts_on_beta_and_on_the_companions(records):
    on_mnist = [row.name for row in plan.ABLATION_GROUPS["beta-vae"][1]]
    for row, error, fcd in zip(on_mnist, (13, 8, 6, 5.2, 5), (4, 3, 2, 1.5, 1.2), strict=True):
        results = records("ablations", row, mse_per_image=error, fcd=fcd)
    assert verdict(method.towards_glf, results) == "partly"  # Figure 3 has not been run
    on_cifar10 = [row.name for row in plan.FIGURE_3.rows["cifar10"]]
    for errors, distances, expected in (
        ((90, 70, 60, 55, 50), (70, 65, 63, 62, 60), "supported"),
        ((90, 70, 60, 55, 50), (70, 65, 63, 62, 64), "partly"),  # the last step leads away
        ((90, 70, 60, 55, 56), (70, 65, 63, 62, 64), "partly"),
    ):
        for row, error, fcd in zip(on_cifar10, (*errors, 45), (*distances, 57), strict=True):
            results = records("figure-3", row, data="cifar10", mse_per_image=error, fcd=fcd)
        assert verdict(method.towards_glf, results) == expected
    results = records("ablations", on_mnist[-2], mse_per_image=7.0, fcd=1.5)
    assert verdict(method.towards_glf, results) == "not supported"  # one of four
    assert "β = 1, 10, 50, 100, 400: test error 90.00, 70.00" in method.towards_glf(results)[1]
    for row, recon in zip(published.SLIDE_DECK, (70.0, 78.0, 63.0, 62.0), strict=True):
        results = records("slide-deck", row, recon=recon)
        if row == "vae":
            assert verdict(companions.slide_deck, results) == "not tested"  # one of four
    assert verdict(companions.slide_deck, results) == "supported"
    assert verdict(companions.slide_deck, records("slide-deck", "vae", recon=83.0)) == "partly"
    for order, expected in (
        ((1, 2, 3, 4), ("supported", "6 of 6")),
        ((1, 3, 2, 4), ("partly", "5 of 6")),
        ((4, 3, 1, 2), ("not supported", "1 of 6")),
    ):
        for row, fcd in zip(("flowae", "advae", "aae", "vae"), order, strict=True):
            results = records("flowae-report", row, fcd=fcd)
        assert companions.flowae_report(results)[:3:2] == expected
    records(
        "flowae-report", "advae-gan", fcd=1.0
    )  # is not in the report, so its seeds do not matter
    for row in ("flowae", "advae", "aae", "vae"):
        records("flowae-report", row, 1, fcd=1.0)
    assert "50 epochs, 2 seeds" in companions.flowae_report(results).evidence


def test_what_seeds_can_make_meets_no_claim(records):
    """Of two models with several seeds one is ahead only by more than two standard errors of the
    difference.
    """
    for seed, fcds in enumerate(((1.0, 3.0, 5.0, 9.0), (1.2, 3.4, 5.4, 9.4))):
        for row, fcd in zip(("flowae", "advae", "aae", "vae"), fcds, strict=True):
            results = records("flowae-report", row, seed, fcd=fcd)
    assert companions.flowae_report(results)[:3:2] == ("supported", "6 of 6")
    results = records("flowae-report", "vae", 1, fcd=3.0)  # on average still the last
    assert companions.flowae_report(results).met == "3 of 6"
    assert (
        "3.20 ± 0.28 AdvAE (WGAN-GP); 5.20 ± 0.28 AAE; 6.00 ± 4.24 VAE"
        in companions.flowae_report(results).evidence
    )


def test_beta_need_not_come_nearer_than_seeds_of_glf_are_to_each_other(records):
    """Once the difference is what seeds make, its sign and size say nothing."""
    names = [row.name for row in plan.ABLATION_GROUPS["beta-vae"][1]]
    for row, error, fcd in zip(names, (13, 8, 5.1, 5.2, 5), (4, 3, 1.2, 1.3, 1.1), strict=True):
        results = records("ablations", row, mse_per_image=error, fcd=fcd)
    assert method.towards_glf(results).met == "0 of 2, 4 planned"
    results = records("ablations", "base", 1, mse_per_image=5.3, fcd=1.4)
    assert method.towards_glf(results).met == "2 of 2, 4 planned"
    assert "GLF 5.00 (5.15 ± 0.21 over 2 seeds)" in method.towards_glf(results).evidence
    results = records("ablations", "vae-flow-prior-beta-400", mse_per_image=9.0, fcd=1.3)
    assert method.towards_glf(results).met == "1 of 2, 4 planned"


def test_verdicts_on_the_reports_remarks(records):
    assert (
        verdict(companions.clear_or_varied, records("flowae-report", "flowae", fcd=1.0))
        == "not tested"
    )
    records("flowae-report", "vae", fcd=1.0, precision=0.7, recall=0.8)
    for precision, recall, expected in (
        (0.8, 0.7, "supported"),
        (0.6, 0.7, "partly"),
        (0.6, 0.9, "not supported"),
    ):
        results = records("flowae-report", "aae", fcd=1.0, precision=precision, recall=recall)
        assert verdict(companions.clear_or_varied, results) == expected
    records(
        "flowae-report", "advae", fcd=1.0
    )  # has the first seed alone, and takes the others none of theirs
    records("flowae-report", "aae", fcd=1.0, precision=0.8, recall=0.7)
    for row, precision, recall in (("flowae", 0.9, 0.9), ("vae", 0.7, 0.8), ("aae", 0.85, 0.6)):
        records("flowae-report", row, seed=1, fcd=1.0, precision=precision, recall=recall)
    assert verdict(companions.clear_or_varied, results) == "supported"
    assert "precision 0.82 ± 0.04 of the AAE" in companions.clear_or_varied(results).evidence
    records(
        "flowae-report", "vae", seed=1, fcd=1.0, precision=0.9, recall=0.4
    )  # now seeds differ by more than models
    assert verdict(companions.clear_or_varied, results) == "not supported"
    assert verdict(companions.compact_clusters, results) == "not tested"

    def write_map(row, spread):
        places = [(0.0, 1), (1.0, 1), (9.0, 2), (9.0 + spread, 2)]
        points = [{"x": x, "y": 0.0, "label": label} for x, label in places]
        write_csv(results / "flowae-report" / "mnist" / row / "seed-0-map.csv", points)

    write_map("vae", 3.0)
    for spread, expected in ((0.1, "supported"), (2.9, "not supported"), (4.0, "not supported")):
        write_map("flowae", spread)
        assert verdict(companions.compact_clusters, results) == expected


def test_verdicts_on_colour_perceptual_losses_and_divergence(records):
    colour, perceptual = samples.best_samples_in_colour, samples.perceptual
    glann, gans = samples.better_than_glann, samples.competitive_with_gans
    divergence = method.divergence
    for data in ("cifar10", "celeba"):
        records("table-1", "glf", data=data, fcd=10.0)
        for row in samples.RIVALS:
            results = records("table-1", row, data=data, fcd=11.0)
    assert verdict(colour, results) == "supported"
    assert verdict(claims.CLAIMS[0].judge, results) == "not tested"  # grey data
    for data, fcd, expected in (
        ("cifar10", 7.9, "not tested"),
        ("celeba", 8.1, "partly"),
        ("mnist", 1.9, "partly"),
        ("fashion-mnist", 1.9, "partly"),
        ("celeba", 7.9, "supported"),
    ):
        records("table-1", "glf", data=data, fcd=10.0)
        results = records("table-1", "glf-squeezenet", data=data, fcd=fcd)
        assert verdict(perceptual, results) == expected
    assert (
        verdict(perceptual, records("table-1", "glf-perceptual", data="celeba", fcd=9.0))
        == "partly"
    )  # the paper's
    assert verdict(gans, results) == "not tested"
    for data in ("mnist", "fashion-mnist", "cifar10", "celeba"):
        records("table-1", "glf-perceptual", data=data, fcd=5.0)
        results = records("table-1", "glann-perceptual", data=data, fcd=6.0)
    assert glann(results)[:3:2] == ("supported", "4 of 4")
    bad, good = ("regularized-glf-beta-1", "regularized-glf-beta-10")
    short = {"data": "cifar10", "recon": 68.0, "last_nll": -80.0, "epochs": 10}
    records("figure-4", good, **short, mse_per_image=79.0)
    results = records("figure-4", bad, **short, mse_per_image=194.0)
    assert divergence(results)[:3:2] == (
        "not tested",
        "none made, 2 planned",
    )  # without GLF there is no measure
    assert "diverged" not in divergence(results).evidence
    records("figure-4", "glf", **short, mse_per_image=40.0)
    judged, numbers, met = divergence(results)[:3]
    assert (judged, met) == ("partly", "1 of 2")
    assert (
        "β = 1 ended at a test error of 194, GLF at 40 (in training 68, GLF 68; NLL -80)" in numbers
    )
    records("figure-4", good, **short, mse_per_image=81.0)
    assert divergence(results)[:3:2] == ("supported", "2 of 2")
    for row, error in ((bad, 79.0), (good, 79.0), ("glf", 40.0)):
        records("figure-4", row, **short | {"epochs": None}, mse_per_image=error)
    assert divergence(results)[:3:2] == ("not supported", "0 of 2")
    diverge(results / "figure-4" / "cifar10" / bad / "seed-0.json")
    assert divergence(results)[:3:2] == ("partly", "1 of 2")
    assert "β = 1 diverged, NaN or infinite" in divergence(results).evidence


def test_clusters_are_compared_of_trainings_that_compare(records):
    """Both maps are there, but the VAE was trained for fewer epochs."""
    for row, epochs in (("flowae", None), ("vae", 3)):
        results = records("flowae-report", row, fcd=1.0, epochs=epochs)
        path = results / "flowae-report" / "mnist" / row / "seed-0-map.csv"
        write_csv(path, [{"x": float(x), "y": 0.0, "label": x // 2} for x in range(4)])
    assert verdict(companions.compact_clusters, results) == "not tested"
    records("flowae-report", "vae", fcd=1.0)
    assert verdict(companions.compact_clusters, results) == "not supported"


def test_every_claim_is_on_the_page():
    written = [
        found
        for file in (companions, method, samples)
        for found in vars(file).values()
        if isinstance(found, judging.Claim)
    ]
    assert len(written) == len(claims.CLAIMS) == 15
    assert all(found in claims.CLAIMS for found in written)


def test_texts_say_the_bounds_of_their_rules():
    assert judging.percent(0.02) == "2 %"
    assert "within 2 % of" in method.reconstruction.rule
    assert method.reconstruction.rule.endswith("; partly: within 20 %")
    assert "at least a tenth sooner" in method.faster_convergence.rule
    assert "more than twice GLF's error" in method.divergence.rule
    assert companions.compact_clusters.rule.endswith("larger by 0.05 or more")


def test_a_tenth_sooner_is_soon_enough(records):
    """Its text says "at least a tenth": nine epochs are enough where the rival took ten."""
    records("table-1", "glf", fcd=3.0, epochs=10, curve=curve(*[9] * 8, 3, 3))
    rival = records("table-1", "flowae", fcd=3.0, epochs=10, curve=curve(*[9] * 9, 3))
    assert method.faster_convergence(rival).met == "1 of 1, 6 planned"
    records("table-1", "glf", fcd=3.0, epochs=10, curve=curve(*[9] * 8, 3.01, 3))
    assert method.faster_convergence(rival).met == "0 of 1, 6 planned"


def test_models_are_compared_by_the_same_seeds(records):
    """A bad second seed of GLF does not count against a rival that has none; real images have no
    seeds.
    """
    records("table-1", "glf", 0, fcd=2.0, epochs=20)
    records("table-1", "glf", 1, fcd=100.0, epochs=20)
    records("table-1", "real", 0, fcd=0.1)
    results = records("table-1", "vae", 0, fcd=3.0, epochs=20)
    assert "FCD 2.00 GLF; 3.00 VAE" in claims.CLAIMS[0].judge(results)[1]
    results = records("table-1", "vae", 1, fcd=5.0, epochs=20)
    assert "FCD 4.00 ± 1.41 VAE; 51.00 ± 69.30 GLF" in claims.CLAIMS[0].judge(results)[1]


def test_a_diverged_seed_takes_nothing_from_the_others(records):
    """Of a row whose first seed diverged, the second has no partner; the other rows keep theirs."""
    records("table-1", "glf", fcd=2.0)
    records("table-1", "vae", fcd=3.0)
    records("table-1", "wae-gan", 0, fcd=1.0)
    results = records("table-1", "wae-gan", 1, fcd=1.0)
    diverge(results / "table-1" / "mnist" / "wae-gan" / "seed-0.json")
    judged = samples.best_samples(results, ("mnist",))
    assert judged.met == "1 of 1, 6 planned"
    assert "3.00 VAE" in judged.evidence
    diverge(results / "table-1" / "mnist" / "wae-gan" / "seed-1.json")
    assert "mnist: WAE-GAN diverged, 2 of 2" in samples.best_samples(results, ("mnist",)).evidence
    records("table-1", "glf", 1, fcd=2.0)
    diverge(
        results / "table-1" / "mnist" / "glf" / "seed-0.json"
    )  # a rival that has not diverged is ahead of it
    judged = samples.best_samples(results, ("mnist",))
    assert judged.met == "0 of 1, 6 planned"
    assert "mnist: GLF diverged, 1 of 2" in judged.evidence


def test_divergence_without_the_stop_gradient_speaks_for_it(records):
    results = records("first-ranking", "glf", mse_per_image=5.0, nll=17.0, fcd=1.0)
    records("first-ranking", "ae", mse_per_image=5.0, fcd=9.0)
    assert verdict(method.stop_gradient, results) == "not tested"
    records("first-ranking", "regularized-glf", nll=0.0, mse_per_image=5.0, fcd=1.0)
    diverge(results / "first-ranking" / "mnist" / "regularized-glf" / "seed-0.json")
    assert method.stop_gradient(results)[:2] == (
        "supported",
        "first-ranking, mnist: without it the training diverged.",
    )
    assert (
        verdict(method.reconstruction, results) == "supported"
    )  # which needs GLF and the plain auto-encoder alone
    records("first-ranking", "regularized-glf", epochs=1)
    diverge(results / "first-ranking" / "mnist" / "regularized-glf" / "seed-0.json")
    assert verdict(method.stop_gradient, results) == "not tested"  # under other settings than GLF
    diverge(results / "first-ranking" / "mnist" / "glf" / "seed-0.json")
    assert verdict(method.stop_gradient, results) == "not supported"


def test_only_what_was_measured_alike_is_compared(records):
    """Not a record of another protocol, nor rows that were measured on other images."""
    records("table-1", "glf", fcd=2.0)
    path = records("table-1", "vae", fcd=3.0) / "table-1" / "mnist" / "vae" / "seed-0.json"
    results, record = path.parents[3], read_json(path)
    assert samples.best_samples(results, ("mnist",)).met == "1 of 1, 6 planned"
    write_json(path, record | {"evaluation": {"reference_sha256": "of a part of the test images"}})
    assert samples.best_samples(results, ("mnist",)).met == "none made, 6 planned"
    write_json(path, record | {"protocol": {"samples_are": "generated", "samples": 200}})
    assert samples.best_samples(results, ("mnist",)).met == "none made, 6 planned"
    assert "not run" in next(
        line for line in table_1(results, "mnist").markdown().splitlines() if "| VAE |" in line
    )


def test_between_snapshots_a_line_says_when_a_level_was_reached(records):
    """A rival with other snapshots is not favoured by them: GLF passes 3 half-way from its third
    epoch to its fifth.
    """
    points = [point for point in curve(9, 5, 4, 3.5, 2) if point["epoch"] != 4]
    records("table-1", "glf", fcd=2.0, epochs=5, curve=points)
    judged = method.faster_convergence(
        records("table-1", "flowae", fcd=3.0, epochs=5, curve=curve(9, 9, 9, 9, 3))
    )
    assert judged.met == "1 of 1, 6 planned"
    assert (
        "FlowAE was best after 5 epochs, 40 s, FCD 3.00, GLF as good after 4 epochs, 32 s"
        in judged.evidence
    )
    judged = method.faster_convergence(
        records("table-1", "flowae", fcd=1.0, epochs=5, curve=curve(9, 9, 9, 9, 1))
    )
    assert judged.met == "0 of 1, 6 planned"
    assert "GLF as good after –" in judged.evidence
    judged = method.faster_convergence(
        records("table-1", "flowae", fcd=9.0, epochs=5, curve=curve(9.5, 9))
    )
    assert "best after 2 epochs, 16 s, FCD 9.00, GLF as good after 1 epochs, 8 s" in judged.evidence
    rival = curve(9, 9, 9, 9, 3)
    for point in rival:
        point["cpu_seconds"] /= 2  # its epochs are cheap
    judged = method.faster_convergence(records("table-1", "flowae", fcd=3.0, epochs=5, curve=rival))
    assert judged.met == "0 of 1, 6 planned"  # sooner by epochs, not by the clock
    results = records("table-1", "flowae", fcd=3.0, epochs=5, curve=rival, gpu=True)
    assert (
        method.faster_convergence(results).met == "1 of 1, 6 planned"
    )  # another machine: epochs alone


def test_a_perceptual_loss_is_compared_on_the_same_seeds(records):
    for seed, fcd in enumerate((10.0, 1.0)):
        results = records("table-1", "glf", seed, fcd=fcd)
    results = records("table-1", "glf-squeezenet", fcd=7.0)
    assert "perceptual loss 7.00, of GLF 10.00" in samples.perceptual(results).evidence


def test_with_one_seed_the_difference_must_exceed_what_samples_make(records):
    """Records of one seed know the standard error of their samples: 0.03 and 0.04 make 0.05."""
    records("table-1", "glf", fcd=2.0, fcd_se=0.03)
    for fcd, met in ((2.11, "1 of 1, 6 planned"), (2.09, "0 of 1, 6 planned")):
        results = records("table-1", "vae", fcd=fcd, fcd_se=0.04)
        assert samples.best_samples(results, ("mnist",)).met == met


def test_recall_alone_decides_nothing(records):
    """An AAE with less recall but more coverage has not less variety."""
    records("flowae-report", "flowae", fcd=1.0)
    records("flowae-report", "vae", fcd=1.0, precision=0.7, recall=0.8, coverage=0.5)
    for coverage, met in ((0.4, "2 of 2"), (0.6, "1 of 2")):
        results = records(
            "flowae-report", "aae", fcd=1.0, precision=0.8, recall=0.7, coverage=coverage
        )
        assert companions.clear_or_varied(results).met == met
    assert "coverage 0.60 of the AAE, 0.50 of the VAE" in companions.clear_or_varied(results)[1]
