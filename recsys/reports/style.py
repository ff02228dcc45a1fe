"""How does a page look, by day and by night?"""

from typing import Final

PAGE: Final = """\
:root {
  color-scheme: light dark;
  --ink: #24292f; --soft: #59636e; --paper: #ffffff; --shade: #f6f8fa; --line: #d1d9e0;
  --good: #1a7f37; --bad: #cf222e; --mark: #fff1e5;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ink: #e6edf3; --soft: #9198a1; --paper: #0d1117; --shade: #161b22; --line: #3d444d;
    --good: #3fb950; --bad: #f85149; --mark: #3b2300;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; max-width: 62rem; padding: 1.5rem 1.25rem 4rem;
  background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif;
}
h1 { font-size: 1.75rem; line-height: 1.2; margin: 0 0 .25rem; }
h2 { font-size: 1.2rem; margin: 2.5rem 0 .75rem; padding-bottom: .3rem; border-bottom: 1px solid var(--line); }
p { margin: .5rem 0; max-width: 48rem; }
.issue { color: var(--soft); font-size: 1.05rem; }
.verdict {
  margin: 1.25rem 0; padding: .8rem 1rem; border-left: .4rem solid; border-radius: .3rem; background: var(--shade);
}
.verdict strong { letter-spacing: .02em; }
.verdict p { margin: .25rem 0 0; }
.passed { border-color: var(--good); } .passed strong { color: var(--good); }
.refused { border-color: var(--bad); } .refused strong { color: var(--bad); }
.open { border-color: var(--soft); } .open strong { color: var(--soft); }
dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(17rem, 1fr)); gap: .6rem 1.5rem; margin: 1rem 0; }
dt { color: var(--soft); font-size: .85rem; } dd { margin: 0; overflow-wrap: anywhere; }
.wide { overflow-x: auto; margin: .75rem 0 1rem; }
table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--soft); padding-bottom: .3rem; }
th, td { padding: .3rem .6rem; text-align: right; border-bottom: 1px solid var(--line); }
td, tbody th { white-space: nowrap; vertical-align: top; }
thead th { color: var(--soft); font-weight: 600; vertical-align: bottom; }
tbody th { font-weight: 500; }
th:first-child { text-align: left; padding-left: .3rem; }
tr.marked th, tr.marked td { background: var(--mark); font-weight: 600; }
.bounds { color: var(--soft); font-size: .85em; font-weight: 400; }
td .bounds { display: block; }
figure { margin: 1rem 0; overflow-x: auto; color: var(--ink); }
figure svg { max-width: 100%; height: auto; }
figcaption { color: var(--soft); font-size: .88rem; }
details { margin: .75rem 0; } summary { cursor: pointer; color: var(--soft); }
ul { padding-left: 1.2rem; } li { margin: .3rem 0; max-width: 48rem; }
code { font: .85em ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
footer { margin-top: 3rem; color: var(--soft); font-size: .85rem; }
@media print { body { max-width: none; padding: 0; } details > * { display: block; } }
"""
"""CSS of a whole page."""
