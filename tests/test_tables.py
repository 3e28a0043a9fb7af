"""The tables in the docs are those of the committed rows."""

from pathlib import Path

from benchmarks.coverage import saved, show

PAGE = Path(__file__).parent.parent / "docs" / "stability.md"


def test_the_tables_of_the_stability_page_are_made_from_the_rows():
    text = PAGE.read_text("utf-8")
    table = text.partition("<!-- coverage -->")[2].partition("<!-- end -->")[0]
    assert table.strip() == "\n".join(show(saved())).strip(), "run: python -m benchmarks.coverage show --write"
