"""Does a command import only what it uses, and does the package import without a warning?"""

import json
import pkgutil
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import recsys
from tests.packaging.run_all import ROOT

HEAVY = ("catboost", "fastapi", "feast", "mlflow", "numpy", "pandas", "pyarrow", "pydantic", "sklearn", "tea_tasting")

RUN = """
import json, sys
sys.argv = ["recsys", *{arguments!r}]
from recsys import cli
code = 0
try:
    cli.main()
except SystemExit as ended:
    code = int(ended.code or 0)
print(json.dumps({{"code": code, "modules": sorted({{name.partition(".")[0] for name in sys.modules}})}}))
"""


def python(code: str, folder: Path, *options: str) -> str:
    done = subprocess.run(
        [sys.executable, *options, "-c", code], cwd=folder, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def imported_by(arguments: tuple[str, ...], folder: Path, code: int = 0) -> set[str]:
    """Run a command in a process of its own; return the heavy libraries that it imported."""
    said = json.loads(python(RUN.format(arguments=list(arguments)), folder).splitlines()[-1])
    assert said["code"] == code
    return set(said["modules"]) & set(HEAVY)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """An empty project with the shipped environment: nothing was ever written in it."""
    folder = tmp_path / "registry" / "environments"
    folder.mkdir(parents=True)
    shipped = ROOT / "registry" / "environments" / "local.yaml"
    (folder / "local.yaml").write_text(shipped.read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "feature_repo").mkdir()
    return tmp_path


@pytest.fixture
def declared(project: Path) -> Path:
    """The same with all that is shipped under registry/."""
    shutil.copytree(ROOT / "registry", project / "registry", dirs_exist_ok=True)
    return project


@pytest.mark.parametrize(
    "arguments", [("--help",), ("--version",), ("train", "--help"), ("features", "build", "--help")]
)
def test_help_and_version_import_nothing_heavy(arguments: tuple[str, ...], tmp_path: Path) -> None:
    # To show a command's options, typer itself imports pydantic.
    allowed = {"pydantic"} if len(arguments) > 1 else set()
    assert imported_by(arguments, tmp_path) <= allowed


def test_opening_a_workspace_reads_declarations_and_no_more(project: Path) -> None:
    code = "import sys; from recsys.wiring import open_workspace; open_workspace('local'); print(*sys.modules)"
    modules = set(python(code, project).split())
    assert not modules & {"feast", "mlflow", "catboost", "tea_tasting", "sklearn", "fastapi", "duckdb", "sqlalchemy"}


def test_history_reads_the_ledger_alone(declared: Path) -> None:
    found = imported_by(("history", "basket"), declared)
    assert not found & {"feast", "catboost", "mlflow", "fastapi", "sklearn"}


def test_rollback_moves_an_alias_and_needs_no_features(declared: Path) -> None:
    found = imported_by(("rollback", "basket", "--reason", "complaints"), declared, code=1)
    assert "mlflow" in found
    assert not found & {"feast", "catboost"}


@pytest.mark.parametrize("command", [("features", "build"), ("ingest", "--env", "moon")])
def test_a_command_that_refuses_at_once_has_imported_no_library_of_later_steps(
    project: Path, command: tuple[str, ...]
) -> None:
    assert not imported_by(command, project, code=1) & {"feast", "catboost", "mlflow", "tea_tasting", "sklearn"}


def test_the_package_imports_without_a_warning(tmp_path: Path) -> None:
    """The adapters are left out: what they import warns on its own, and pytest's filters name which."""
    found = pkgutil.walk_packages(recsys.__path__, "recsys.")
    names = [each.name for each in found if ".adapters" not in each.name and not each.name.endswith("__main__")]
    assert "recsys.cli" in names
    python("".join(f"import {name}\n" for name in names), tmp_path, "-W", "error")
