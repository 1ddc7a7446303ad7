"""The wheel that users install: what is in it, and that it works where nothing else of the repository is."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.benchmarks.processes import environment_variables
from tests.support import ROOT

pytestmark = pytest.mark.timeout(400)  # pip may have to fetch what it does not find in its cache


def run(*command: object, cwd: Path) -> str:
    """Run a command away from the source tree; return what it printed."""
    environment = {name: value for name, value in environment_variables().items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel as pip does, in an environment of its own."""
    directory = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", directory, ROOT, cwd=directory)
    [wheel] = directory.glob("afterword-*.whl")
    return wheel


def test_what_is_in_the_wheel(wheel: Path):
    """What is in src is in the wheel, with the console's page, the marker of types and the licence; no more."""
    names = set(zipfile.ZipFile(wheel).namelist())
    page = "afterword/_console/static/index.html"
    assert {"afterword/__init__.py", "afterword/py.typed", "afterword/_signals/traces.py", page} <= names
    files = (path for path in (ROOT / "src").rglob("*") if path.is_file() and path.suffix != ".pyc")
    sources = {str(path.relative_to(ROOT / "src")) for path in files if ".egg-info" not in str(path)}
    assert {name for name in names if name.startswith("afterword/")} == {
        name for name in sources if name.startswith("afterword/")
    }
    [metadata] = {name.partition("/")[0] for name in names - sources}
    assert metadata.endswith(".dist-info")
    assert f"{metadata}/licenses/LICENSE" in names
    assert f"{metadata}/entry_points.txt" in names


def test_the_wheel_works_by_itself(wheel: Path, tmp_path: Path):
    """Installed into an empty environment, the account, the entry point and the shell's command are there."""
    environment = tmp_path / "environment"
    run(sys.executable, "-m", "venv", "--without-pip", environment, cwd=tmp_path)
    python = environment / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "-q", wheel, "uvicorn", cwd=tmp_path)
    program = tmp_path / "smoke.py"
    program.write_text(Path(__file__).with_name("smoke.py").read_text())
    found = json.loads(run(python, program, cwd=tmp_path))
    assert found["answer"] == [200, '"thanks"']
    assert len(found["counted"]) == 1
    assert found["counted"][0].endswith(" 1.0")
    assert Path(found["installed at"]).is_relative_to(environment)
    assert found["entry points"] == ["BackgroundTaskInstrumentor"]
    assert found["version"]
    assert found["page"] == [401, True]
    assert run(environment / "bin" / "afterword", "--version", cwd=tmp_path).startswith("afterword ")
