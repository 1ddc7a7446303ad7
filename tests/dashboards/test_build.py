"""The committed files are what the builder writes."""

from __future__ import annotations

import pytest

from dashboards import build


@pytest.mark.parametrize("name", build.FILES)
def test_committed_as_built(name: str):
    """The committed file is to the byte what the builder writes now."""
    committed = (build.HERE / name).read_text(encoding="utf-8")
    assert committed == build.FILES[name](), "run python -m dashboards.build"


def test_no_other_files():
    """Every committed dashboard and every file of rules has a builder."""
    written = [path for kind in ("json", "yml") for path in build.HERE.glob(f"*/*.{kind}")]
    assert {str(path.relative_to(build.HERE)) for path in written} == set(build.FILES)


def test_a_stale_file_is_told_and_written(tmp_path, monkeypatch, capsys):
    """`--check` names the files that are not up to date and writes nothing; without it they are written."""
    monkeypatch.setattr(build, "HERE", tmp_path)
    (tmp_path / "prometheus").mkdir()
    (tmp_path / "prometheus" / "alerts.yml").write_text("groups: []\n")
    assert build.main(["--check"]) == 1
    told = capsys.readouterr().err
    assert all(name in told for name in build.FILES)
    assert (tmp_path / "prometheus" / "alerts.yml").read_text() == "groups: []\n"
    assert build.main([]) == 0
    assert build.main(["--check"]) == 0
    assert (tmp_path / "prometheus" / "alerts.yml").read_text() == build.FILES["prometheus/alerts.yml"]()
