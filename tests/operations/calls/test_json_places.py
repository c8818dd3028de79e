from __future__ import annotations

import pytest

from operations.calls.json_places import line_of_error, line_of_path

TEXT = """{
  "gym_id": "a}\\"[b",
  "startTime": 1, "period": {
    "end_time": null},
  "items": [
    {"x": 1},
    {"x": [2,
      3]}
  ]
}"""


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("gym_id", 2),
        ("start_time", 3),
        ("period", 3),
        ("period.end_time", 4),
        ("period.start_time", 3),
        ("items[1].x", 7),
        ("items[1].x[1]", 8),
        ("items[9].x", 5),
        ("nothing", None),
        ("", None),
    ],
)
def test_a_path_leads_to_its_line(path: str, line: int | None) -> None:
    """A path leads to the line of its value, or of the nearest value around it."""
    assert line_of_path(TEXT, path) == line


@pytest.mark.parametrize("text", ["", "}", "{", '{"a', "[[[", ",:,", '{"a": {"b": '])
def test_a_broken_text_has_no_line_for_a_path(text: str) -> None:
    """A text that is no JSON is searched without an error."""
    assert line_of_path(text, "nothing") is None


@pytest.mark.parametrize(("text", "line"), [("{}", None), ('{\n"a": 1,\n}', 3), ("", 1), ('{\n"a" 1}', 2)])
def test_an_error_has_a_line(text: str, line: int | None) -> None:
    """The line is that at which the text stops being JSON."""
    assert line_of_error(text) == line
