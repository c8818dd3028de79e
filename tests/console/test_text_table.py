from __future__ import annotations

import pytest

from console.text_table import Cell


@pytest.mark.parametrize("path", ["javascript:alert(1)", "//attacker.example/", "https://attacker.example/", "outbox"])
def test_a_cell_links_only_to_the_console(path: str) -> None:
    """A link of a cell that is not a path of the console is refused."""
    with pytest.raises(ValueError, match="not a path of the console"):
        Cell("text", path)
