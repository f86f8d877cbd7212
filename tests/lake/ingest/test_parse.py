"""The two ways of parsing a block give the same rows, and changed results need a new parser version."""

import csv
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

import lake.ingest.parse as parse_module
from lake.contracts.agent_interactions import AGENT_INTERACTIONS as CONTRACT
from lake.contracts.base import Contract
from lake.ingest.blocks import Block, Fault
from lake.ingest.bounds import out_of_bounds
from lake.ingest.files import read_blocks
from lake.ingest.parse import PARSER_VERSION, parse
from tests.lake.rows import START, interaction, lines

GOLDEN = {
    1: "be97b0e2b4c79f1a19afbbc3bd001fdf379606e80806f02f051f296f6cc1a0d5",
    2: "cffa48d9e94c4653fbb23d37b2429cab55fe444a0e566f54a79db07d7db2e61f",
}
"""sha256 of the results for the corpus, by version. A changed result needs a new version beside the old ones."""


def by_lines(data: bytes) -> Any:
    """The result of the line-by-line parser."""
    parsed = parse_module._parse_lines(CONTRACT, [Block(first=1, data=data)])
    return parsed.rows.to_pylist(), parsed.rejects.to_pylist()


def by_either(data: bytes) -> Any:
    """The result that callers get."""
    parsed = parse(CONTRACT, Block(first=1, data=data))
    return parsed.rows.to_pylist(), parsed.rejects.to_pylist()


TIMES = st.sampled_from(
    [
        "2026-10-01T00:00:00Z",
        "2026-10-01 00:00:00.123456+02:00",
        "2026-10-01T00:00Z",
        "2026-10-01T00:00:00.1234567Z",
        "2026-10-01T00:00:00+0530",
        "2026-10-01T00:00:00-07",
        "2026-10-01T24:00:00Z",
        "2026-10-01T00Z",
        "2026-10-01T00:00:00",
        "2026-10-01",
        "2026-02-30T00:00:00Z",
        "2026-10-01T00:00:00+25:00",
        "1969-12-31T23:59:59Z",
        "0000-01-01T00:00:00Z",
        "1970-01-01T00:00:00Z",
        "9999-12-31T23:59:59-14:00",
        "infinity",
        "now",
        "",
    ]
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=8),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=2), st.integers(), max_size=2),
)
NAMES = [column.name for column in CONTRACT.columns]


@st.composite
def objects(draw: st.DrawFn) -> bytes:
    """A row, mostly a good one, in one of the forms in which a program may write it."""
    row = interaction(draw(st.integers(0, 99)))
    row["user_query"] = draw(st.text(max_size=12) | st.sampled_from(['}{ "', "},]", "\u2028\x00", "\\u0041\\", "a, ]"]))
    if draw(st.booleans()):
        row["timestamp"] = draw(TIMES)
    if draw(st.integers(0, 3)) == 0:
        row[draw(st.sampled_from([*NAMES, "extra", "Error", ""]))] = draw(SCALARS)
    if draw(st.integers(0, 5)) == 0:
        del row[draw(st.sampled_from(NAMES))]
    text = json.dumps(row, ensure_ascii=draw(st.booleans()))
    return text.encode("utf-8", "surrogatepass")


TWISTS = st.sampled_from(
    [
        lambda line: line,
        lambda line: line + b"\r",
        lambda line: b" \t" + line + b"  ",
        lambda line: line + line,
        lambda line: line + b"\t " + line,
        lambda line: line[:-1] + b',"cluster":"studio"}',
        lambda line: line[:-1] + b", }",
        lambda line: line.replace(b", ", b",\n", 1),
        lambda line: line[: len(line) // 2],
        lambda line: b"\xef\xbb\xbf" + line,
        lambda line: line.replace(b"base", b"b\xffse"),
        lambda line: line.replace(b'"base"', b"NaN"),
        lambda line: line.replace(b'"error": false', b'"error": 0'),
        lambda line: line.replace(b'"latency_ms": 1', b'"latency_ms": 1e2, "x": 1'),
        lambda line: line.replace(b'"tokens_used": ', b'"tokens_used": -0'),
        lambda line: line.replace(b'"base"', b'"\\ud800"'),
        lambda line: line.replace(b'"base"', b'"\\u0000\\n\\/"'),
        lambda line: b"[" + line + b"]",
        lambda line: b"",
        lambda line: b"  ",
        lambda line: b"null",
        lambda line: b"{}",
    ]
)


@hypothesis_settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(objects(), st.sampled_from([0, 0, 0, 1]), TWISTS), min_size=1, max_size=6),
    st.booleans(),
    st.sampled_from([1, 2, parse_module.CUT_ABOVE_LINES]),
)
def test_both_ways_of_parsing_give_the_same_rows(twisted: list[tuple[bytes, int, Any]], ends: bool, alike: int) -> None:
    made = [twist(line) if spoil else line for line, spoil, twist in twisted]
    data = b"\n".join(made) + b"\n" * ends
    with mock.patch.object(parse_module, "CUT_ABOVE_LINES", alike), mock.patch.object(parse_module, "PIECES", 2):
        rows, rejects = by_either(data)
    assert (rows, rejects) == by_lines(data)
    blank = sum(not line.strip() for line in data.split(b"\n"))
    assert len(rows) + len(rejects) == len(data.split(b"\n")) - blank
    for line in rows[:1]:
        alone = by_either(data.split(b"\n")[line["line"] - 1])[0]
        assert alone == [{**line, "line": 1}], "a row must not depend on its neighbours"


def test_clean_lines_are_parsed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parse_module, "_parse_lines", None)
    rows = parse(CONTRACT, Block(first=7, data=lines(interaction(n) for n in range(50)))).rows
    assert rows["line"].to_pylist() == list(range(7, 57))


def test_only_the_lines_around_a_bad_one_are_parsed_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = parse_module._parse_lines
    closely: list[Block] = []

    def watched(contract: Contract, blocks: Sequence[Block]) -> parse_module.Parsed:
        closely.extend(blocks)
        return slow(contract, blocks)

    monkeypatch.setattr(parse_module, "_parse_lines", watched)
    good = lines(interaction(n) for n in range(5_000)).splitlines(keepends=True)
    good[1_234:1_234], good[4_000:4_000] = [b"{\n"], [lines([interaction(9_999, timestamp="soon")])]
    parsed = parse(CONTRACT, Block(first=1, data=b"".join(good)))
    assert parsed.rejects["line"].to_pylist() == [1_235, 4_001]
    assert parsed.rejects["raw"].to_pylist()[0] == "{"
    assert parsed.rows["line"].to_pylist() == [n for n in range(1, 5_003) if n not in (1_235, 4_001)]
    assert sum(block.lines for block in closely) <= 2 * parse_module.CUT_ABOVE_LINES


@given(st.lists(st.sampled_from([b"", b"a", b"bcd"]), min_size=1), st.integers(2, 5))
def test_the_pieces_of_a_block_keep_its_lines_and_their_numbers(texts: list[bytes], number: int) -> None:
    block = Block(first=7, data=b"\n".join(texts) + b"\n")
    pieces = list(block.pieces(number))
    assert b"".join(piece.data for piece in pieces) == block.data
    assert len(pieces) <= number
    assert block.texts(range(7, 7 + len(texts))) == texts
    lines = [text for piece in pieces for text in piece.texts(range(piece.first, piece.last + 1))]
    assert lines == texts


CORPUS = [
    *(lines([interaction(n)]) for n in range(3)),
    *(
        lines([interaction(10, **change)])
        for change in (
            {"timestamp": "2026-10-01 00:00:00.1234567+02:00"},
            {"timestamp": "2026-10-01"},
            {"timestamp": "1969-01-01T00:00:00Z"},
            {"timestamp": "2027-10-01T00:00:00Z"},
            {"agent_name": "ghost"},
            {"latency_ms": 99},
            {"latency_ms": 0, "error": True},
            {"latency_ms": 30_000},
            {"latency_ms": 30_001, "error": True},
            {"latency_ms": 1.0},
            {"latency_ms": "1"},
            {"latency_ms": float("nan")},
            {"tokens_used": 0},
            {"tokens_used": 0, "error": True},
            {"tokens_used": 100_001},
            {"tokens_used": 2**64},
            {"feedback": 2},
            {"error": None},
            {"error": 1},
            {"user_query": "x" * 100_001},
            {"user_query": "\U0001f600" * 100_000},
            {"cluster": "x" * 257},
            {"extra": None},
            {"response": {"nested": 1}},
        )
    ),
    b'{"interaction_id": "x"}\n',
    lines([interaction(11)])[:-2] + b",}\n",
    lines([interaction(12)])[:-2] + b',"cluster":"studio"}\n',
    lines([interaction(13)])[:-1] + lines([interaction(14)]),
    b"\xff\n",
    b"[]\n",
    b"\n",
    b"  \r\n",
    lines([interaction(15)])[:-1],
]


CELLS = [
    {"feedback": feedback, "latency_ms": latency, "error": error}
    for feedback in ("1", "1.0", "-0.0", "0.5", "NaN", "None", "no", "", "12345678901234567890")
    for latency, error in (("500", "True"), ("5e2", "false"), ("nan", "0"), ("", "maybe"))
]


def as_csv(cells: Sequence[Mapping[str, str]]) -> bytes:
    out = io.StringIO()
    rows = [interaction(n, **changes) for n, changes in enumerate(cells)]
    writer = csv.DictWriter(out, rows[0])
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode() + b"too,few\n"


def test_changed_results_need_a_new_parser_version(tmp_path: Path) -> None:
    (tmp_path / "cells.csv").write_bytes(as_csv(CELLS))
    pieces = [Block(first=1, data=b"".join(CORPUS)), *read_blocks(tmp_path / "cells.csv", CONTRACT)]
    results = json.dumps([_results(piece) for piece in pieces], default=str)
    digest = hashlib.sha256(results.encode()).hexdigest()
    assert GOLDEN.get(PARSER_VERSION) == digest, (
        f"what parsing or checking gives has moved: raise PARSER_VERSION and add its digest {digest} to GOLDEN"
    )


def _results(piece: Block | Fault) -> Any:
    if isinstance(piece, Fault):
        return [piece.line, piece.reason]
    parsed = parse(CONTRACT, piece)
    verdicts = out_of_bounds(CONTRACT, parsed.rows, START.replace(year=2027))
    return [part.to_pylist() for part in (parsed.rows, parsed.rejects, verdicts)]
