"""Do a repository's files alone tell the same as its registry, and does the digest change with the logic only?"""

from pathlib import Path

import pytest

from recsys.adapters.feast_features import DeclaredFeatures
from recsys.errors import SpecError
from recsys.ports import FeatureReader
from tests.adapters.contract_shop import DEFINITIONS, TRANSFORMS, feast, written


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write and apply the shop once for all tests."""
    return written(tmp_path_factory.mktemp("repository"))


def declared(
    folder: Path, repository: Path, *, definitions: str = DEFINITIONS, transforms: str = TRANSFORMS
) -> FeatureReader:
    """Read a copy of the repository's files, edited and not applied."""
    folder.mkdir(parents=True)
    (folder / "feature_store.yaml").write_bytes((repository / "feature_store.yaml").read_bytes())
    (folder / "contract_definitions.py").write_text(definitions, encoding="utf-8")
    (folder / "transforms.py").write_text(transforms, encoding="utf-8")
    return DeclaredFeatures(folder, "feature_store.yaml")


def digest_of(folder: Path, repository: Path, **texts: str) -> str:
    """Return the digest of the service, as a copy of the files declares it."""
    return declared(folder, repository, **texts).feature_set("ranker").digest


def digest_after(folder: Path, repository: Path, part: str, old: str, new: str) -> str:
    """Return the digest of the service after an edit of one file."""
    text = {"definitions": DEFINITIONS, "transforms": TRANSFORMS}[part]
    assert old in text
    return digest_of(folder / "edited", repository, **{part: text.replace(old, new)})


class TestDeclared:
    """Files that were not applied are enough for references and digests."""

    def test_files_and_registry_tell_the_same(self, repository: Path, tmp_path: Path) -> None:
        """The digest of logic does not depend on who asks."""
        files, applied = declared(tmp_path / "files", repository), feast(repository)
        assert files.view("pair") == applied.view("pair")
        assert files.feature_set("ranker").columns == applied.feature_set("ranker").columns
        assert files.feature_set("ranker").digest == applied.feature_set("ranker").digest

    @pytest.mark.parametrize(
        ("part", "old", "new"),
        [
            ("definitions", "timedelta(days=10)", "timedelta(days=11)"),
            ("definitions", "visits=Int64", "visits=Float64"),
            ("definitions", "/ 86_400", "/ 3_600"),
            ("definitions", 'pair[["times"]], recency', 'recency, pair[["times"]]'),
            ("transforms", "return events", "return items"),
        ],
    )
    def test_logic_changes_the_digest(self, repository: Path, tmp_path: Path, part: str, old: str, new: str) -> None:
        """Definitions, tables' transforms, request-time code and the order of columns."""
        assert digest_after(tmp_path, repository, part, old, new) != digest_of(tmp_path / "plain", repository)

    @pytest.mark.parametrize(
        ("part", "old", "new"),
        [
            ("definitions", "a comment and a docstring are no logic", "reworded"),
            ("definitions", "    import numpy as np\n", "    import numpy as np  # arrays\n\n"),
            ("definitions", "unsold = _view(", "other = unsold = _view("),
            ("definitions", "shelf=Float64", "shelf=Int64"),
            ("transforms", "    return events", '    """Nothing yet."""\n    # really\n    return (events)'),
        ],
    )
    def test_words_and_strangers_do_not(self, repository: Path, tmp_path: Path, part: str, old: str, new: str) -> None:
        """Comments, docstrings, formatting, and views that the service does not read."""
        assert digest_after(tmp_path, repository, part, old, new) == digest_of(tmp_path / "plain", repository)

    def test_a_file_that_does_not_run_is_an_error_of_the_repository(self, repository: Path, tmp_path: Path) -> None:
        """In one line, with its cause."""
        with pytest.raises(SpecError, match="ZeroDivisionError"):
            declared(tmp_path / "broken", repository, definitions="1 / 0").view("pair")
