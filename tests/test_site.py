"""The documentation site: links in its sources, and the built pages in a real browser."""

import functools
import http.server
import re
import runpy
import threading
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from browser import Browser, find_chromium

import skensemble

ROOT = Path(__file__).parents[1]
SITE = ROOT / "docs" / "_build" / "html"
SOURCES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted(ROOT.glob("docs/**/*.md"))]

needs_site = pytest.mark.skipif(not (SITE / "index.html").is_file(), reason="the site is not built: `make docs`")
needs_browser = pytest.mark.skipif(find_chromium() is None, reason="no Chromium is installed")

DESKTOP, PHONE = 1280, 390
# One of each kind of page.
PAGES = [
    "index.html",
    "api.html",
    "api/skensemble.KerasAveragingClassifier.html",
    "gallery/index.html",
    "gallery/plot_uncertainty.html",
    "guide/index.html",
    "guide/engine.html",
    "guide/migrating.html",
    "guide/speed.html",
    "guide/uncertainty.html",
    "project/changelog.html",
]


# Sources


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_links_between_files_lead_somewhere(path):
    """Each link to another file leads to one; the gallery is written when the site is built."""
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8"))
    missing = []
    for link in links:
        if not urlsplit(link).scheme:
            target = (path.parent / link).resolve()
            if target.parent.name == "gallery":
                target = ROOT / "examples" / f"{target.name}.py"
            if not target.exists():
                missing.append(link)
    assert missing == []


def test_reference_has_every_public_name():
    """The API reference lists every public class, function and error."""
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^   ([\w.]+)$", page, re.MULTILINE))
    of_io = {f"io.{name}" if name.endswith("Error") else name for name in skensemble.io.__all__}
    others = {f"metrics.{name}" for name in skensemble.metrics.__all__}
    others |= {f"preprocessing.{name}" for name in skensemble.preprocessing.__all__}
    others |= {f"model_selection.{name}" for name in skensemble.model_selection.__all__}
    expected = {*skensemble.__all__, *of_io, *others, "exceptions.NotFusableError"}
    assert sorted(expected - listed) == []
    assert sorted(listed - expected) == []


def test_chart_shows_the_results():
    """The chart of the README is drawn from the results file."""
    chart = runpy.run_path(str(ROOT / "docs" / "speed_chart.py"))
    assert chart["CHART"].read_text(encoding="utf-8") == chart["draw"](), "Run `python docs/speed_chart.py`."


def test_tables_of_accuracy_show_the_results(monkeypatch):
    """The tables of accuracies in the guide are written from the results file."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    script = runpy.run_path(str(ROOT / "benchmarks" / "bench_accuracy.py"))
    page = script["PAGE"].read_text(encoding="utf-8")
    assert script["MARK"] in page
    assert script["with_table"](page) == page, "Run `python benchmarks/bench_accuracy.py --table`."


# The built site


class Links(HTMLParser):
    """Links, and the names that links may lead to, of one page."""

    def __init__(self, page):
        super().__init__()
        self.links, self.names = [], set()
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.names.add(attributes.get("id"))
        if tag in ("a", "link", "img", "script"):
            link = attributes.get("href") or attributes.get("src")
            if link and not urlsplit(link).scheme and not urlsplit(link).netloc:
                self.links.append(link)


@needs_site
def test_links_of_the_site_lead_somewhere():
    """Every internal link of the built site leads to a page, and to the place on it that it names."""
    read = functools.cache(Links)
    broken = []
    pages = [page for page in SITE.rglob("*.html") if "_static" not in page.parts]  # the theme keeps a template there
    for page in pages:
        for link in read(page).links:
            parts = urlsplit(link)
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            if not target.is_file():
                broken.append(f"{page.relative_to(SITE)}: {link}")
            elif parts.fragment and target.suffix == ".html" and unquote(parts.fragment) not in read(target).names:
                broken.append(f"{page.relative_to(SITE)}: {link}")
    assert broken == []


class SilentHandler(http.server.SimpleHTTPRequestHandler):
    """Serves files and prints nothing."""

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def address():
    """Address at which the built site is served."""
    handler = functools.partial(SilentHandler, directory=SITE)
    with http.server.ThreadingHTTPServer(("localhost", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://localhost:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """A headless Chromium."""
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


# What is cut off at the right: parts of the text that reach out of the window, and no box around them scrolls.
CUT_OFF = """[...document.querySelectorAll(".bd-article *")].filter(part => {
    if (part.getBoundingClientRect().right <= innerWidth + 1) return false;
    for (let box = part; !box.matches(".bd-article"); box = box.parentElement)
        if (["auto", "scroll"].includes(getComputedStyle(box).overflowX)) return false;
    return true;
}).map(part => part.outerHTML.slice(0, 80))"""


@needs_site
@needs_browser
@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize(("width", "scheme"), [(DESKTOP, "light"), (PHONE, "dark")])
def test_pages_load_without_errors(browser, address, page, width, scheme):
    """No page logs an error, is wider than the window or cuts text off: on a desktop, light, and on a phone, dark."""
    browser.open(f"{address}/{page}", width=width, scheme=scheme)
    assert browser.evaluate("document.documentElement.dataset.theme") == scheme
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    assert browser.evaluate(CUT_OFF) == []
    assert browser.evaluate("[...document.images].filter(one => one.complete && !one.naturalWidth).length") == 0
    assert browser.problems == []


@needs_site
@needs_browser
@pytest.mark.slow
def test_search_finds(browser, address):
    """The search finds the pages about `reweight`."""
    browser.open(f"{address}/search.html?q=reweight")
    found = browser.evaluate(
        """new Promise(resolve => {
            const results = () => [...document.querySelectorAll("#search-results li a")].map(one => one.href);
            const isThere = () => results().some(link => /PolyakWeightClassifier|combining/.test(link));
            const wait = () => isThere() ? resolve(results()) : setTimeout(wait, 100);
            setTimeout(() => resolve(results()), 20000);
            wait();
        })"""
    )
    assert any("PolyakWeightClassifier" in link or "combining" in link for link in found), found
    assert browser.problems == []


@needs_site
@needs_browser
@pytest.mark.slow
def test_code_can_be_copied(browser, address):
    """Blocks of code have a button, which copies the code."""
    browser.open(f"{address}/guide/getting-started.html")
    copied = browser.evaluate(
        """new Promise(resolve => {
            document.addEventListener("copy", () => resolve(document.activeElement.value));
            document.querySelectorAll(".highlight-python .copybtn")[0].click();
            setTimeout(() => resolve(null), 20000);
        })"""
    )
    assert "KerasAveragingClassifier(member, n_estimators=5, random_state=0)" in copied
