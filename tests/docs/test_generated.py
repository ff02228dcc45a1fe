"""Do docs/cli.md and docs/specs.md say what the code says?"""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_references_are_up_to_date(generate: ModuleType) -> None:
    assert generate.drifted(DOCS) == [], "run `make docs`"


def test_check_names_the_drifted_file_and_writes_nothing(
    generate: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert generate.main(["--folder", str(tmp_path)]) == 0
    assert generate.main(["--check", "--folder", str(tmp_path)]) == 0
    edited = tmp_path / "cli.md"
    edited.write_text(edited.read_text(encoding="utf-8") + "an edit by hand\n", encoding="utf-8")
    capsys.readouterr()

    assert generate.main(["--check", "--folder", str(tmp_path)]) == 1

    assert capsys.readouterr().err.splitlines() == ["docs/cli.md: differs from what the code says; run `make docs`"]
    assert edited.read_text(encoding="utf-8").endswith("an edit by hand\n")


def test_the_command_reference_does_not_depend_on_the_terminal(
    generate: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = generate.command_reference()
    monkeypatch.setenv("COLUMNS", "30")
    monkeypatch.setenv("TERMINAL_WIDTH", "30")
    monkeypatch.setenv("RECSYS_ENV", "elsewhere")
    assert generate.command_reference() == written
