"""How is a result shown to those who did not make it?

From plain JSON documents, and from nothing else, so that a page can be drawn again from what was kept.

- `offline`: the page and the pictures of an offline evaluation
- `sections`, `feature_section`: its parts, as HTML
- `charts`: its pictures; `drawing`, the pen they are drawn with
- `experiment`: the page of an experiment; `experiment_results`, `experiment_health`, its parts; `experiment_charts`,
  its pictures
- `campaigns`: the page of an audience's campaigns
- `markup`: tables, numbers and escaped text; `conventions`, how to read them; `style`, how they look
"""
