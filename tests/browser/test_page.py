"""The report in a browser: what a reader does with it, and what a hostile text cannot do."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from importlib import resources
from typing import Any

import pytest

from slingshot.report.results import read_results
from tests.browser.conftest import until
from tests.results_tree import HOSTILE, Tree

Open = Callable[..., Any]


def test_it_loads_from_the_disk_without_a_complaint_or_a_request(open_report: Open, tree: Tree) -> None:
    opened = open_report()
    assert opened.complaints == []
    assert opened.requests == [(tree.folder / "report.html").as_uri()]


def test_every_figure_is_drawn(open_report: Open) -> None:
    page = open_report().page
    plots = page.locator(".plot")
    assert plots.count() == 10
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true })")
    until(page, "[...document.querySelectorAll('.plot')].every((one) => one.querySelector('.main-svg'))")
    for index in range(plots.count()):
        assert plots.nth(index).locator("svg.main-svg").count() > 0
        assert plots.nth(index).bounding_box()["height"] > 100
    assert page.locator("svg.dag rect").count() > 10


def test_hostile_texts_are_shown_and_do_not_run(open_report: Open) -> None:
    opened = open_report()
    page = opened.page
    page.get_by_label("Contains").fill("window.hacked")
    until(page, "document.getElementById('found').textContent.startsWith('1 of')")
    assert HOSTILE.split("\u2028")[0] in page.locator("#samples-list .text").inner_text()
    assert HOSTILE.split("\u2028")[0] in page.locator("#samples-list .raw").first.inner_text()
    page.locator("#samples-list details.thinking summary").first.click()
    for note in ("details.thinking p", ".refusal", ".error", ".ended"):
        assert HOSTILE.split("\u2028")[0] in page.locator(f"#samples-list {note}").first.inner_text()
    assert "<script>" in page.locator("h1").inner_text()
    for plot in page.locator(".plot").all():
        plot.hover(force=True)
    assert page.evaluate("typeof window.hacked") == "undefined"
    assert page.locator("img").count() == 0
    assert opened.complaints == []


def test_the_pages_policy_stops_a_script_that_got_in(open_report: Open) -> None:
    """The second wall: were a text ever put into the page as HTML, its scripts would still not run."""
    page = open_report().page
    page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.hacked = true\">')")
    added = "const made = document.createElement('script'); made.textContent = 'window.hacked = true';"
    page.evaluate(f"() => {{ {added} document.body.append(made) }}")
    page.wait_for_timeout(200)
    assert page.evaluate("typeof window.hacked") == "undefined"


def column(page: Any, place: int) -> list[str]:
    return page.locator(f"#table-of-arms tbody tr td:nth-child({place})").all_inner_texts()


def test_a_heading_sorts_the_table_by_mouse_and_by_keyboard(open_report: Open, tree: Tree) -> None:
    page = open_report().page
    heading = page.locator("#table-of-arms th", has_text="Exact match").first
    place = 1 + page.locator("#table-of-arms thead th").all_inner_texts().index(heading.inner_text())
    arms = read_results(tree.folder).comparison.arms
    falling = [f"{100 * value:.1f}" for value in sorted((a.scores["exact_match"].value for a in arms), reverse=True)]
    heading.get_by_role("button").click()
    assert [text.split()[0] for text in column(page, place)] == falling
    assert heading.get_attribute("aria-sort") == "descending"
    heading.get_by_role("button").focus()
    page.keyboard.press("Enter")
    assert [text.split()[0] for text in column(page, place)] == falling[::-1]
    assert heading.get_attribute("aria-sort") == "ascending"


def test_arms_without_a_number_stay_last_whichever_way_it_sorts(open_report: Open) -> None:
    page = open_report().page
    heading = page.locator("#table-of-arms th", has_text="USD per 1,000").first
    for _ in range(2):
        heading.get_by_role("button").click()
        assert page.locator("#table-of-arms tbody tr").last.inner_text().startswith("baseline/tfidf")


def found(page: Any) -> int:
    return int(page.locator("#found").inner_text().split()[0].replace(",", ""))


def test_filters_find_the_samples_that_they_name(open_report: Open, tree: Tree) -> None:
    page = open_report().page
    arm = "slm/qwen3b"
    answers = tree.predictions[arm]
    assert found(page) == len(answers)
    page.get_by_label("Arm", exact=True).nth(-1).select_option(label=arm)
    page.get_by_label("Its answer is").select_option("wrong")
    assert found(page) == sum(one.code != one.label for one in answers)
    page.get_by_label("Its answer is").select_option("unread")
    assert found(page) == sum(one.code is None for one in answers)
    page.get_by_label("Its answer is").select_option("right")
    page.get_by_label("Chapter", exact=True).select_option("9")
    chapter = [row["chapter"] for row in tree.samples]
    right = [one.code == one.label and chapter[index] == "9" for index, one in enumerate(answers)]
    assert found(page) == sum(right)
    first = page.locator("#samples-list li").first
    assert first.locator("th").first.inner_text() == arm
    assert "✓ right" in first.locator("tr").first.inner_text()


def test_pages_of_samples_turn(open_report: Open, tree: Tree) -> None:
    page = open_report().page
    assert page.locator("#samples-list > li").count() == 20
    assert page.get_by_role("button", name="Previous").is_disabled()
    page.get_by_role("button", name="Next").click()
    assert page.locator("#pages").inner_text() == "Page 2 of 10"
    assert tree.samples[20]["sample_id"] in page.locator("#samples-list > li").first.inner_text()


GROUND = "getComputedStyle(document.body).backgroundColor"
INK = "document.querySelector('.plot .xtick text').style.fill"


def test_dark_mode_follows_the_system_and_the_button(open_report: Open) -> None:
    light, dark = open_report(color_scheme="light").page, open_report(color_scheme="dark").page
    assert light.evaluate(GROUND) == "rgb(255, 255, 255)"
    assert dark.evaluate(GROUND) == "rgb(20, 23, 27)"
    assert light.evaluate(INK) != dark.evaluate(INK)
    light.get_by_role("button", name="Switch to dark colours").click()
    until(light, f"{INK} === '{dark.evaluate(INK)}'")
    assert light.evaluate(GROUND) == dark.evaluate(GROUND)
    light.get_by_role("button", name="Switch to light colours").click()
    assert light.evaluate(GROUND) == "rgb(255, 255, 255)"


def test_a_phone_scrolls_down_only(open_report: Open) -> None:
    page = open_report(viewport={"width": 375, "height": 812}).page
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true })")
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
    assert page.evaluate("document.body.scrollWidth") <= 375


def test_on_paper_figures_are_light_and_as_wide_as_the_page(open_report: Open) -> None:
    page = open_report(color_scheme="dark").page
    assert page.evaluate(INK) == "rgb(230, 232, 235)"
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    until(page, "[...document.querySelectorAll('.plot .main-svg')].every((one) => one.clientWidth === 660)")
    until(page, f"{INK} === 'rgb(31, 35, 40)'")
    page.emulate_media(media="print")
    assert page.evaluate(GROUND) == "rgb(255, 255, 255)"
    assert page.locator("nav").is_hidden()
    assert page.pdf()[:4] == b"%PDF"


def test_the_confusion_of_another_arm_is_a_choice_away(open_report: Open, tree: Tree) -> None:
    page = open_report().page
    before = page.locator("#confusion-plot .heatmaplayer").inner_html()
    page.locator("#confusion-arm").select_option(label="slm/qwen3b")
    until(page, "document.getElementById('confusion-plot').getAttribute('aria-label').includes('slm/qwen3b')")
    assert page.locator("#confusion-plot .heatmaplayer").inner_html() != before


def test_the_table_of_arms_is_saved_as_csv_and_latex(open_report: Open, tree: Tree) -> None:
    page = open_report().page
    saved = {}
    for name in ("CSV", "LaTeX"):
        with page.expect_download() as download:
            page.get_by_role("button", name=f"Download {name}").click()
        saved[download.value.suggested_filename] = download.value.path().read_text()
    rows = list(csv.DictReader(io.StringIO(saved["arms.csv"])))
    arms = read_results(tree.folder).comparison.arms
    assert [float(row["exact_match"]) for row in rows] == [arm.scores["exact_match"].value for arm in arms]
    assert saved["arms.tex"].count("\\\\\n") == 1 + len(arms)


def test_a_figure_is_saved_as_svg(open_report: Open) -> None:
    page = open_report().page
    with page.expect_download() as download:
        page.get_by_role("button", name="Save as SVG").first.click()
    assert download.value.suggested_filename == "size_against_score.svg"
    assert download.value.path().read_text().startswith("<svg")


def test_the_first_tab_leads_past_the_navigation(open_report: Open) -> None:
    page = open_report().page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the verdict"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "theme"
    page.keyboard.press("Enter")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"


@pytest.mark.parametrize(("width", "most"), [(1280, 21_450 / 2), (375, 25_261 / 2)])
def test_the_page_is_short_and_its_folds_open(open_report: Open, width: int, most: int) -> None:
    """At most half of what the same results took before answers, tables and secondary figures folded (d881d1a)."""
    page = open_report(viewport={"width": width, "height": 900}).page
    # The first sample is hostile, with notes as no answer has them: another card is opened instead.
    cards = "[...document.querySelectorAll('#samples-list .card')]"
    page.evaluate(f"{cards}.slice(0, 2).forEach((card, index) => {{ card.open = index === 1; }})")
    assert page.evaluate("document.documentElement.scrollHeight") < most
    assert page.locator("#samples-list .card[open]").count() == 1
    first = page.locator("#table-of-arms thead th").nth(1)
    assert first.inner_text().startswith("Exact match") or "Exact" in first.inner_text()
    box = page.locator("#table-of-arms tbody td").first.bounding_box()
    assert box["x"] + box["width"] <= width  # the first score is seen without scrolling
    assert page.locator("#arms .beyond").first.is_visible()


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 375)])
def test_axe_finds_no_serious_fault(open_report: Open, scheme: str, width: int) -> None:
    pytest.importorskip("axe_playwright_python", reason="needs axe-core: pip install axe-playwright-python")
    axe = resources.files("axe_playwright_python").joinpath("axe.min.js").read_text("utf-8")
    page = open_report(color_scheme=scheme, viewport={"width": width, "height": 900}).page
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true })")
    page.evaluate(axe)
    faults = page.evaluate("axe.run(document, { resultTypes: ['violations'] }).then((result) => result.violations)")
    serious = [
        f"{fault['id']}: {fault['help']}: {[node['html'][:200] for node in fault['nodes'][:3]]}"
        for fault in faults
        if fault["impact"] in ("serious", "critical")
    ]
    assert serious == []
