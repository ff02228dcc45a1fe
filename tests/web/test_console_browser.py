"""Is the console usable in a browser: on a phone, by night, by keyboard, by a screen reader, and without the network?

In Debian's Chromium, where there is one; over a project whose texts are all markup, so that what would break out does.
"""

import itertools
import shutil
from collections.abc import Iterator
from typing import Any, Final

import pytest

from recsys.web.console.session import local_path
from tests.reports.test_offline import HOSTILE
from tests.serving.test_resolver import experiment, world
from tests.web.console_site import PAGES, OneRequest, application, hostile, hostile_world, project, served

CHROMIUM: Final = shutil.which("chromium")
SECRET: Final = "s3cret-token"  # noqa: S105 - of the test's own
PHONE: Final = {"width": 360, "height": 740}
WIDE: Final = {"width": 1280, "height": 900}
REBOUND: Final = "--host-resolver-rules=MAP evil.example 127.0.0.1"
SERIOUS: Final = ("serious", "critical")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium here: apt-get install chromium"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs the package playwright: make install")
    with sync_api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", REBOUND])
        yield found
        found.close()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve a project as it should be."""
    reads = OneRequest(project(tmp_path_factory.mktemp("project")).open())
    with served(application(reads, world(routers=[experiment()]))) as address:
        yield address


class Hostile(OneRequest):
    """Explains a request whose items are markup."""

    item = HOSTILE


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve a project in which everything that people write is markup."""
    written = hostile(project(tmp_path_factory.mktemp("hostile")))
    with served(application(Hostile(written.open()), hostile_world(), token=SECRET)) as address:
        yield address


class Visit:
    """A page that is being looked at, with everything that it asked for and complained of."""

    def __init__(self, browser: Any, address: str, **look: Any) -> None:
        """Open an empty page."""
        self.address = address
        self.page = browser.new_page(**look)
        self.asked: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("console", lambda said: self.complaints.append(said.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: self.complaints.append(f"dialog: {dialog.message}"))

    def to(self, path: str) -> "Visit":
        """Go to a page, and wait until its pictures are there."""
        self.page.goto(f"{self.address}{path}", wait_until="networkidle")
        return self

    def assert_calm(self) -> None:
        """Check that nothing was complained of, asked for elsewhere, missing, or wider than the screen."""
        assert self.complaints == []
        assert [url for url in self.asked if not url.startswith(f"{self.address}/")] == []
        assert self.page.evaluate("[...document.images].filter(each => !each.naturalWidth).map(each => each.src)") == []
        assert self.page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")

    def assert_accessible(self) -> None:
        """Check that axe-core finds nothing serious."""
        from axe_playwright_python.sync_playwright import Axe

        found = Axe().run(self.page).response["violations"]
        told = [
            (each["id"], node["html"], node["failureSummary"])
            for each in found
            if each["impact"] in SERIOUS
            for node in each["nodes"]
        ]
        assert told == []


@pytest.mark.parametrize("name", PAGES)
def test_a_page_by_day_and_on_a_phone_by_night(browser: Any, site: str, name: str) -> None:
    for look in ({"viewport": WIDE, "color_scheme": "light"}, {"viewport": PHONE, "color_scheme": "dark"}):
        visit = Visit(browser, site, **look).to(PAGES[name])
        visit.assert_calm()
        visit.assert_accessible()
        assert visit.page.locator("h1").count() == 1
        assert visit.page.locator("main, header, footer, nav").count() >= 4
        visit.page.close()


def test_by_night_paper_is_dark_and_pictures_have_light_ink(browser: Any, site: str) -> None:
    visit = Visit(browser, site, viewport=WIDE, color_scheme="dark").to(PAGES["experiment"])
    shade = "getComputedStyle(document.body).backgroundColor"
    assert visit.page.evaluate(shade) == "rgb(13, 17, 23)"
    lightest = """async () => {
      const image = document.querySelector("figure.chart img");
      const canvas = document.createElement("canvas");
      canvas.width = image.naturalWidth; canvas.height = image.naturalHeight;
      const pen = canvas.getContext("2d");
      pen.drawImage(image, 0, 0);
      const data = pen.getImageData(0, 0, canvas.width, canvas.height).data;
      let most = 0;
      for (let at = 0; at < data.length; at += 4) if (data[at + 3] > 200) most = Math.max(most, data[at]);
      return most;
    }"""
    assert visit.page.evaluate(lightest) > 200
    visit.page.close()


def test_the_keyboard_reaches_the_content_and_a_table(browser: Any, site: str) -> None:
    visit = Visit(browser, site, viewport=WIDE).to(PAGES["problem"])
    visit.page.keyboard.press("Tab")
    assert visit.page.evaluate("document.activeElement.textContent") == "Skip to the content"
    visit.page.keyboard.press("Enter")
    assert visit.page.evaluate("document.activeElement.id") == "content"
    for _ in range(3):
        visit.page.keyboard.press("Tab")
        if visit.page.evaluate("document.activeElement.textContent") == "Channels":
            break
    assert visit.page.evaluate("document.activeElement.closest('nav').className") == "contents", "of the page's menu"
    visit.page.keyboard.press("Enter")
    visit.page.keyboard.press("Tab")
    assert visit.page.evaluate("document.activeElement.className") == "wide"
    outline = visit.page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    visit.page.close()


BEHIND: Final = {
    "problem": {"funnel": "of stage before"},
    "model": {
        "metrics": "ranker",
        "splits": "requests",
        "candidates": "candidates a request",
        "ablation": "by the whole model's",
        "importance": "importance, %",
        "correlation": "All correlations with the label",
    },
    "experiment": {
        "effects": "at every look",
        "cumulative": "Effect on the primary metric up to each day",
        "daily": "Means by day",
        "funnel": "impressions",
    },
}
"""Page to chart to a heading or title of its table."""


@pytest.mark.parametrize("name", BEHIND)
def test_every_chart_has_its_table_beside_it_and_words_of_its_own(browser: Any, site: str, name: str) -> None:
    visit = Visit(browser, site, viewport=WIDE).to(PAGES[name])
    charts = """[...document.querySelectorAll("figure.chart")].map(each => [
        each.querySelector("img").src.split("/").pop().split(".")[0],
        each.querySelector("img").alt,
        [...each.closest("section").querySelectorAll("th, summary")].map(each => each.textContent),
    ])"""
    found = visit.page.evaluate(charts)
    assert {chart for chart, _, _ in found} == BEHIND[name].keys()
    for chart, words, titles in found:
        assert BEHIND[name][chart] in titles
        assert words
    visit.page.close()


def test_a_user_is_tried_and_a_request_explained_by_their_forms(browser: Any, site: str) -> None:
    visit = Visit(browser, site, viewport=PHONE).to(PAGES["placement"])
    visit.page.get_by_label("User").fill("u1")
    visit.page.get_by_role("button", name="Show lists").click()
    assert visit.page.get_by_role("region", name="champion").locator("li").count() == 3
    visit.page.get_by_role("link", name="Why a list").click()
    visit.page.get_by_label("Request id").fill("r1")
    visit.page.get_by_role("button", name="Explain").click()
    visit.page.get_by_role("heading", name="The list, stage by stage").wait_for()
    visit.assert_calm()
    visit.page.close()


def test_wherever_the_form_leads_a_browser_stays_on_the_site(browser: Any, site: str) -> None:
    """Browsers read addresses by rules of their own: a backslash is a slash, and tabs and line ends are not there."""
    visit = Visit(browser, site).to("/login")
    parts = ("/", "\\", "\t", "\n", ".", "evil.example", "@", ":", "https:", "%2f", ";")
    wanted = ["".join(each) for length in (1, 2, 3, 4) for each in itertools.product(parts, repeat=length)]
    led = [local_path(each) for each in wanted]
    assert len(set(led)) > 100
    there = """paths => paths.filter(each => {
      try { return new URL(each, location.href).origin !== location.origin; } catch { return false; }
    })"""
    assert visit.page.evaluate(there, led) == []
    assert len(visit.page.evaluate(there, wanted)) > 100, "some of them would lead elsewhere"
    visit.page.close()


def test_a_command_of_the_api_is_selected_whole_by_a_click(browser: Any, site: str) -> None:
    visit = Visit(browser, site, viewport=WIDE).to("/")
    visit.page.get_by_role("link", name="API", exact=True).click()
    command = visit.page.locator("pre.copy code").first
    command.click()
    assert visit.page.evaluate("getSelection().toString()") == command.inner_text()
    assert command.inner_text().startswith(f"curl -sS {site}/v1/recommend \\\n")
    visit.page.close()


def test_a_page_of_another_site_reaches_nothing(browser: Any, site: str) -> None:
    """Neither by a name of its own that leads here, nor by a form, nor by what it may send without asking."""
    visit = Visit(browser, site)
    for path in ("/", "/metrics", "/openapi.json"):
        rebound = visit.page.goto(f"{site.replace('127.0.0.1', 'evil.example')}{path}")
        assert rebound.status == 421
        assert "serve.allowed_hosts" in rebound.text()
    foreign = site.replace("127.0.0.1", "localhost")  # another origin for the browser
    told = """async address => {
      const sent = async (options) => {
        try { return (await fetch(address, options)).status; } catch { return "blocked"; }
      };
      const json = {"content-type": "application/json"};
      return [
        await sent({method: "POST", headers: json, body: "{}"}),
        await sent({method: "GET"}),
      ];
    }"""
    visit.page.route("**/bare", lambda route: route.fulfill(body="<h1>evil</h1>", content_type="text/html"))
    visit.page.goto(f"{foreign}/bare")
    assert visit.page.evaluate(told, f"{site}/v1/events") == ["blocked", "blocked"]
    form = f"""document.body.innerHTML = '<form method="post" action="{site}/logout"><button>go</button></form>'"""
    visit.page.evaluate(form)
    visit.page.get_by_role("button", name="go").click()
    visit.page.get_by_role("heading", name="Not from here").wait_for()
    visit.page.close()


def test_markup_stays_text_behind_a_token_that_is_asked_for_once(browser: Any, attacked: str) -> None:
    visit = Visit(browser, attacked, viewport=WIDE).to(PAGES["experiment"])
    assert visit.page.title().startswith("Sign in")
    visit.assert_accessible()
    visit.page.get_by_label("Token").fill("guess")
    visit.page.get_by_role("button", name="Sign in").click()
    visit.page.get_by_role("alert").wait_for()
    visit.assert_accessible()
    visit.page.get_by_label("Token").fill(SECRET)
    visit.page.get_by_role("button", name="Sign in").click()
    visit.page.get_by_role("heading", name="home_ranker").first.wait_for()
    (cookie,) = visit.page.context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Lax")
    visit.complaints.clear()  # Chromium notes the 401 of the guess
    for name, path in PAGES.items():
        visit.to(path)
        visit.assert_calm()
        visit.assert_accessible()
        assert visit.page.locator("script").count() == 0, name
    visit.page.get_by_role("button", name="Sign out").click()
    visit.to("/")
    assert visit.page.title().startswith("Sign in")
    visit.page.close()
