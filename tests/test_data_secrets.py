"""Secrets: found in many forms, told from what stands for them, and never repeated in a message."""

from __future__ import annotations

import base64
import json
import random
import string
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from executor.data import secrets, sensitive
from executor.data.batch import Batch

ALNUM = string.ascii_letters + string.digits
URL_SAFE = ALNUM + "-_"
EACH = 100
LEAST = 0.95
PLACES = (
    "{}",
    "use {} please",
    'key = "{}"',
    "It is {}.",
    "curl -H 'X-Key: {}' https://api.example.com",
    "line\n{}\nline",
)
Make = Callable[[random.Random], str]


def some(rng: random.Random, count: int, alphabet: str = ALNUM) -> str:
    return "".join(rng.choice(alphabet) for _ in range(count))


def web_token(rng: random.Random) -> str:
    parts = ({"alg": "HS256", "typ": "JWT"}, {"sub": some(rng, 10)})
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts]
    return ".".join([*encoded, some(rng, 43, URL_SAFE)])


def private_key(rng: random.Random) -> str:
    kind = rng.choice(("", "RSA ", "EC ", "OPENSSH "))
    body = "\n".join(some(rng, 64, ALNUM + "+/") for _ in range(5))
    return f"-----BEGIN {kind}PRIVATE KEY-----\n{body}\n-----END {kind}PRIVATE KEY-----"


KEYS: dict[str, Make] = {
    "AWS": lambda r: r.choice(("AKIA", "ASIA")) + some(r, 16, string.ascii_uppercase + "234567"),
    "GitHub": lambda r: r.choice(("ghp_", "gho_", "ghs_")) + some(r, 36),
    "GitHub fine-grained": lambda r: f"github_pat_{some(r, 22)}_{some(r, 59)}",
    "GitLab": lambda r: "glpat-" + some(r, 20, ALNUM),
    "Slack": lambda r: f"xoxb-{some(r, 12, string.digits)}-{some(r, 12, string.digits)}-{some(r, 24)}",
    "Stripe": lambda r: r.choice(("sk_live_", "rk_live_")) + some(r, 24),
    "OpenAI": lambda r: "sk-" + some(r, 48),
    "OpenAI project": lambda r: "sk-proj-" + some(r, 60, ALNUM + "_"),
    "Anthropic": lambda r: "sk-ant-api03-" + some(r, 90, ALNUM + "_") + "AA",
    "Google": lambda r: "AIza" + some(r, 35, ALNUM + "_"),
    "Hugging Face": lambda r: "hf_" + some(r, 34, string.ascii_letters),
    "npm": lambda r: "npm_" + some(r, 36),
    "PyPI": lambda r: "pypi-AgEIcHlwaS5vcmc" + some(r, 120, ALNUM + "_"),
    "SendGrid": lambda r: f"SG.{some(r, 22)}.{some(r, 43)}",
    "Twilio": lambda r: "SK" + some(r, 32, "0123456789abcdef"),
    "DigitalOcean": lambda r: "dop_v1_" + some(r, 64, "0123456789abcdef"),
    "JWT": web_token,
    "PEM": private_key,
}
GIVEN: dict[str, Make] = {
    "URL": lambda r: f"postgres://app:{some(r, 12)}@db.example.com:5432/shop",
    "header": lambda r: f"Authorization: Bearer {some(r, 30, URL_SAFE)}",
    "basic": lambda r: "Authorization: Basic " + base64.b64encode(f"user:{some(r, 9)}".encode()).decode(),
    "password": lambda r: (
        f"{r.choice(('password = ', 'Password: ', 'DB_PASSWORD=', 'pwd: '))}{some(r, 6)}{r.randint(0, 9)}!k"
    ),
    "quoted": lambda r: json.dumps({"user": "jane", "password": some(r, 8) + "4$x"}),
    "spoken": lambda r: f"my password is {some(r, 7)}{r.randint(0, 9)}, please help",
    "key": lambda r: f'{r.choice(("api_key", "API-Key", "client_secret", "apiKey", "auth_token"))}: "{some(r, 30)}7"',
    "environment": lambda r: f"export STRIPE_SECRET={some(r, 32)}5",
    "AWS secret": lambda r: f"aws_secret_access_key = {some(r, 39, ALNUM + '+/')}9",
}


def share_found(make: Make, places: tuple[str, ...]) -> tuple[float, list[str]]:
    rng = random.Random(5)
    texts = [places[i % len(places)].format(make(rng)) for i in range(EACH)]
    missed = [text for text in texts if not secrets.find(text)]
    return 1 - len(missed) / EACH, missed


@pytest.mark.parametrize("name", KEYS)
def test_keys_of_providers_are_found(name: str) -> None:
    share, missed = share_found(KEYS[name], PLACES)
    assert share >= LEAST, missed[:5]


@pytest.mark.parametrize("name", GIVEN)
def test_passwords_and_named_keys_are_found(name: str) -> None:
    share, missed = share_found(GIVEN[name], ("{}", "hello\n{}\nbye", "I set {}"))
    assert share >= LEAST, missed[:5]


@pytest.mark.parametrize(
    "text",
    [
        "api_key = YOUR_API_KEY",
        'api_key="your-api-key-goes-here-123"',
        "OPENAI_API_KEY=sk-xxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        "sk-your-key-here-0123456789abcdef",
        "token: <token>",
        "password = ${DB_PASSWORD}",
        "password: {{ vault_password1 }}",
        "password = os.environ['DB_PASS1']",
        "password = getpass.getpass()",
        "password = hash256(value)",
        'password = "********"',
        "password: required, at least 8 characters",
        "The password is too short.",
        "the password is SHA-256 hashed",
        "password reset link, password: string",
        '{"password": {"type": "string"}}',
        "mysql://user:password@localhost/db",
        "mysql://user:${PASS}@localhost/db",
        "https://example.com:8080/path@2x",
        "Authorization: Bearer <access_token>",
        "Authorization: Bearer YOUR_ACCESS_TOKEN",
        "the bearer responsibilities are listed below",
        "max_tokens: 4096, tokenizer: bert-base-uncased-v2",
        "secret ingredient: 250g mushrooms",
        "commit 9fceb02d0ae598e95dc970b74767f19372d61af8",
        "sha256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "id 123e4567-e89b-12d3-a456-426614174000",
        "sk-fading-circle sk-cube-grid-animation-delay",
        "eyJhbGciOi is how such a token begins",
        "eyJub3RhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abcdefghijkl",
        "-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----",
        "-----BEGIN PUBLIC KEY-----\nMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA\n-----END PUBLIC KEY-----",
        "key: value, primary key: customer_id_2024_archive",
    ],
)
def test_what_stands_for_a_secret_is_none(text: str) -> None:
    assert secrets.find(text) == []


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("password: Xk9!f3qz.", "Xk9!f3qz"),
        ("Here is it, password: a9B7$#fG3&Z1. Enjoy", "a9B7$#fG3&Z1"),
        ("login?password=hunter22&user=jane", "hunter22"),
        ('{\\"password\\": \\"hunter22\\"}', "hunter22"),
        ("redis://:s3cr3tPass@cache:6379", "s3cr3tPass"),
        ("pass MyDog2019! as password: MyDog2019!", "MyDog2019!"),
    ],
)
def test_the_span_is_the_value_alone(text: str, value: str) -> None:
    found = secrets.find(text)
    assert [each.text for each in found] == [value]
    assert text[found[0].start : found[0].end] == value


def test_a_message_names_the_kind_and_hides_the_secret() -> None:
    rng = random.Random(2)
    for make in (*KEYS.values(), *GIVEN.values()):
        text = make(rng)
        row = {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": text}]}
        (problem,) = [p for p in sensitive.judge(Batch.of([row], [3])) if p.code == "secret"]
        assert (problem.line, problem.field) == (3, "assistant")
        for found in secrets.find(text):
            assert found.text[:5] not in problem.message.replace("password", "").replace("-----", "")
    assert (
        "GitHub token"
        in sensitive.judge(Batch([1], texts=["ghp_" + "a1B2c3D4e5F6" * 3], owners=[0], roles=["user"]))[0].message
    )


def test_every_pattern_of_the_table_has_its_source_and_a_literal_start() -> None:
    table = yaml.safe_load(Path(secrets.__file__).with_name("secret_patterns.yaml").read_text(encoding="utf-8"))
    assert len(table) > 20
    for row in table:
        assert row["source"].startswith("https://")
        assert all(len(start) >= 2 for start in row["starts"])


def test_redaction_takes_a_secret_out_and_keeps_the_rest() -> None:
    text = "postgres://app:Tr0ub4dor@db.example.com/x and password: Tr0ub4dor, mail jane@example.com"
    redacted, codes = sensitive.redact(text)
    assert redacted == "postgres://app:[SECRET]@db.example.com/x and password: [SECRET], mail [EMAIL]"
    assert codes == ["secret", "pii_email"]


@given(
    st.sampled_from(
        ["password: ", "token=", "api_key = '", "Bearer ", "://a:", "sk-", "eyJ", "-----BEGIN PRIVATE KEY-----"]
    ),
    st.text(max_size=80),
    st.sampled_from(["", "'", "@host", "\n"]),
)
def test_no_text_breaks_the_search_or_survives_redaction(lead: str, value: str, rest: str) -> None:
    redacted, _ = sensitive.redact(lead + value + rest)
    assert sensitive.find(redacted) == []
