"""Take a picture of each page of the console, over what `make demo` left: `make screenshots`.

    python docs/screenshots.py [folder] [--whole]

It needs Debian's chromium (and a font, such as fonts-dejavu); nothing is downloaded. A picture shows the top of a page,
or with --whole all of it.
"""

import io
import shutil
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal
from urllib.request import urlopen

import pyarrow.compute as pc
import uvicorn
from PIL import Image
from playwright.sync_api import Browser, ViewportSize, sync_playwright

from recsys.web.server import application_of
from recsys.wiring import open_workspace
from recsys.workflows.problem.funnel import funnel
from recsys.workflows.workspace import Workspace

DOCS: Final = Path(__file__).resolve().parent
HOUSEHOLD: Final = "household_2375"
WIDE: Final[ViewportSize] = {"width": 1200, "height": 860}
PHONE: Final[ViewportSize] = {"width": 390, "height": 780}
_COLOURS: Final = 96


Scheme = Literal["light", "dark"]


def main() -> None:
    """Serve the demo's project and look at it."""
    chromium = shutil.which("chromium")
    if chromium is None:
        sys.exit("docs/screenshots.py: no chromium here: apt-get install chromium")
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else DOCS / "pictures"
    workspace = open_workspace("local", DOCS.parent)
    pages = {
        "overview": "/",
        "problem": "/problems/weekly_basket",
        "model": "/models/basket?version=v2",
        "experiment": "/experiments/home_ranker",
        "request": f"/requests?id={_a_request(workspace)}",
        "placement": f"/placements/home?user_id={HOUSEHOLD}",
        "api": "/docs",
    }
    folder.mkdir(parents=True, exist_ok=True)
    funnel(workspace, "weekly_basket")
    with _served(workspace) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for name, path in pages.items():
            _shoot(browser, f"{address}{path}", folder / f"{name}.png", WIDE, "light")
        _shoot(browser, f"{address}/", folder / "overview-dark.png", WIDE, "dark")
        _shoot(browser, f"{address}{pages['experiment']}", folder / "experiment-dark.png", WIDE, "dark")
        _shoot(browser, f"{address}{pages['experiment']}", folder / "experiment-phone.png", PHONE, "light")
        browser.close()


def _a_request(workspace: Workspace) -> str:
    """Return a request that the treatment answered: the first of the first household by their ids."""
    start, end = workspace.catalog.experiment("home_ranker").plan.window()
    rows = workspace.event_log.exposures("home", start, end)
    answered = rows.filter((pc.field("arm") == "treatment") & ~pc.field("overridden"))
    first = answered.sort_by([("user_id", "ascending"), ("event_timestamp", "ascending")])
    return str(first["request_id"][0])


@contextmanager
def _served(workspace: Workspace) -> Iterator[str]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        address = f"http://127.0.0.1:{listening.getsockname()[1]}"
        server = uvicorn.Server(uvicorn.Config(application_of(workspace, None), log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        _wait(f"{address}/readyz")
        yield address
        server.should_exit = True
        thread.join(30)


def _wait(address: str) -> None:
    for _ in range(120):
        try:
            with urlopen(address):  # noqa: S310 - of this process
                return
        except OSError:
            time.sleep(0.5)
    sys.exit(f"docs/screenshots.py: {address}: not ready in a minute")


def _shoot(browser: Browser, address: str, path: Path, viewport: ViewportSize, scheme: Scheme) -> None:
    page = browser.new_page(viewport=viewport, color_scheme=scheme)
    page.set_default_timeout(120_000)
    page.goto(address, wait_until="networkidle")
    taken = page.screenshot(full_page="--whole" in sys.argv)
    page.close()
    # A page has few colours: a palette of them makes a third of the file.
    Image.open(io.BytesIO(taken)).convert("RGB").quantize(_COLOURS).save(path, optimize=True)
    sys.stdout.write(f"{path.name}: {path.stat().st_size / 1000:.0f} kB\n")


if __name__ == "__main__":
    main()
