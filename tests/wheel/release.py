"""Makes what is released, and says what is left to a person: ``make release``.

Builds the sdist from what is committed and the wheel from the sdist, into dist; lets twine read both; and runs the
wheel in an empty environment. With the repository's address, ``make release REPOSITORY=https://...``, the README's
links are absolute there, so that it reads the same on PyPI, and the metadata have the address. It uploads nothing.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

from docs.links import rewrite
from tests.support import ROOT

BUILD = ROOT / ".build" / "release"
DIST = ROOT / "dist"
README = Path("README.md")
SMOKE = Path(__file__).with_name("smoke.py")


def run(*command: object, cwd: Path = ROOT) -> str:
    """Run a command, whose errors are seen; return what it printed."""
    return subprocess.run([*map(str, command)], cwd=cwd, check=True, stdout=subprocess.PIPE, text=True).stdout


def version_of(source: Path) -> str:
    """Return the version that a source has."""
    text = (source / "src" / "afterword" / "_common" / "__init__.py").read_text()
    [version] = re.findall(r'^__version__.*= "([^"]+)"$', text, re.MULTILINE)
    return str(version)


def write_addresses(source: Path, repository: str) -> None:
    """Put the repository's address into the README and the metadata of a source that is to be built.

    Args:
        source: the folder of the source, which is changed.
        repository: the address of the repository's page.
    """
    at = f"v{version_of(source)}"

    def place(file: Path) -> str:
        kind = "tree" if (source / file).is_dir() else "raw" if file.suffix == ".png" else "blob"
        return f"{repository}/{kind}/{at}/{file.as_posix()}"

    (source / README).write_text(rewrite((source / README).read_text(), README, place))
    with (source / "pyproject.toml").open("a") as file:
        file.write(
            "\n[project.urls]\n"
            f'Repository = "{repository}"\n'
            f'Documentation = "{repository}/tree/{at}/docs"\n'
            f'Changelog = "{repository}/blob/{at}/CHANGELOG.md"\n'
            f'Issues = "{repository}/issues"\n'
        )


def build(repository: str | None) -> list[Path]:
    """Build the sdist and the wheel of what is committed; return their files."""
    source = BUILD / "source"
    shutil.rmtree(BUILD, ignore_errors=True)
    shutil.rmtree(DIST, ignore_errors=True)
    source.mkdir(parents=True)
    run("git", "archive", "--output", BUILD / "source.tar", "HEAD")
    run("tar", "-xf", BUILD / "source.tar", "-C", source)
    if repository:
        write_addresses(source, repository)
    run(sys.executable, "-m", "build", "--outdir", DIST, source)
    return sorted(DIST.iterdir())


def check(files: list[Path]) -> None:
    """Let twine read the metadata, and run the wheel where nothing else of the repository is.

    Raises:
        SystemExit: the wheel does not do what it should.
    """
    print(run(sys.executable, "-m", "twine", "check", "--strict", *files), end="")
    [wheel] = [file for file in files if file.suffix == ".whl"]
    environment = BUILD / "environment"
    venv.create(environment, with_pip=True)
    python = environment / "bin" / "python"
    run(python, "-m", "pip", "install", "-q", wheel, "uvicorn")
    shutil.copyfile(SMOKE, BUILD / SMOKE.name)
    found = json.loads(run(python, "-P", BUILD / SMOKE.name, cwd=BUILD).splitlines()[-1])
    works = found["answer"][0] == 200 and found["counted"] and found["page"] == [401, True] and found["version"]
    if not works or not found["installed at"].startswith(str(environment)):
        sys.exit(f"The wheel does not work in an empty environment: {found}")
    print(f"{wheel.name} works in an empty environment: an application, a task, a scrape, a page.")


def what_is_left(version: str, repository: str | None) -> list[str]:
    """Return what nobody but a person can do, in order."""
    steps = [
        f"Give {version} its date in CHANGELOG.md, in place of `unreleased`, commit that, and run this again.",
        f"git tag -s v{version} && git push --tags, once `make lint`, `make test` and `make docs` are green.",
        "Read the README as PyPI shows it, on a test index: twine upload --repository testpypi dist/*.",
        "twine upload dist/*, with an account that owns the project's name there. Nothing can be taken back.",
        "Install it from there in an empty environment, and say so in README's `Install`: it says nothing is.",
    ]
    if repository is None:
        steps.insert(
            0, "Say where the repository is, else the README's links are dead: make release REPOSITORY=..."
        )
    if "unreleased" not in (ROOT / "CHANGELOG.md").read_text():
        steps = [step for step in steps if "unreleased" not in step]
    return steps


def main() -> None:
    """Build, check, and say what is left."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repository", default=None, help="the address of the repository's page")
    repository = (parser.parse_args().repository or "").rstrip("/") or None
    if run("git", "status", "--porcelain").strip():
        sys.exit("There is something that is not committed, and only what is committed is built.")
    check(build(repository))
    print("\nIn dist: " + ", ".join(file.name for file in sorted(DIST.iterdir())) + ". Left to you:")
    for number, step in enumerate(what_is_left(version_of(ROOT), repository), 1):
        print(f"{number}. {step}")


if __name__ == "__main__":
    main()
