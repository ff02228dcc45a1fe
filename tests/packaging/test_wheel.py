"""Does the wheel hold the package, typed, and nothing else?"""

import zipfile
from pathlib import Path

import pytest

from tests.packaging.run_all import ROOT, build, copy_without_package, find_python, wheel_faults

pytestmark = pytest.mark.skipif(not (ROOT / "recsys").is_dir(), reason="this is no checkout: the wheel is under test")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("wheel"))


def test_the_wheel_is_the_package_and_its_type_marker(wheel: Path) -> None:
    assert wheel_faults(wheel) == []
    with zipfile.ZipFile(wheel) as archive:
        assert "recsys/py.typed" in archive.namelist()


def test_a_file_too_many_and_one_too_few_are_found(wheel: Path, tmp_path: Path) -> None:
    edited = tmp_path / wheel.name
    with zipfile.ZipFile(wheel) as archive, zipfile.ZipFile(edited, "w") as target:
        for name in archive.namelist():
            if name != "recsys/py.typed":
                target.writestr(name, archive.read(name))
        target.writestr("tests/conftest.py", "")
    assert wheel_faults(edited) == ["tests/conftest.py: is no part of the package", "recsys/py.typed: is missing"]


def test_the_command_is_installed_by_the_wheel(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        entry = next(name for name in archive.namelist() if name.endswith("entry_points.txt"))
        assert "recsys = recsys.cli:main" in archive.read(entry).decode()


def test_the_copy_that_is_tested_lacks_the_package(tmp_path: Path) -> None:
    copy_without_package(tmp_path / "project")
    names = {path.name for path in (tmp_path / "project").iterdir()}
    assert {"tests", "registry", "feature_repo", "docs", "README.md", "pyproject.toml"} <= names
    assert not names & {"recsys", ".venv", ".recsys", ".git"}


def test_an_interpreter_that_is_not_here_is_not_found() -> None:
    assert find_python("3.99") is None
