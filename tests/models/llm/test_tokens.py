"""Tokenizing and batching: the tokens of a row, and that no row is lost, doubled or cut in the wrong place."""

import copy
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from errors import BaseModelError
from models.llm.base_model import load, resolve
from models.llm.tokens import (
    TokenizedExamples,
    by_length,
    collate,
    endless_steps,
    padding_waste,
    prompt_tokens,
    steps,
    tokenize,
    training_examples,
    turn_end,
)
from models.prompt import render
from settings import read_settings
from tests.world.tiny import build_tiny

LENGTHS = st.lists(st.integers(1, 300), min_size=1, max_size=200).map(np.array)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = build_tiny(tmp_path_factory.mktemp("tiny"))
    return load(resolve(read_settings(base_model=str(folder)))).tokenizer


def row_tokens(examples: TokenizedExamples, i: int) -> list[int]:
    return examples.tokens[examples.offsets[i] : examples.offsets[i + 1]].tolist()


def test_an_example_is_the_served_prompt_then_the_response_then_the_end_of_the_turn(tokenizer: Any) -> None:
    messages = render("jamie", None, "a latte ☕")
    examples = tokenize([messages], ["on its way"], tokenizer, 200)
    answer = tokenizer("on its way", add_special_tokens=False)["input_ids"]
    assert row_tokens(examples, 0) == prompt_tokens([messages], tokenizer)[0] + answer + turn_end(tokenizer)
    assert examples.response_lengths.tolist() == [len(answer) + 1]


def test_the_whole_is_what_the_chat_template_makes_of_the_conversation(tokenizer: Any) -> None:
    messages = render("jamie", None, "hi")
    whole = tokenizer.apply_chat_template([*messages, {"role": "assistant", "content": "yes"}], tokenize=False)
    assert tokenizer.decode(row_tokens(tokenize([messages], ["yes"], tokenizer, 200), 0)) == whole.rstrip("\n")


def test_a_too_long_query_loses_its_beginning_and_the_response_is_kept(tokenizer: Any) -> None:
    query = "".join(f"{i:04d} " for i in range(200)) + "so what now?"
    examples = tokenize([render("jamie", None, query)], ["short"], tokenizer, 160)
    text = tokenizer.decode(row_tokens(examples, 0))
    assert examples.lengths.tolist() == [160]
    assert "You are jamie" in text
    assert "so what now?<|im_end|>" in text
    assert "0000" not in text
    assert text.endswith("short<|im_end|>")


def test_a_too_long_response_is_cut_and_has_no_end_of_turn(tokenizer: Any) -> None:
    examples = tokenize([render("jamie", None, "hi")], ["x" * 500], tokenizer, 200)
    assert examples.response_lengths.tolist() == [150]
    assert row_tokens(examples, 0)[-1] != turn_end(tokenizer)[-1]
    assert examples.lengths[0] <= 200


@settings(max_examples=25, deadline=None)
@given(st.text(max_size=300), st.text(max_size=300), st.integers(16, 200))
def test_no_text_makes_an_example_too_long_or_leaves_it_without_response(
    tokenizer: Any, query: str, response: str, limit: int
) -> None:
    examples = tokenize([render("jamie", None, query)], [response], tokenizer, limit)
    assert examples.lengths[0] <= limit
    assert examples.response_lengths[0] >= 1
    assert examples.prompt_lengths[0] >= 1


def test_rows_of_weight_zero_are_left_out(tokenizer: Any) -> None:
    rows = pa.table(
        {
            "agent_name": ["a", "b", "c"],
            "user_query": ["q"] * 3,
            "response": ["one", "two", "three"],
            "weight": [1.0, 0.0, 0.25],
        }
    )
    examples = training_examples(rows, tokenizer, 200)
    assert examples.weights.tolist() == [1.0, 0.25]
    assert "two" not in tokenizer.decode(examples.tokens)


@given(LENGTHS, st.integers(1, 40), st.integers(0, 9), st.integers(0, 3))
def test_an_epoch_has_every_row_once(lengths: np.ndarray, step_rows: int, seed: int, epoch: int) -> None:
    assert sorted(np.concatenate(steps(lengths, step_rows, seed, epoch)).tolist()) == list(range(len(lengths)))


@given(LENGTHS, st.integers(1, 40), st.integers(0, 30))
def test_skipping_steps_is_the_same_as_having_done_them(lengths: np.ndarray, step_rows: int, skip: int) -> None:
    whole, rest = endless_steps(lengths, step_rows, 7), endless_steps(lengths, step_rows, 7, skip=skip)
    for _ in range(skip):
        next(whole)
    for _ in range(5):
        assert next(whole).tolist() == next(rest).tolist()


@given(LENGTHS, st.integers(1, 2000))
def test_batches_by_length_have_every_row_once_within_their_budget(lengths: np.ndarray, budget: int) -> None:
    batches = by_length(lengths, budget)
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))
    assert all(len(rows) == 1 or lengths[rows].max() * len(rows) <= budget for rows in batches)


def test_rows_of_similar_length_form_a_batch() -> None:
    lengths = np.random.default_rng(0).geometric(1 / 40, size=4000)
    unsorted = [np.arange(i, i + 8) for i in range(0, 4000, 8)]
    assert padding_waste(lengths, steps(lengths, 8, 0, 0)) < 0.12 < 0.4 < padding_waste(lengths, unsorted)


def test_another_seed_or_epoch_gives_another_order() -> None:
    lengths = np.arange(1, 100)
    orders = {tuple(np.concatenate(steps(lengths, 4, seed, epoch))) for seed in (0, 1) for epoch in (0, 1)}
    assert len(orders) == 4


def test_collated_positions_are_just_before_their_targets(tokenizer: Any) -> None:
    messages = [render("jamie", None, "q" * n) for n in (3, 30, 12)]
    examples = tokenize(messages, ["yes", "no", "perhaps"], tokenizer, 200)
    batch = collate(examples, np.array([2, 0, 1]), pad=257)
    assert batch.ids.ravel()[batch.positions + 1].tolist() == batch.targets.tolist()
    assert np.bincount(batch.rows).tolist() == examples.response_lengths[[2, 0, 1]].tolist()
    assert batch.mask.sum(axis=1).tolist() == examples.lengths[[2, 0, 1]].tolist()


def test_a_template_without_system_messages_is_an_error_of_the_base_model(tokenizer: Any) -> None:
    strict = copy.deepcopy(tokenizer)
    strict.chat_template = "{{ raise_exception('System role not supported') }}"
    with pytest.raises(BaseModelError, match="System role not supported"):
        tokenize([render("jamie", None, "hi")], ["yes"], strict, 200)
