"""Chat templates and tool calls: a content that is null, and calls that a template leaves out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import CHATML, Answer, examples
from test_template import GENERATION, LOOPS, TALKS, trained_text

from executor.encode import encode_all
from executor.errors import UserError
from executor.template import ChatTemplate

CALLING: list[dict[str, Any]] = [
    {"role": "user", "content": "Is it warm?"},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"who": null}'}}],
    },
    {"role": "tool", "content": "21", "tool_call_id": "c1"},
    {"role": "assistant", "content": "Yes, 21."},
]
WRITES_CALLS = "{% if message.tool_calls %}{{ message.tool_calls | tojson }}{% endif %}"
LOOKS = """{% for message in messages %}<|im_start|>{{ message.role }}
{% if message.content is defined %}{{ message.content }}{% else %}call: {{ message.tool_calls | tojson }}{% endif %}
<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize(
    "source",
    [
        CHATML.replace("message['content'] +", f"message['content'] }}}}{WRITES_CALLS}{{{{"),
        GENERATION.replace(
            "{{ message.content }}<|im_end|>{%", "{{ message.content }}" + WRITES_CALLS + "<|im_end|>{%"
        ),
        LOOPS.replace("| trim }}", "| trim }}" + WRITES_CALLS),
        CHATML.replace("message['content'] +", f"message['content'] ~ '' }}}}{WRITES_CALLS}{{{{"),
    ],
)
def test_a_content_that_is_null_is_empty_where_a_template_cannot_take_it(
    source: str, missing: bool, template: Callable[[str], ChatTemplate]
) -> None:
    """It would fail, or write the word None, which the model would learn to say."""
    ours = template(source)
    empty = [{**turn, "content": turn["content"] or ""} for turn in CALLING]
    given = [{key: value for key, value in turn.items() if not missing or value is not None} for turn in CALLING]
    assert ours.render(given) == ours.render(empty)
    assert "None" not in ours.render(given)
    first, last = trained_text(ours, given)
    assert '"look"' in first
    assert last.startswith("Yes, 21.")
    assert given[1].get("content", "none") == ("none" if missing else None), "the row stays as it was"


@pytest.mark.parametrize("source", [GENERATION, LOOPS, LOOKS])
def test_null_is_rendered_as_transformers_renders_it(source: str, template: Callable[[str], ChatTemplate]) -> None:
    from transformers import AutoTokenizer

    ours = template(source)
    talk = [{"name": None, **turn} for turn in CALLING]
    theirs = AutoTokenizer.from_pretrained(ours.folder).apply_chat_template(talk, tokenize=False)
    assert ours.render(talk) == theirs
    assert ("call: " in theirs) is (source == LOOKS)


def test_a_call_that_the_template_leaves_out_is_no_reply_to_learn(template: Callable[[str], ChatTemplate]) -> None:
    """Its end alone would teach the model to say nothing."""
    with pytest.raises(UserError, match="1 rows have no token of a reply to train") as caught:
        encode_all([{"messages": CALLING}, {"messages": TALKS["several turns"]}], template(CHATML), 512, "train")
    assert "tool calls" in caught.value.fix
    refused = template("{{ raise_exception('no tools here') }}")
    with pytest.raises(UserError, match="no tools here") as caught:
        refused.render(CALLING)
    assert caught.value.fix


def test_rows_that_call_tools_are_planned(finetune: Callable[..., Answer], tiny_model: Path, tmp_path: Path) -> None:
    rows = [
        {"messages": [{"role": "user", "content": text}, *CALLING[1:-1], {"role": "assistant", "content": kind}]}
        for text, kind in examples()
    ]
    file = tmp_path / "calls.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    made = finetune("plan", file, "--base-model", tiny_model, "--json")
    assert made.code == 0, made.out
    assert made.json["mask"]["faults"]["untrained"] == made.json["mask"]["rows"], "its template writes no calls"
