"""Does the wheel, not the checkout, pass the tests on every Python that is here? `make test-all`.

    python tests/packaging/run_all.py [--python 3.12 ...] [what pytest shall take instead of everything]

For each of Python 3.11, 3.12 and 3.13 that runs on this machine: a virtual environment in a temporary folder, the
committed lock by hashes, the wheel without dependencies, and the tests in a copy of the project that lacks recsys/.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VERSIONS = ("3.11", "3.12", "3.13")
LEFT_OUT = ("recsys", "dist", "build")
"""What the copy lacks: the package itself, and what a build leaves behind; so it does of what git ignores."""
PACKAGED = ("*.py", "templates/*.html", "static/*.css", "static/*.svg")
"""What the package consists of, beside its type marker."""
NEEDS_CHECKOUT = ("tests/docs/test_examples.py::test_named_files_and_links_exist",)
"""Tests that read the package's source files beside them."""


@dataclass(frozen=True)
class Outcome:
    """What became of the wheel on one Python."""

    version: str
    passed: bool
    line: str


def main(arguments: list[str] | None = None) -> int:
    """Build, check, install and test; one line a Python at the end."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--python", action="append", metavar="VERSION", help="such as 3.12; all that are here")
    known, selection = parser.parse_known_args(arguments)
    outcomes = []
    with tempfile.TemporaryDirectory(prefix="recsys-wheel-") as folder:
        wheel = build(Path(folder))
        faults = wheel_faults(wheel)
        if faults:
            sys.stderr.write("".join(f"{wheel.name}: {fault}\n" for fault in faults))
            return 1
        for version in known.python or VERSIONS:
            interpreter = find_python(version)
            if interpreter is None:
                outcomes.append(Outcome(version, known.python is None, "no interpreter here that runs; not tested"))
                continue
            outcomes.append(tested(version, interpreter, wheel, Path(folder), selection))
    for outcome in outcomes:
        sys.stdout.write(f"{wheel.name} on Python {outcome.version}: {outcome.line}\n")
    nothing = all("not tested" in outcome.line for outcome in outcomes)
    return 0 if all(outcome.passed for outcome in outcomes) and not nothing else 1


def build(folder: Path) -> Path:
    """Build the wheel with the hatchling of the lock, and return it."""
    command = [sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return next(folder.glob("*.whl"))


def wheel_faults(wheel: Path) -> list[str]:
    """Return what a wheel holds beyond the package and its metadata, and what it lacks of the package."""
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if not name.endswith("/")}
    kinds = (path for kind in PACKAGED for path in (ROOT / "recsys").rglob(kind))
    package = {path.relative_to(ROOT).as_posix() for path in kinds} | {"recsys/py.typed"}
    held_package = {name for name in held if name.partition("/")[0].endswith(".dist-info") is False}
    return [
        *(f"{name}: is no part of the package" for name in sorted(held_package - package)),
        *(f"{name}: is missing" for name in sorted(package - held_package)),
    ]


def find_python(version: str) -> str | None:
    """Return an interpreter of a version that starts; a shim of pyenv may be there and refuse."""
    name = f"python{version}"
    kept = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for candidate in (shutil.which(name), *sorted(kept.glob(f"{version}.*/bin/{name}"), reverse=True)):
        if candidate is not None and _answers(str(candidate), version):
            return str(candidate)
    return None


def _answers(interpreter: str, version: str) -> bool:
    question = "import ensurepip, sys, venv; print('%d.%d' % sys.version_info[:2])"
    try:
        done = subprocess.run([interpreter, "-c", question], capture_output=True, text=True, check=False, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0 and done.stdout.strip() == version


def tested(version: str, interpreter: str, wheel: Path, folder: Path, selection: list[str]) -> Outcome:
    """Install the lock and the wheel for one Python and run the tests on what was installed."""
    started = time.monotonic()
    home, project = folder / f"venv-{version}", folder / f"project-{version}"
    # Nothing of this machine or of this checkout leaks into what is tested.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    environment["PYTHONNOUSERSITE"] = "1"
    python = str(home / "bin" / "python")
    try:
        subprocess.run([interpreter, "-m", "venv", str(home)], check=True, env=environment)
        install(python, home, wheel, environment)
        copy_without_package(project)
        where = "import recsys; print(recsys.__file__)"
        found = subprocess.run(
            [python, "-c", where], check=True, capture_output=True, text=True, cwd=project, env=environment
        )
    except subprocess.CalledProcessError as error:
        return Outcome(version, passed=False, line=f"cannot be installed: {error}")
    if not found.stdout.startswith(str(home)):
        return Outcome(version, passed=False, line=f"imports {found.stdout.strip()}, which is not the wheel's")
    deselected = [word for name in NEEDS_CHECKOUT for word in ("--deselect", name)]
    command = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *deselected, *selection]
    done = subprocess.run(command, check=False, cwd=project, env=environment, stdout=subprocess.PIPE, text=True)
    sys.stdout.write(done.stdout)
    sys.stdout.flush()
    last = next((line for line in reversed(done.stdout.splitlines()) if line.strip()), "pytest printed nothing")
    shutil.rmtree(home)
    return Outcome(version, done.returncode == 0, f"{last.strip('= ')} ({time.monotonic() - started:.0f} s in all)")


def install(python: str, home: Path, wheel: Path, environment: dict[str, str]) -> None:
    """Install the lock with its hashes, then the wheel alone."""
    uv = shutil.which("uv")
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if uv:
        environment = environment | {"VIRTUAL_ENV": str(home)}
        pip = [uv, "pip", "install", "--quiet"]
    lock = str(ROOT / "requirements.lock")
    subprocess.run([*pip, "--require-hashes", "-r", lock], check=True, env=environment)
    subprocess.run([*pip, "--no-deps", str(wheel)], check=True, env=environment)


def copy_without_package(project: Path) -> None:
    """Copy what the tests read; hidden folders (state, caches, the virtual environment) stay, .github comes along."""

    def ignored(folder: str, names: list[str]) -> set[str]:
        top = Path(folder) == ROOT
        hidden = {name for name in names if name.startswith(".") and name not in {".github", ".ci"}}
        return {"__pycache__"} | hidden | (set(LEFT_OUT) if top else set())

    shutil.copytree(ROOT, project, ignore=ignored)


if __name__ == "__main__":
    sys.exit(main())
