"""Draw a report that comes on stdin, by a process of its own: `python -m recsys.reports experiment|offline|funnel`.

What goes out is a JSON object, name to SVG whose ink follows day and night.
"""

import json
import sys

from recsys.reports.charts import charts
from recsys.reports.drawing import themed
from recsys.reports.experiment_charts import experiment_charts
from recsys.reports.funnel import funnel_charts

_KINDS = {"experiment": experiment_charts, "offline": charts, "funnel": funnel_charts}


def main() -> None:
    """Draw one document."""
    drawn = _KINDS[sys.argv[1]](json.load(sys.stdin))
    json.dump({name: themed(svg) for name, svg in drawn.items()}, sys.stdout)


if __name__ == "__main__":
    main()
