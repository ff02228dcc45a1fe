"""Do the documentation's Python blocks run, and do its command lines name commands and options that exist?"""

import doctest
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer._click.exceptions import MissingParameter, NoArgsIsHelpError, UsageError

from recsys.cli import app

ROOT = Path(__file__).parents[2]
FILES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^(?P<indent> *)```(?P<info>[^\n`]*)\n(?P<body>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL)
SHELLS = {"console", "bash", "sh"}


@dataclass(frozen=True)
class Block:
    """A fenced block of a Markdown file."""

    info: str
    body: str
    line: int
    """The number of its first line of content."""


def blocks(path: Path) -> list[Block]:
    text = path.read_text(encoding="utf-8")
    return [
        Block(match["info"].strip(), match["body"], text.count("\n", 0, match.start("body")) + 1)
        for match in FENCE.finditer(text)
    ]


def shown(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


# ---------------------------------------------------------------- Python


@pytest.mark.parametrize("path", FILES, ids=shown)
def test_python_blocks_run(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks(path):
        if not block.info.lower().startswith("py"):
            continue
        assert block.info == "python", f"{shown(path)}:{block.line}: {block.info}: every Python block runs: ```python"
        if ">>>" in block.body:
            run_doctest(path, block, namespace)
        else:
            # Empty lines in front give a traceback the document's own line numbers.
            exec(compile("\n" * (block.line - 1) + block.body, str(path), "exec"), namespace)  # noqa: S102


def run_doctest(path: Path, block: Block, namespace: dict[str, Any]) -> None:
    test = doctest.DocTestParser().get_doctest(block.body, namespace, shown(path), str(path), block.line - 1)
    said: list[str] = []
    failed, _ = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, out=said.append, clear_globs=False)
    namespace.update(test.globs)
    assert not failed, "".join(said)


# ---------------------------------------------------------------- command lines


def command_lines(block: Block) -> Iterator[tuple[int, list[str]]]:
    """Yield every command of a block with its line: what follows `$ ` in a console, every line of a script."""
    lines = block.body.splitlines()
    number = 0
    while number < len(lines):
        first = number
        line = lines[number].strip()
        if block.info == "console" and not line.startswith("$ "):
            number += 1
            continue
        while line.endswith("\\") and number + 1 < len(lines):
            number += 1
            line = line[:-1] + " " + lines[number].strip()
        number += 1
        yield from ((block.line + first, words) for words in commands(line.removeprefix("$ ")))


def commands(line: str) -> Iterator[list[str]]:
    """Split a shell line at its operators; assignments in front of a command are left out."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words: list[str] = []
    for word in [*lexer, ";"]:
        if word and set(word) <= set("();<>|&"):
            if words:
                yield words
            words = []
        elif words or not re.fullmatch(r"[A-Za-z_]\w*=.*", word):
            words.append(word)


def fault(words: list[str]) -> str | None:
    """Return what is wrong with a command of this project; None for right ones and for other programs."""
    program = Path(words[0]).name
    if program == "recsys":
        return recsys_fault(words[1:])
    return make_fault(words[1:]) if program == "make" else None


def recsys_fault(arguments: list[str]) -> str | None:
    """Parse a command line by the command's own parser, and run nothing."""
    asks_help = "--help" in arguments
    arguments = [word for word in arguments if word != "--help"]
    if arguments in ([], ["--version"]):
        return None
    command: Any = typer.main.get_command(app)
    name, parent = "recsys", None
    try:
        while True:
            parsed = command.make_context(name, list(arguments), parent=parent)
            if not hasattr(command, "commands"):
                return None
            name, command, arguments = command.resolve_command(parsed, [*parsed._protected_args, *parsed.args])
            parent = parsed
    except UsageError as error:
        if asks_help and isinstance(error, MissingParameter | NoArgsIsHelpError):
            return None
        return error.format_message() or f"{name} wants a command"


def make_fault(arguments: list[str]) -> str | None:
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    asked = [word for word in arguments if "=" not in word and not word.startswith("-")]
    unknown = [word for word in asked if word not in targets]
    return f"make has no target {unknown[0]}; it has {', '.join(sorted(targets))}" if unknown else None


@pytest.mark.parametrize("path", FILES, ids=shown)
def test_command_lines_name_what_exists(path: Path) -> None:
    faults = [
        f"{shown(path)}:{line}: {' '.join(words)}: {found}"
        for block in blocks(path)
        if block.info in SHELLS
        for line, words in command_lines(block)
        if (found := fault(words))
    ]
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("recsys trian --model-version basket/v2", "No such command 'trian'"),
        ("cd feature_repo && feast apply && recsys train --model basket/v2", "No such option: --model"),
        ("recsys train", "Missing option '--model-version'"),
        ("recsys features rebuild", "No such command 'rebuild'"),
        ("recsys serve --port many", "Invalid value for '--port'"),
        ("recsys rollback basket", "Missing option '--reason'"),
        ("recsys rollback basket another --reason worse", "Got unexpected extra argument"),
        ("recsys features", "Usage"),
        ("make everything", "make has no target everything"),
    ],
)
def test_a_wrong_command_line_is_found(line: str, reason: str) -> None:
    found = [fault(words) for words in commands(line)]
    assert any(reason in each for each in found if each), found


@pytest.mark.parametrize(
    "line",
    [
        "recsys --help",
        "recsys train --help",
        "recsys features --help",
        "recsys --version",
        "RECSYS_ENV=local .venv/bin/recsys train --model-version basket/v2 --known-at 2017-12-04 --json  # a comment",
        "recsys evaluate home_ranker --json | jq .verdict > verdict.json",
        "make PYTHON=python3.12 install test",
        "feast apply",
        "make",
    ],
)
def test_a_right_command_line_passes(line: str) -> None:
    assert [fault(words) for words in commands(line) if fault(words)] == []


def test_console_blocks_are_read_as_prompts_and_scripts_as_lines() -> None:
    console = Block("console", "$ recsys history \\\n    basket\nrecsys is what it printed\n\n$ make check\n", 10)
    script = Block("sh", "# a comment\nmake test\n\nrecsys demo\n", 20)
    assert list(command_lines(console)) == [(10, ["recsys", "history", "basket"]), (14, ["make", "check"])]
    assert list(command_lines(script)) == [(21, ["make", "test"]), (23, ["recsys", "demo"])]


# ---------------------------------------------------------------- paths and links


CODE = re.compile(r"`((?:recsys|feature_repo|tests|docs|registry)/[\w./-]*)`")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


@pytest.mark.parametrize("path", FILES, ids=shown)
def test_named_files_and_links_exist(path: Path) -> None:
    text = FENCE.sub("", path.read_text(encoding="utf-8"))
    named = {name for name in CODE.findall(text) if not (ROOT / name).exists()}
    links = {link for link in LINK.findall(text) if "://" not in link and not leads_somewhere(path, link)}
    assert not named | links, f"{shown(path)} names what is not there"


def leads_somewhere(path: Path, link: str) -> bool:
    """Tell whether a link's file is there, and in Markdown the heading it names."""
    file, _, anchor = link.partition("#")
    target = (path.parent / file).resolve() if file else path
    if not target.exists() or not anchor:
        return target.exists()
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", target.read_text(encoding="utf-8")), re.MULTILINE)
    return anchor in {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
