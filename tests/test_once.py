"""A report reads every record once and judges every claim once."""

import pytest

from glf_minimal.reproduction import claims, plan, report
from glf_minimal.reproduction.judging import SUPPORTED, Claim, Judgement
from glf_minimal.reproduction.once import read_once
from glf_minimal.reproduction.recorded import read_rows


def fcd(results):
    return read_rows(results, plan.FIRST_RANKING, "mnist")["glf"].fcd


def test_records_are_read_once(records):
    results = records("first-ranking", "glf", fcd=3.0)
    with read_once():
        assert fcd(results) == 3.0
        records("first-ranking", "glf", fcd=2.0)
        assert fcd(str(results)) == 3.0
        assert fcd(results / "elsewhere") is None
    assert fcd(results) == 2.0
    with read_once():
        assert fcd(results) == 2.0


def test_each_claim_is_judged_once_a_report(records, tmp_path, monkeypatch):
    results, judged = records("first-ranking", "glf", fcd=3.0), []

    def judge(folder):
        judged.append(folder)
        return Judgement(SUPPORTED, f"FCD {fcd(folder)}.")

    monkeypatch.setattr(claims, "CLAIMS", (Claim("It is good.", "Here", "it is", "", judge),))
    monkeypatch.setattr(report, "FIGURES", {})
    pages = {name: report.TABLES[name] for name in ("claims", "claims-evidence")}
    monkeypatch.setattr(report, "TABLES", pages)
    report.write_report(results, tmp_path / "out")
    assert judged == [results]
    assert "FCD 3.0." in (tmp_path / "out" / "claims-evidence.md").read_text()
    records("first-ranking", "glf", fcd=2.0)
    report.write_report(results, tmp_path / "out")  # a new report reads anew
    assert judged == [results, results]
    assert "FCD 2.0." in (tmp_path / "out" / "claims-evidence.md").read_text()


def test_what_fails_is_not_kept(tmp_path):
    with read_once():
        (tmp_path / "first-ranking" / "mnist" / "glf").mkdir(parents=True)
        (tmp_path / "first-ranking" / "mnist" / "glf" / "seed-0.json").write_text("{")
        for _ in range(2):
            with pytest.raises(report.RunError, match="damaged"):
                fcd(tmp_path)
