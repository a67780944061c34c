"""Which model thinks: settings, keys, and what a provider's failure tells the user."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.models import chat_model, failure
from agent.settings import load_settings, settings_file
from tools.base import UserError


def test_a_provider_failure_never_shows_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "secret-value-1")
    error = failure(ConnectionError("bad secret-value-1 here"), "openai:x")
    assert error is not None
    assert "secret-value-1" not in error.line()
    assert failure(ZeroDivisionError("x"), "openai:x") is None


def test_a_missing_key_or_provider_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(UserError, match="No usable key") as caught:
        chat_model("openai:gpt-x", None)
    assert "OPENAI_API_KEY" in caught.value.fix
    with pytest.raises(UserError) as caught:
        chat_model("anthropic:x", None)
    assert "pip install langchain-anthropic" in caught.value.fix
    with pytest.raises(UserError, match="Unknown model"):
        chat_model("nonsense:x", None)


def test_where_settings_come_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINETUNE_HOME", str(tmp_path))
    monkeypatch.delenv("FINETUNE_MODEL", raising=False)
    monkeypatch.delenv("FINETUNE_BASE_URL", raising=False)
    assert load_settings().model == "offline"
    settings_file().write_text("model: openai:file\nbase_url: http://localhost:1\n")
    assert (load_settings().model, load_settings().base_url) == ("openai:file", "http://localhost:1")
    monkeypatch.setenv("FINETUNE_MODEL", "openai:environment")
    assert load_settings().model == "openai:environment"
    assert load_settings("offline").model == "offline"


@pytest.mark.parametrize(
    "text",
    ["api_key: abc", "model: gpt", "model: ':'", "base_url: ftp://x", "base_url: http://me:pw@host", "- a", "a: ["],
)
def test_wrong_settings_are_one_clear_line(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINETUNE_HOME", str(tmp_path))
    settings_file().write_text(text)
    monkeypatch.delenv("FINETUNE_MODEL", raising=False)
    monkeypatch.delenv("FINETUNE_BASE_URL", raising=False)
    with pytest.raises(UserError) as caught:
        load_settings()
    assert str(tmp_path) in caught.value.line()


@pytest.mark.parametrize("name", ["gpt-oss:20b", "o3:mini", "gpt-4o:x"])
def test_a_name_that_looks_like_a_provider_gets_nobodys_key(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-openai-alone")
    for url in (None, "http://127.0.0.1:1/v1"):
        with pytest.raises(UserError, match="Unknown model"):
            chat_model(name, url)


@pytest.mark.parametrize("provider", ["openai", "anthropic", "gpt-oss"])
def test_no_providers_key_goes_to_a_host_that_was_not_named_for_it(
    provider: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
        monkeypatch.setenv(variable, "sk-of-its-own-host")
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with pytest.raises(UserError, match="Which key is for"):
        chat_model(f"{provider}:m", "http://192.0.2.2/v1")
    with pytest.raises(UserError, match="unencrypted"):
        chat_model(f"{provider}:m", "http://192.0.2.2/v1", key_env="OPENAI_API_KEY")
