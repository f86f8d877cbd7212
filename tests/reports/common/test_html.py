"""The pieces of decks and pages: escaped, aligned, in one style."""

import re

from reports.common import palette
from reports.common.html import TEMPLATES, deck, facts, figure, heading, note, section, table

HOSTILE = "<script>alert('$x$')</script>"


def test_tables_escape_their_cells_and_set_numbers_right() -> None:
    rows = [{"agent": HOSTILE, "rows": 1200, "score": 0.12345}, {"agent": "bruno", "rows": 3, "score": None}]
    made = table(rows)
    assert "<script>" not in made
    assert '<td class="number">1,200</td>' in made
    assert '<td class="number">0.1235</td>' in made
    aligned = table([{"low": -1.11, "share": 0.5}, {"low": 0.6793, "share": 12.0}])
    assert re.findall('number">([^<]*)</td>', aligned) == ["-1.110", "0.50", "0.679", "12.00"]


def test_every_value_is_escaped() -> None:
    made = deck(heading(HOSTILE), note(HOSTILE), facts({HOSTILE: HOSTILE}), table([{HOSTILE: HOSTILE}]))
    assert "<script>" not in made + section("id", HOSTILE, "") + figure(HOSTILE, "<svg/>")
    assert made.count("&lt;script&gt;") == 6


def test_the_style_sheets_use_the_colours_and_the_font_of_the_palette() -> None:
    styles = "".join(path.read_text() for path in TEMPLATES.glob("*.css"))
    colours = set(re.findall("#[0-9a-f]{6}", styles))
    named = {palette.INK, palette.MUTED, palette.LINE, palette.BLUE}
    assert named <= colours
    assert colours - named == {"#f6f7f9", "#00795a", "#9a5b00", "#b84a00"}  # the background, and darker tones for text
    assert set(re.findall(r"system-ui[^;}]*serif", styles)) == {palette.FONT}
