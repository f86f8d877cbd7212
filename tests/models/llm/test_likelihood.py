"""Scores of given responses and greedy answers: equal to a naive computation, and the base unchanged by switching
adapters.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from errors import BaseModelError, TamperedArtifact
from lake.store.folder import FolderStore
from models.llm.base_model import BaseModel, load, resolve
from models.llm.likelihood import Likelihoods, examples_nll, generate
from models.llm.lora import WEIGHTS, adapter_files, add_adapter, attach, using
from models.llm.tokens import Messages, prompt_tokens, tokenize, turn_end
from models.prompt import render
from models.spec import smoke
from settings import read_settings
from tests.world.tiny import build_tiny

MESSAGES = [render("jamie", None, "q" * n) for n in (5, 1, 40, 17)]
RESPONSES = ["yes", "", "perhaps ☕ later", "no"]


def response_nll(
    model: Any, tokenizer: Any, messages: Sequence[Messages], responses: Sequence[str], *, batch_tokens: int = 2048
) -> Likelihoods:
    return examples_nll(model, tokenize(messages, responses, tokenizer, 512), tokenizer, batch_tokens)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> BaseModel:
    return resolve(read_settings(base_model=str(build_tiny(tmp_path_factory.mktemp("tiny")))))


def stored_adapter(store: FolderStore, base: BaseModel, name: str, seed: int) -> dict[str, str]:
    """An adapter with random weights (a fresh one does nothing); its folder and digest."""
    model = add_adapter(load(base).model, smoke())
    random = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = torch.randn(parameter.shape, generator=random) / 4
    files = adapter_files(model, base)
    for file, data in files.items():
        store.write(f"ml/adapters/{name}/{file}", data)
    return {"path": f"ml/adapters/{name}", "digest": hashlib.sha256(files[WEIGHTS]).hexdigest()}


def naive_nll(model: Any, tokenizer: Any, messages: Messages, response: str) -> float:
    """One row at a time, logits everywhere."""
    prompt = prompt_tokens([messages], tokenizer)[0]
    answer = tokenizer(response, add_special_tokens=False)["input_ids"] + turn_end(tokenizer)
    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([prompt + answer])).logits[0]
    chosen = torch.log_softmax(logits[len(prompt) - 1 : -1], -1)
    return -float(chosen[torch.arange(len(answer)), torch.tensor(answer)].sum())


@pytest.mark.parametrize("batch_tokens", [1, 150, 4096])
def test_likelihoods_equal_the_naive_computation_in_any_batching(base: BaseModel, batch_tokens: int) -> None:
    model, tokenizer = load(base)
    found = response_nll(model, tokenizer, MESSAGES, RESPONSES, batch_tokens=batch_tokens)
    naive = [naive_nll(model, tokenizer, *row) for row in zip(MESSAGES, RESPONSES, strict=True)]
    assert found.nll_sum == pytest.approx(naive, rel=1e-5)
    assert found.tokens.tolist() == [len(text.encode()) + 1 for text in RESPONSES]


def test_a_model_keeps_its_full_logits_after_scoring(base: BaseModel) -> None:
    model, tokenizer = load(base)
    response_nll(model, tokenizer, MESSAGES, RESPONSES)
    assert model(input_ids=torch.ones(1, 7, dtype=torch.long)).logits.shape[:2] == (1, 7)


def test_no_rows_give_no_scores(base: BaseModel) -> None:
    assert response_nll(*load(base), [], []).nll_sum.shape == (0,)


def test_two_adapters_and_the_base_share_one_model(base: BaseModel, tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    stored = {name: stored_adapter(store, base, name, seed) for seed, name in enumerate(("baseline", "candidate"))}
    model, tokenizer = load(base)
    alone = response_nll(model, tokenizer, MESSAGES, RESPONSES).nll_sum
    for name, adapter in stored.items():
        model = attach(model, store, name=name, base=base, **adapter)

    def scores(name: str | None) -> np.ndarray:
        with using(model, name) as active:
            return response_nll(active, tokenizer, MESSAGES, RESPONSES).nll_sum

    first = {name: scores(name) for name in (None, "baseline", "candidate")}
    again = {name: scores(name) for name in ("candidate", None, "baseline")}
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert np.array_equal(first[None], alone)
    assert not np.allclose(first["baseline"], first["candidate"])
    assert not np.allclose(first["candidate"], alone)


def test_a_merged_adapter_scores_as_the_unmerged_one(base: BaseModel, tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    loaded = load(base)
    model = attach(loaded.model, store, name="candidate", base=base, **stored_adapter(store, base, "x", 3))
    unmerged = response_nll(model, loaded.tokenizer, MESSAGES, RESPONSES).nll_sum
    with using(model, "candidate") as active:
        assert response_nll(active, loaded.tokenizer, MESSAGES, RESPONSES).nll_sum == pytest.approx(unmerged, rel=1e-5)


def test_an_adapter_of_another_base_is_refused(base: BaseModel, tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    stored = stored_adapter(store, base, "x", 0)
    other = replace(base, digest="0" * 64)
    with pytest.raises(BaseModelError, match=f"trained on base {base.digest[:12]}, but .* gives 000000000000"):
        attach(load(base).model, store, name="candidate", base=other, **stored)


def test_a_changed_weights_file_is_refused(base: BaseModel, tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    path = stored_adapter(store, base, "x", 0)["path"]
    with pytest.raises(TamperedArtifact, match=WEIGHTS):
        attach(load(base).model, store, path, name="candidate", base=base, digest="0" * 64)


def test_greedy_answers_do_not_depend_on_their_batch(base: BaseModel) -> None:
    model, tokenizer = load(base)
    together = generate(model, tokenizer, MESSAGES, max_new_tokens=6)
    alone = [generate(model, tokenizer, [prompt], max_new_tokens=6)[0] for prompt in MESSAGES]
    assert together == alone


def test_an_answer_says_whether_the_model_ended_its_turn(base: BaseModel) -> None:
    model, tokenizer = load(base)
    runaway = generate(model, tokenizer, MESSAGES[:1], max_new_tokens=4)[0]
    assert (runaway.tokens, runaway.finished) == (4, False)
    with torch.no_grad():  # a model whose every next token is the end of the turn
        end = turn_end(tokenizer)[-1]
        model.get_input_embeddings().weight.mul_(0.0).add_(1e-3)
        model.get_input_embeddings().weight[end] += 1.0
        norm = model.model.norm.weight
        norm.copy_(torch.ones_like(norm))
    assert generate(model, tokenizer, MESSAGES[:1], max_new_tokens=4)[0].finished
