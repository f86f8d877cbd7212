"""The built-in sample: the same bytes everywhere, in the log format, with a policy that can be learnt."""

import gzip
import hashlib
import json
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from cli.main import main
from errors import UserError
from lake.sample.generate import DAYS, write_sample
from lake.sample.voices import voices

COLUMNS = [
    "interaction_id",
    "timestamp",
    "agent_name",
    "user_id",
    "user_query",
    "response",
    "latency_ms",
    "tokens_used",
    "error",
    "feedback",
    "model_version",
    "cluster",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sample(tmp_path_factory.mktemp("sample"))


@pytest.fixture(scope="module")
def lines(folder: Path) -> list[str]:
    return [
        line
        for path in sorted(folder.rglob("*.gz"))
        for line in gzip.decompress(path.read_bytes()).decode().splitlines()
    ]


@pytest.fixture(scope="module")
def rows(lines: list[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines if line.endswith("}")]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.gz")}


def test_the_sample_is_the_same_text_on_every_machine(lines: list[str]) -> None:
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    assert digest == "04388161763904d61717c10628794a0b77876a1e08f8104a39950eb44f0e1b6e"


def test_writing_again_changes_no_byte(folder: Path, tmp_path: Path) -> None:
    assert contents(write_sample(tmp_path)) == contents(folder)
    assert contents(write_sample(tmp_path)) == contents(folder)


def test_a_longer_sample_begins_with_the_files_of_the_shorter_one(folder: Path, tmp_path: Path) -> None:
    short, long = contents(folder), contents(write_sample(tmp_path, days=DAYS + 2))
    assert {name: long[name] for name in short} == short
    assert sorted(set(long) - set(short)) == [f"2026-10-{day}/interactions.jsonl.gz" for day in (19, 20)]


def test_another_seed_gives_another_sample(folder: Path, tmp_path: Path) -> None:
    other = contents(write_sample(tmp_path, days=1, seed=8))
    assert other["2026-10-05/interactions.jsonl.gz"] != contents(folder)["2026-10-05/interactions.jsonl.gz"]


def test_it_has_two_weeks_of_four_agents_and_three_hundred_users(folder: Path, rows: list[dict[str, Any]]) -> None:
    assert len(list(folder.rglob("*.gz"))) == DAYS
    assert 11_500 < len(rows) < 12_500
    agents = Counter(row["agent_name"] for row in rows)
    assert all(agents[voice.name] > 1_000 for voice in voices().agents)
    assert len({row["user_id"] for row in rows}) == 300


def test_every_row_has_the_columns_of_the_log_format_in_order_of_time(rows: list[dict[str, Any]]) -> None:
    assert all(list(row) == COLUMNS for row in rows)
    moments = [datetime.fromisoformat(row["timestamp"]) for row in rows]
    assert moments == sorted(moments)
    assert {row["feedback"] for row in rows} == {0, 1, None}
    assert all(type(row["latency_ms"]) is int and type(row["tokens_used"]) is int for row in rows)


def test_each_file_holds_its_own_day(folder: Path) -> None:
    for path in folder.rglob("*.gz"):
        lines = gzip.decompress(path.read_bytes()).decode().splitlines()
        days = {json.loads(line)["timestamp"][:10] for line in lines if line.endswith("}")}
        assert days == {path.parent.name}


def test_about_half_is_rated_and_answers_on_policy_are_rated_far_better(rows: list[dict[str, Any]]) -> None:
    rated = [row for row in rows if row["feedback"] is not None]
    assert 0.45 < len(rated) / len(rows) < 0.55
    off = [row["feedback"] for row in rated if row["response"] in voices().evasions]
    on = [row["feedback"] for row in rated if row["response"] not in voices().evasions]
    assert sum(on) / len(on) > 0.9
    assert sum(off) / len(off) < 0.15
    assert len(on) > len(off) > 1_000


def test_an_answer_on_policy_follows_from_agent_and_question(rows: list[dict[str, Any]]) -> None:
    answers: dict[tuple[str, str], set[str]] = {}
    for row in rows:
        if not row["error"] and row["response"] not in voices().evasions:
            answers.setdefault((row["agent_name"], row["user_query"]), set()).add(row["response"])
    assert {len(found) for found in answers.values()} == {1}


def test_the_log_has_the_faults_of_real_logs(lines: list[str], rows: list[dict[str, Any]]) -> None:
    share_slow = sum(row["latency_ms"] > 30_000 for row in rows) / len(rows)
    failed = [row for row in rows if row["error"]]
    assert 0.003 < share_slow < 0.008
    assert 0.005 < len(failed) / len(rows) < 0.010
    assert all(row["latency_ms"] < 100 and row["tokens_used"] == 0 and row["feedback"] is None for row in failed)
    assert len(lines) - len(set(lines)) == 2
    assert sum(not line.endswith("}") for line in lines) == 2
    assert Counter(row["agent_name"] for row in rows)["brunhilde"] == 2
    moments = Counter((row["timestamp"], row["agent_name"]) for row in {json.dumps(row): row for row in rows}.values())
    assert sum(count > 1 for count in moments.values()) == 2


def test_users_differ_in_activity_and_ask_less_at_night(rows: list[dict[str, Any]]) -> None:
    heavy = [count for _, count in Counter(row["user_id"] for row in rows).most_common()]
    assert sum(heavy[:30]) > sum(heavy[-100:])
    hours = Counter(row["timestamp"][11:13] for row in rows)
    assert hours["10"] > 5 * hours["03"]


@pytest.mark.parametrize("days", [0, 367])
def test_an_invalid_number_of_days_is_refused(tmp_path: Path, days: int) -> None:
    with pytest.raises(UserError, match=f"between 1 and 366 days, not {days}"):
        write_sample(tmp_path, days=days)


def test_the_command_writes_the_same_files(folder: Path, tmp_path: Path) -> None:
    assert CliRunner().invoke(main, ["sample", str(tmp_path), "--days", "2"]).exit_code == 0
    assert contents(tmp_path).items() <= contents(folder).items()
    refused = CliRunner().invoke(main, ["sample", str(tmp_path), "--days", "0"])
    assert (refused.exit_code, "0 is not in the range 1<=x<=366" in refused.stderr) == (2, True)
