"""Chat templates: the same ids as transformers, and the loss on the replies alone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import CHATML, chat_rows
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from executor.encode import encode, encode_all, marked, pieces, proof
from executor.errors import UserError
from executor.template import ChatTemplate

GENERATION = """{% for message in messages %}
<|im_start|>{{ message.role }}
{% if message.role == 'assistant' %}
{% generation %}{{ message.content }}<|im_end|>{% endgeneration %}

{% else %}
{{ message.content }}<|im_end|>
{% endif %}
{% endfor %}
{% if add_generation_prompt %}
<|im_start|>assistant
{% endif %}
"""
DATED = (
    "{{ '<|im_start|>system\nToday is ' + strftime_now('%d %B %Y') + '<|im_end|>\n' }}"
    "{% if messages[0].role == 'tool' %}{{ raise_exception('no tools here') }}{% endif %}" + CHATML
)
LOOPS = """{%- for message in messages %}
{%- if message.role == 'note' %}{% continue %}{% endif %}
{%- if loop.index > 20 %}{% break %}{% endif -%}
<|im_start|>{{ message.role }}
{{ message.content | trim }}<|im_end|>
{% endfor -%}
{% if tools %}{{ tools | tojson(indent=2) }}{{ tools | tojson(separators=(',', ':'), sort_keys=true) }}{% endif %}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
# Past turns lose their reasoning; the generation prompt opens a new one, as templates of reasoning models do.
REASONING = """{%- set ns = namespace(last=0) %}
{%- for message in messages %}{% if message.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}
{%- for message in messages %}
{%- set text = message.content %}
{%- if message.role == 'assistant' and loop.index0 < ns.last and '</think>' in text %}
{%- set text = text.split('</think>')[-1].lstrip('\\n') %}
{%- endif %}
{{- '<|im_start|>' + message.role + '\\n' + text + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{% endif %}"""
OPENED = REASONING.replace("assistant\\n' }}{% endif", "assistant\\n<think>\\n' }}{% endif")
TEMPLATES = {"chatml": CHATML, "generation": GENERATION, "dated": DATED, "loops": LOOPS, "reasoning": REASONING}
TALKS: dict[str, list[dict[str, Any]]] = {
    "one turn": [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "a fruit"}],
    "with a system message": chat_rows()[0]["messages"],
    "several turns": [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "yes or no, assistant?"},
        {"role": "assistant", "content": "yes"},
        {"role": "user", "content": "Zürich – 東京 🙂 <b>&amp;</b>"},
        {"role": "assistant", "content": "two\n\nlines {{ not.a_template }}"},
    ],
}
WORDS = st.text(st.characters(codec="utf-8", exclude_characters="<>|"), min_size=1, max_size=30).filter(str.strip)


def trained_text(template: ChatTemplate, messages: list[dict[str, Any]]) -> list[str]:
    text, spans = template.spans(messages)
    return [text[span.start : span.end] for span in spans if span.trained]


@pytest.mark.parametrize("talk", TALKS)
@pytest.mark.parametrize("name", TEMPLATES)
def test_the_ids_are_those_of_transformers(name: str, talk: str, template: Callable[[str], ChatTemplate]) -> None:
    from transformers import AutoTokenizer

    ours, messages = template(TEMPLATES[name]), TALKS[talk]
    theirs = AutoTokenizer.from_pretrained(ours.folder)
    assert theirs.chat_template == TEMPLATES[name]
    whole = theirs.apply_chat_template(messages, tokenize=True, return_dict=False)
    prompt = theirs.apply_chat_template(messages[:-1], add_generation_prompt=True, tokenize=True, return_dict=False)
    assert ours.encode(ours.render(messages)) == list(whole)
    assert ours.prompt_ids(messages[:-1]) == list(prompt)
    assert ours.count(messages) == len(whole)
    example = encode({"messages": messages}, ours)
    assert list(example.ids) == list(whole)
    assert list(example.ids[: len(prompt)]) == list(prompt) or talk == "several turns"


def test_tools_are_rendered_as_transformers_renders_them(template: Callable[[str], ChatTemplate]) -> None:
    from transformers import AutoTokenizer

    ours = template(LOOPS)
    tools = [
        {"type": "function", "function": {"name": "find", "description": "<finds> é", "parameters": {"b": 1, "a": 2}}}
    ]
    theirs = AutoTokenizer.from_pretrained(ours.folder)
    messages = TALKS["one turn"]
    assert ours.render(messages, tools=tools) == theirs.apply_chat_template(messages, tools=tools, tokenize=False)


def test_the_real_mask_of_a_template_with_generation_tags_is_ours_too(template: Callable[[str], ChatTemplate]) -> None:
    from transformers import AutoTokenizer

    ours, messages = template(GENERATION), TALKS["several turns"]
    theirs = AutoTokenizer.from_pretrained(ours.folder).apply_chat_template(
        messages, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
    )
    example = encode({"messages": messages}, ours)
    assert list(example.ids) == list(theirs["input_ids"])
    assert [int(trained) for trained in example.trained] == list(theirs["assistant_masks"])


@pytest.mark.parametrize("name", TEMPLATES)
def test_replies_and_their_ends_are_trained_and_nothing_else(
    name: str, template: Callable[[str], ChatTemplate]
) -> None:
    ours = template(TEMPLATES[name])
    for messages in TALKS.values():
        example = encode({"messages": messages}, ours)
        trained = [i for i, seen in zip(example.ids, example.trained, strict=True) if seen]
        replies = [m["content"] for m in messages if m["role"] == "assistant"]
        assert ours.tokenizer.decode(trained, skip_special_tokens=False) == "".join(f"{r}<|im_end|>" for r in replies)


def test_a_turn_of_weight_0_is_not_trained(template: Callable[[str], ChatTemplate]) -> None:
    messages = [dict(message) for message in TALKS["several turns"]]
    messages[2]["weight"] = 0
    (only,) = trained_text(template(CHATML), messages)
    assert only.startswith("two\n\nlines")
    messages[4]["weight"] = 0
    with pytest.raises(UserError, match="no token of a reply to train"):
        encode_all([{"messages": messages}], template(CHATML), 512, "train")


@pytest.mark.parametrize("source", [REASONING, OPENED])
def test_dropped_reasoning_is_not_looked_for(source: str, template: Callable[[str], ChatTemplate]) -> None:
    messages = [
        {"role": "user", "content": "say yes"},
        {"role": "assistant", "content": "<think>\nthey want a yes\n</think>\n\nyes"},
        {"role": "user", "content": "again"},
        {"role": "assistant", "content": "<think>\nonce more\n</think>\n\nyes"},
    ]
    ours = template(source)
    text, spans = ours.spans(messages)
    first, last = (text[span.start : span.end] for span in spans if span.trained)
    assert first.removesuffix("\n").removesuffix("<|im_end|>") == "yes"
    assert "once more" in last
    assert last.rstrip().endswith("yes<|im_end|>")
    assert "they want a yes" not in text
    head = text[: next(span.start for span in spans if span.trained)]
    assert "say yes" in head, "the reply is found behind the question, not in it"
    assert encode_all([{"messages": messages}], ours, 512, "train")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=4), st.sampled_from(["chatml", "generation", "dated"]))
def test_what_is_trained_is_what_the_assistant_said(
    tiny_model: Path, tmp_path: Path, turns: list[tuple[str, str]], name: str
) -> None:
    folder = tmp_path / name
    if not folder.exists():
        shutil.copytree(tiny_model, folder)
        (folder / "chat_template.jinja").write_text(TEMPLATES[name], encoding="utf-8")
    ours = ChatTemplate(folder)
    roles = [[("user", asked), ("assistant", said)] for asked, said in turns]
    messages = [{"role": role, "content": content} for pair in roles for role, content in pair]
    example = encode({"messages": messages}, ours)
    trained = [i for i, seen in zip(example.ids, example.trained, strict=True) if seen]
    expected = ours.encode("".join(f"{said}<|im_end|>" for _, said in turns))
    assert ours.tokenizer.decode(trained, skip_special_tokens=False) == ours.tokenizer.decode(
        expected, skip_special_tokens=False
    )
    text, spans = ours.spans(messages)
    assert [span.start for span in spans] == [0, *(span.end for span in spans[:-1])]
    assert spans[-1].end == len(text)


def test_rows_that_cannot_be_trained_are_counted_in_one_error(template: Callable[[str], ChatTemplate]) -> None:
    ours = template(CHATML)
    long = [{"role": "user", "content": "word " * 200}, {"role": "assistant", "content": "yes"}]
    silent = [{"role": "user", "content": "hello"}]
    with pytest.raises(UserError) as caught:
        encode_all([{"messages": long}, {"messages": long}, {"messages": silent}], ours, 64, "train")
    assert "2 rows are longer than max_length 64" in caught.value.what
    assert "1 rows have no token of a reply to train" in caught.value.what


def test_a_fault_that_is_allowed_is_trained_on_and_told(template: Callable[[str], ChatTemplate]) -> None:
    ours = template(CHATML)
    long = {"messages": [{"role": "user", "content": "word " * 200}, {"role": "assistant", "content": "yes"}]}
    unweighted = {"messages": [*TALKS["one turn"][:-1], TALKS["one turn"][-1] | {"weight": 0}]}
    rows = [long, unweighted, {"messages": TALKS["one turn"]}]
    with pytest.raises(UserError, match="no token of a reply"):
        encode_all(rows, ours, 64, "train", allow=["too_long"])
    examples = encode_all(rows, ours, 64, "train", allow=["too_long", "untrained"])
    assert [len(e.ids) <= 64 for e in examples] == [True] * 3
    assert [any(e.trained) for e in examples] == [False, False, True]
    found = proof([encode(row, ours) for row in rows], ours, 64)
    assert found["faults"] == {"untrained": 1, "too_long": 1, "endless": 0, "doubled_start": 0}
    assert (found["cut_replies"], found["cut_tokens"]) == (1, len(encode(long, ours).ids) - 64)
    assert found["trained_tokens"] == sum(sum(e.trained) for e in examples)


@pytest.mark.parametrize("source", [CHATML, GENERATION])
@pytest.mark.parametrize("talk", TALKS)
def test_the_proof_shows_what_the_model_is_given(
    talk: str, source: str, template: Callable[[str], ChatTemplate]
) -> None:
    ours = template(source)
    example = encode({"messages": TALKS[talk]}, ours)
    shown = pieces(example, ours)
    assert "".join(piece["text"] for piece in shown) == ours.tokenizer.decode(example.ids, skip_special_tokens=False)
    assert [piece["trained"] for piece in shown] == [shown[0]["trained"] ^ (i % 2 == 1) for i in range(len(shown))]
    text = marked(proof([example], ours, 512))
    for piece in shown:
        assert not piece["trained"] or f"[[{piece['text']}]]" in text
    assert f"The loss sees {sum(example.trained)} of {len(example.ids)} tokens" in text


def test_a_reply_that_never_ends_is_refused(template: Callable[[str], ChatTemplate]) -> None:
    endless = template(CHATML.replace("+ '<|im_end|>\n'", "+ '\n'"))
    with pytest.raises(UserError, match="end-of-turn"):
        encode_all([{"messages": TALKS["one turn"]}], endless, 512, "train")


@pytest.mark.parametrize(
    "source",
    [
        "{{ raise_exception('only one system message') }}",
        "{{ messages[0]['content'] + 1 }}",
        "{% for m in messages %}{{ m.content }}",
        "{{ messages.__class__.__mro__[1].__subclasses__() }}",
    ],
)
def test_a_template_that_fails_is_the_users_to_correct(source: str, template: Callable[[str], ChatTemplate]) -> None:
    with pytest.raises(UserError) as caught:
        template(source).render(TALKS["one turn"])
    assert "template" in caught.value.what
    assert caught.value.where.endswith("templated")


def test_a_folder_without_tokenizer_or_template_says_so(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No tokenizer"):
        ChatTemplate(tmp_path)
    folder = tmp_path / "plain"
    shutil.copytree(tiny_model, folder)
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(UserError, match="no chat template"):
        ChatTemplate(folder)
    named = [{"name": "other", "template": "no"}, {"name": "default", "template": CHATML}]
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(config | {"chat_template": named}))
    assert ChatTemplate(folder).source == CHATML
    (folder / "tokenizer.json").unlink()
    with pytest.raises(UserError, match="tokenizer"):
        ChatTemplate(folder).count(TALKS["one turn"])
    (folder / "tokenizer_config.json").write_text("{ half")
    with pytest.raises(UserError, match="tokenizer"):
        ChatTemplate(folder)


def test_every_end_of_turn_that_the_model_knows_ends_a_turn(tiny_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "ends"
    shutil.copytree(tiny_model, folder)
    template = ChatTemplate(folder)
    end, pad = (template.tokenizer.token_to_id(token) for token in ("<|im_end|>", "<pad>"))
    assert template.end_ids == {end}
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [end, pad]}))
    assert ChatTemplate(folder).end_ids == {end, pad}
