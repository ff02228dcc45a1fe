"""Do pyproject.toml, recsys.__version__, the changelog and, at a release, the tag name one version?"""

import os
import re
import tomllib
from pathlib import Path

import pytest

import recsys

ROOT = Path(__file__).parents[2]
ENTRY = re.compile(r"^## (\S+)(?: - (.+))?$", re.MULTILINE)
TAG = os.environ.get("RECSYS_RELEASE_TAG")


def declared() -> str:
    with (ROOT / "pyproject.toml").open("rb") as file:
        return str(tomllib.load(file)["project"]["version"])


def newest_entry() -> tuple[str, str]:
    """Return the version and the date of the changelog's newest entry."""
    found = ENTRY.search((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"))
    assert found is not None, "CHANGELOG.md has no entry: `## <version> - <date or unreleased>`"
    return found[1], found[2] or ""


def test_the_package_says_the_declared_version() -> None:
    assert recsys.__version__ == declared()


def test_the_changelog_s_newest_entry_is_of_the_declared_version() -> None:
    version, date = newest_entry()
    assert version == declared()
    assert re.fullmatch(r"unreleased|\d{4}-\d{2}-\d{2}", date), f"CHANGELOG.md: {version} - {date!r}: a date is due"


@pytest.mark.skipif(TAG is None, reason="RECSYS_RELEASE_TAG is not set: this is no release")
def test_the_release_s_tag_is_of_the_declared_version_and_the_changelog_has_its_date() -> None:
    version, date = newest_entry()
    assert f"v{version}" == TAG
    assert date != "unreleased", f"CHANGELOG.md: {version} is tagged {TAG} and still says unreleased"
