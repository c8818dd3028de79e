"""Tests of the HTML part of mails."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import pytest
from jinja2 import Environment

from services.communication.mail_template import TEMPLATES, Templates, variables_in

if TYPE_CHECKING:
    from collections.abc import Iterable

TEMPLATE_SET = Templates(TEMPLATES)
KEYS = [template.key for template in TEMPLATE_SET]
# Everything that a browser could load, run, follow or be changed by.
ALLOWED_TAGS = {"html", "head", "meta", "title", "style", "body", "table", "tr", "th", "td", "h1", "p"}
HOSTILE = "<script>alert(1)</script><img src=x onerror='x'>\" style=\"x &amp; {{ 7 * 7 }} https://evil.example"


class Page(HTMLParser):
    """Tags, attributes and visible text of an HTML document."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"style", "title"} & set(self.open):
            self.text += data

    @property
    def words(self) -> str:
        """The visible text with single spaces."""
        return " ".join(self.text.split())


def page_of(key: str, value: str | None = None) -> Page:
    """Return the HTML of a template with its example values, or with this value for each variable."""
    template = TEMPLATE_SET.find(key)
    variables = template.settings.example if value is None else dict.fromkeys(template.variables, value)
    return Page(template.fill(variables).html)


@pytest.mark.parametrize("key", KEYS)
def test_text_and_html_use_the_same_variables(key: str) -> None:
    """The HTML of a mail shows every variable that its text shows, and no other."""
    text, html = (variables_in(_environment(), TEMPLATES / key / part) for part in ("body.txt", "body.html"))

    assert html == text
    shown = page_of(key).words
    assert [name for name in text if " ".join(TEMPLATE_SET.find(key).settings.example[name].split()) not in shown] == []


@pytest.mark.parametrize("key", KEYS)
def test_html_is_complete_and_accessible(key: str) -> None:
    """The HTML is well nested, names its language, has one heading and a title, and marks tables used for layout."""
    page = page_of(key)

    assert page.open == []
    assert dict(page.tags)["html"] == {"lang": "en"}
    assert [tag for tag, _ in page.tags].count("h1") == [tag for tag, _ in page.tags].count("title") == 1
    tables = [attributes for tag, attributes in page.tags if tag == "table"]
    assert [table.get("role") for table in tables] in (["presentation"] * 2, ["presentation"] * 2 + [None])
    assert all(attributes.get("scope") == "row" for tag, attributes in page.tags if tag == "th")


@pytest.mark.parametrize("key", KEYS)
def test_html_loads_nothing_and_runs_nothing(key: str) -> None:
    """The HTML contains no image, script, form or link, and its styles load nothing from the network."""
    page, html = page_of(key), TEMPLATE_SET.find(key).fill(TEMPLATE_SET.find(key).settings.example).html

    assert {tag for tag, _ in page.tags} <= ALLOWED_TAGS
    assert not {"src", "href", "background", "onclick"} & {name for _, attributes in page.tags for name in attributes}
    assert not re.search(r"url\(|@import|@font-face|://", html)


@pytest.mark.parametrize("key", KEYS)
def test_a_hostile_value_adds_no_markup(key: str) -> None:
    """Markup in a value is shown as typed. The value adds no tag and no attribute, and its address is no link."""
    hostile, plain = page_of(key, HOSTILE), page_of(key, "value")

    assert hostile.tags == plain.tags
    assert "<script>alert(1)</script>" in hostile.text
    assert "{{ 7 * 7 }}" in hostile.text
    if not {"code", "noise_policy"} & TEMPLATE_SET.find(key).variables:
        assert "https://evil" not in hostile.text
        assert "evil.example" not in hostile.text


@pytest.mark.parametrize("key", [each.key for each in TEMPLATE_SET if each.settings.category.is_switchable])
def test_the_only_link_is_the_one_to_unsubscribe(key: str) -> None:
    """With an unsubscribe link, the HTML has this link and no other."""
    template = TEMPLATE_SET.find(key)
    link = "https://mail.solo60.example/unsubscribe/AbC-_9"
    page = Page(template.fill(template.settings.example, link).html)

    assert [attributes["href"] for tag, attributes in page.tags if tag == "a"] == [link]
    assert f"Unsubscribe from {template.settings.category.label}" in page.words


def test_the_rules_of_a_gym_have_their_line_breaks() -> None:
    """Line breaks in the rules of a gym are shown as line breaks."""
    example = TEMPLATE_SET.find("NOISE_WARNING").settings.example
    page = page_of("NOISE_WARNING")
    (style,) = [attributes["style"] or "" for _, attributes in page.tags if attributes.get("class") == "box"]

    assert "\n" in example["noise_policy"]
    assert example["noise_policy"] in page.text
    assert "white-space: pre-line" in style


def test_each_pair_of_colours_has_enough_contrast() -> None:
    """Text has a contrast of at least 4.5 on its background, in light and in dark mode (WCAG 2.2, 1.4.3)."""
    layout = (TEMPLATES / "layout.html").read_text(encoding="utf-8")
    dark = dict(re.findall(r"\.(\w+) {([^}]*)}", layout.partition("dark)")[2]))
    light = dict(re.findall(r'class="(\w+)"[^>]*style="([^"]*)"', layout))
    for styles in (light, dark):
        text, backgrounds = (_colours(styles.values(), name) for name in ("(?<!-)color", "background-color"))
        assert text
        assert backgrounds
        assert [(one, other) for one in text for other in backgrounds if _contrast(one, other) < 4.5] == []


def _environment() -> Environment:
    environment = Environment(autoescape=True)
    environment.filters |= {"quoted": str, "as_written": str}
    environment.globals |= dict.fromkeys(("greeting", "facts", "code_box", "note"))
    return environment


def _colours(styles: Iterable[str], name: str) -> set[str]:
    return set(re.findall(rf"{name}: (#[0-9a-f]{{6}})", " ".join(styles)))


def _contrast(one: str, other: str) -> float:
    """Return the contrast ratio of two colours (WCAG 2.2, relative luminance)."""
    high, low = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def _luminance(colour: str) -> float:
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in channels]
    return sum(share * channel for share, channel in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
