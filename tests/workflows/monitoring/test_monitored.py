"""Which lists does a name mean, and from when to when?"""

from datetime import timedelta
from pathlib import Path

import pytest

from recsys.errors import SpecError
from recsys.specs.monitor import Monitor
from recsys.workflows.monitoring.monitored import monitored
from tests.workflows.small_project import START, SmallProject


@pytest.fixture
def project(tmp_path: Path) -> SmallProject:
    """One whose clock stands at a midnight."""
    project = SmallProject(tmp_path)
    project.come_to(START)
    return project


@pytest.mark.parametrize("name", [None, "basket", "basket/v2"])
def test_the_default_time_is_the_whole_lookback_with_both_its_ends(project: SmallProject, name: str | None) -> None:
    """A replay answers a week of lists at one moment; those of the first and of the last one both count."""
    found = monitored(project.open(), name)
    assert found.start == START - Monitor().lookback
    assert found.end == START + timedelta(microseconds=1)


@pytest.mark.parametrize("name", [None, "basket"])
def test_the_lookback_goes_back_from_a_named_end(project: SmallProject, name: str | None) -> None:
    until = START - timedelta(days=2)
    found = monitored(project.open(), name, until=until)
    assert (found.start, found.end) == (until - Monitor().lookback, until)


def test_an_unknown_name_is_told_with_those_that_exist(project: SmallProject) -> None:
    with pytest.raises(
        SpecError, match=r"^cellar: neither an experiment nor a model; experiments: home_ranker; models: basket$"
    ):
        monitored(project.open(), "cellar")
