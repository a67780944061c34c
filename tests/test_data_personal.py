"""Personal data: found in many forms and places, not found in what only looks like it, and replaced without rest."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from executor.data import personal, secrets, sensitive
from executor.data.batch import Batch
from executor.data.screen import DIGITS

LEAST = 0.95
EACH = 100
Make = Callable[[random.Random], str]
PLACES = (
    "{}",
    "{} is what I gave you last week, please check",
    "Hello, I still wait for an answer. {}",
    "Hi there, you can use {} for it, thank you very much",
    "Customer wrote:\n{}\nand then hung up.",
    "As I said ({}) nothing has changed since Monday.",
    'the form says "{}", is this right?',
)


def digits(rng: random.Random, form: str) -> str:
    """Each # becomes a digit, each @ a capital letter, each N a digit from 2 on."""
    letters = "ABCDEFGHJKLMNPRSTUVWXYZ"
    made = {"#": lambda: rng.choice(DIGITS), "@": lambda: rng.choice(letters), "N": lambda: rng.choice("23456789")}
    return "".join(made[each]() if each in made else each for each in form)


def email(rng: random.Random) -> str:
    name = rng.choice(("jane", "j.roe", "jane_roe", "Jane.Roe", "jroe+shop", "müller", "x", "roe-jane")) + digits(
        rng, "##"
    )
    return f"{name}@{rng.choice(('example.com', 'mail.example.co.uk', 'firma-nord.de', 'uni.edu', 'x1.io'))}"


def phone(rng: random.Random) -> str:
    forms = (
        "+1 212-555-01##",
        "+1 (415) 555-2###",
        "+12125550###",
        "(212) 555-01##",
        "212-555-01##",
        "212.555.01##",
        "+44 20 7946 0###",
        "020 7946 0###",
        "+44 (0)20 7946 0###",
        "07911 123###",
        "07911123###",
        "+447911123###",
        "+49 30 9018####",
        "030 9018####",
        "+49 171 23456##",
        "0171/23456##",
        "0049 30 9018####",
        "089-23456##",
        "+33 6 12 34 5# ##",
        "06 12 34 5# ##",
        "01.42.68.5#.##",
        "+91 98765 4####",
        "+34 612 34 5# ##",
        "+61 2 9374 4###",
        "+81 3-3224-5###",
        "+39 06 6982 1###",
        "phone: 2125550###",
        "call me: 555-01##",
        "mobile 612 345 6##",
        "tel. 5125550###",
        "+1\u00a0212\u00a0555\u00a001##",
        "212\u2011555\u201101##",
    )
    return digits(rng, rng.choice(forms))


def luhn_digit(number: str) -> str:
    total = sum(sum(divmod(int(d) * (2 - i % 2), 10)) for i, d in enumerate(reversed(number)))
    return str(-total % 10)


def card_digits(rng: random.Random, valid: bool = True) -> str:
    start, length = rng.choice((("4", 16), ("51", 16), ("55", 16), ("2221", 16), ("34", 15), ("37", 15), ("6011", 16)))
    body = start + digits(rng, "#" * (length - 1 - len(start)))
    last = luhn_digit(body)
    return body + (last if valid else str((int(last) + rng.randint(1, 9)) % 10))


def grouped(number: str, mark: str) -> str:
    cuts = (0, 4, 10, 15) if len(number) == 15 else (0, 4, 8, 12, 16)
    return mark.join(number[a:b] for a, b in pairwise(cuts))


def card(rng: random.Random) -> str:
    return grouped(card_digits(rng), rng.choice(("", " ", "-")))


def iban(rng: random.Random) -> str:
    forms = {"DE": "#" * 18, "GB": "BARC" + "#" * 14, "AT": "#" * 16, "PL": "#" * 24, "ES": "#" * 20}
    country, form = rng.choice(tuple(forms.items()))
    body = digits(rng, form)
    number = int("".join(str(int(each, 36)) for each in body + country + "00"))
    whole = f"{country}{98 - number % 97:02d}{body}"
    return whole if rng.random() < 0.5 else " ".join(whole[i : i + 4] for i in range(0, len(whole), 4))


def ssn(rng: random.Random) -> str:
    area, group, serial = rng.randint(1, 665), rng.randint(1, 99), rng.randint(1, 9999)
    form = rng.choice(
        ("{:03d}-{:02d}-{:04d}", "SSN: {:03d} {:02d} {:04d}", "social security number is {:03d}{:02d}{:04d}")
    )
    return form.format(area, group, serial)


def national(rng: random.Random) -> str:
    kind = rng.randrange(4)
    if kind == 0:
        number = rng.randint(1_000_000, 99_999_999)
        return f"{number:08d}{'TRWAGMYFPDXBNJZSQVHLCKE'[number % 23]}"
    if kind == 1:
        nine = digits(rng, "1########")
        first = str(sum(int(d) * w for d, w in zip(nine, range(10, 1, -1), strict=True)) * 10 % 11 % 10)
        second = str(sum(int(d) * w for d, w in zip(nine + first, range(11, 1, -1), strict=True)) * 10 % 11 % 10)
        return f"{nine[:3]}.{nine[3:6]}.{nine[6:]}-{first}{second}"
    if kind == 2:
        return digits(rng, "AB ## ## ## C")
    body = rng.choice("1234567") + digits(rng, "#######")
    return f"my SIN is {body}{luhn_digit(body)}"


def network(rng: random.Random) -> str:
    forms = (
        "2001:db8:85a3::8a2e:370:N##N",
        "2a00:1450:4009:80b::N##N",
        "2a02:8109:9ac0:N##f:0:1:2:N#",
        "2600:1f18::N#",
    )
    if rng.random() < 0.3:
        return digits(rng, rng.choice(forms))
    first = rng.choice((23, 45, 81, 91, 104, 142, 185, 203, 212))
    return f"{first}.{rng.randint(20, 250)}.{rng.randint(1, 250)}.{rng.randint(1, 254)}"


def birth(rng: random.Random) -> str:
    day, year = rng.randint(1, 28), rng.randint(1930, 2015)
    date = rng.choice((f"{day:02d}/06/{year}", f"{year}-03-{day:02d}", f"{day} March {year}", f"May {day}, {year}"))
    return f"{rng.choice(('I was born on', 'DOB:', 'date of birth:', 'my birthday is', 'Date of Birth is'))} {date}"


def address(rng: random.Random) -> str:
    street = rng.choice(("Oak", "Maple", "Baker", "Church", "Park Hill", "St. James"))
    kind = rng.choice(("Street", "Avenue", "Road", "Lane"))
    forms = (
        f"{digits(rng, 'N##')} {street} {kind}, Springfield, IL 627{digits(rng, '##')}",
        f"{digits(rng, 'N#')} {street} {kind}, London NW1 6XE",
        f"I live at {digits(rng, 'N#')} {street} Drive",
        f"Gartenstraße {digits(rng, 'N#')}, 10{digits(rng, '###')} Berlin",
    )
    return rng.choice(forms)


def name(rng: random.Random) -> str:
    given_name = rng.choice(("Jane", "John", "María", "Anne-Marie", "Omar"))
    full = f"{given_name} {rng.choice(('Roe', 'McDoe', 'Müller', 'Haddad'))}"
    forms = (
        f"my name is {full}",
        f"Dear Mr {full.split()[1]}",
        f"Dear Dr. {full.split()[1]},",
        f"Kind regards,\n{full}",
    )
    return rng.choice(forms)


def paper(rng: random.Random) -> str:
    return digits(rng, rng.choice(("passport number X########", "my passport no. is ########1", "Passport: @@#######")))


PLANTED: dict[str, Make] = {
    "pii_email": email,
    "pii_phone": phone,
    "pii_credit_card": card,
    "pii_iban": iban,
    "pii_ssn": ssn,
    "pii_national_id": national,
    "pii_ip": network,
    "pii_date_of_birth": birth,
    "pii_address": address,
    "pii_name": name,
    "pii_passport": paper,
}
HARMLESS: tuple[Make, ...] = (
    lambda r: digits(r, "order ########"),
    lambda r: digits(r, "my order number is N##-#######-#######"),
    lambda r: digits(r, "invoice RE-20##-0#### of 2024-05-1#"),
    lambda r: digits(r, "on 1#/0N/202# at 1#:3#"),
    lambda r: digits(r, "from 2024-0N-1# 1#:30:## to 1N.0N.2024"),
    lambda r: digits(r, "it costs $1,2##.50 or €N.###,##"),
    lambda r: digits(r, "I paid 1 2## 000 for it"),
    lambda r: digits(r, "version 1.#.N.#, before it 10.0.19#4#.1"),
    lambda r: digits(r, "python 3.1#.N and numpy 2.N.#"),
    lambda r: digits(r, "isbn: 978-3-16-14841#-#"),
    lambda r: digits(r, "isbn 0-306-4061N-#"),
    lambda r: digits(r, "commit 9fceb02d0ae598e95dc970b74767f19372d61a#N"),
    lambda r: digits(r, "id 123e4567-e89b-12d3-a456-4266141740##"),
    lambda r: digits(r, "ticket N##-N##-####"),
    lambda r: digits(r, "part number ###-##-####"),
    lambda r: digits(r, "tracking number 1Z999AA1012345####"),
    lambda r: "the number " + grouped(card_digits(r, valid=False), r.choice(("", " ", "-"))),
    lambda r: digits(r, "thanks @jane_roe## and @support"),
    lambda r: digits(r, "we are open from 09:00-17:30, since 19##-20##"),
    lambda r: digits(r, "the server 192.168.#.N# or 10.1.N.# under 255.255.255.0"),
    lambda r: digits(r, "call about order N#######"),
    lambda r: digits(r, "epoch 17123456##### and pi 3.14159265358979"),
    lambda r: digits(r, "rows 1000-2000 and 10 20 30 40 50 6#"),
    lambda r: digits(r, "logo@2x.png and git@github.com:acme/tool.git at line 1##"),
    lambda r: digits(r, "the founder was born in 19## in Rome"),
    lambda r: digits(r, "one of the top 1# Wall Street banks"),
    lambda r: "Dear Customer Support, my name is hard to spell. Thank you,\nThe Support Team",
    lambda r: digits(r, "std::vector<int> a[1:2:3] at 12:30:## and 00:1a:2b:3c:4d:5N"),
    lambda r: digits(r, "iban DE00 1234 5678 9012 3456 7#"),
    lambda r: "I lost my passport, how do I get another one within 2024?",
)


def planted(kind: str, seed: int = 7) -> list[tuple[str, str]]:
    """(text, value)"""
    rng = random.Random(f"{kind}{seed}")
    made = [PLANTED[kind](rng) for _ in range(EACH)]
    places = (
        PLACES if kind != "pii_name" else ("{}", "Hello, I still wait for an answer. {}", "He wrote:\n{}\n\nand left")
    )
    return [(places[i % len(places)].format(value), value) for i, value in enumerate(made)]


@pytest.mark.parametrize("kind", PLANTED)
def test_planted_data_is_found_and_taken_for_nothing_else(kind: str) -> None:
    found = [{each.kind for each in personal.find(text)} for text, _ in planted(kind)]
    missed = [value for (_, value), kinds in zip(planted(kind), found, strict=True) if kind not in kinds]
    assert len(missed) <= (1 - LEAST) * EACH, missed
    others = [(value, kinds) for (_, value), kinds in zip(planted(kind), found, strict=True) if kinds - {kind}]
    assert len(others) <= (1 - LEAST) * EACH, others


def test_harmless_numbers_and_phrases_raise_nothing() -> None:
    rng = random.Random(3)
    texts = [PLACES[i % len(PLACES)].format(make(rng)) for i in range(EACH // 4) for make in HARMLESS]
    wrong = [(text, found) for text in texts if (found := sensitive.find(text))]
    assert len(wrong) <= (1 - LEAST) * len(texts) / 5, wrong[:10]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("write to jane.roe@example.com, or a@b.org.", ["jane.roe@example.com", "a@b.org"]),
        ("jane (at) example (dot) com", ["jane (at) example (dot) com"]),
        ("call +44 20 7946 0958 at 10:30", ["+44 20 7946 0958"]),
        ("Pay to DE89 3704 0044 0532 0130 00 and tell me", ["DE89 3704 0044 0532 0130 00"]),
        ("07911 123456 is my mobile", ["07911 123456"]),
        ("SSN 536228726, not 000-12-3456", ["536228726"]),
        ("IPs: 203.0.113.7 and 8.8.8.8", ["203.0.113.7"]),
        ("Regards,\nThe Support Team", []),
        ("My name is Jane Roe and I live at 12 Oak Drive", ["Jane Roe", "12 Oak Drive"]),
        ("It is lost. Name: Jane Roe; city: Rome", ["Jane Roe"]),
        ("Wrong file name: Quarterly Report", []),
        ("Einstein was born on March 14, 1879", []),
        ("postgres://u:hunter22@db.example.com/x", []),
    ],
)
def test_spans_are_exact(text: str, values: list[str]) -> None:
    found = personal.find(text)
    assert [each.text for each in found] == values
    assert [text[each.start : each.end] for each in found] == values


def test_one_warning_for_each_row_role_and_code() -> None:
    talk = [("user", "a@b.org and c@d.org"), ("assistant", "a@b.org?"), ("user", "e@f.org, DOB: 1980-01-02")]
    row = {"messages": [{"role": role, "content": content} for role, content in talk]}
    clean = {"messages": [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "hi"}]}
    problems = sensitive.judge(Batch.of([clean, row], [4, 9]))
    assert sorted((p.line, p.field, p.code) for p in problems) == [
        (9, "assistant", "pii_email"),
        (9, "user", "pii_date_of_birth"),
        (9, "user", "pii_email"),
    ]
    assert {p.severity for p in problems} == {"warning"}


def test_a_batch_is_judged_as_its_texts_are_one_by_one() -> None:
    rng = random.Random(11)
    texts = [text for kind in PLANTED for text, _ in planted(kind, seed=1)] + [make(rng) for make in HARMLESS] * 3
    rng.shuffle(texts)
    batch = Batch(list(range(len(texts))), texts=texts, owners=list(range(len(texts))), roles=["user"] * len(texts))
    alone = {(i, each.kind) for i, text in enumerate(texts) for each in [*personal.find(text), *secrets.find(text)]}
    assert {(p.line, p.code) for p in sensitive.judge(batch)} == alone
    assert {i for i, _ in alone} <= set(sensitive.suspects(texts))


def test_equal_values_share_a_stand_in_within_a_row() -> None:
    stand_ins = sensitive.StandIns()
    first, codes = sensitive.redact("a@b.org or c@d.org, not A@B.org; 212-555-0134", stand_ins)
    assert (first, codes) == ("[EMAIL] or [EMAIL_2], not [EMAIL]; [PHONE]", ["pii_email", "pii_phone"])
    assert sensitive.redact("(212) 555-0134, c@d.org, e@f.org", stand_ins)[0] == "[PHONE], [EMAIL_2], [EMAIL_3]"
    assert sensitive.redact("[EMAIL] is not a@b.org")[0] == "[EMAIL] is not [EMAIL_2]"


PIECES = st.sampled_from(
    [make(random.Random(seed)) for seed in range(3) for make in (*PLANTED.values(), *HARMLESS)]
    + ["password: Xk9!f3qz", "ghp_" + "a1B2c3D4e5F6" * 3, " ", "\n", ": ", "-", "@", ".", "[EMAIL]", "call ", "0", "+"]
)


@given(st.one_of(st.text(), st.lists(PIECES, max_size=8).map("".join)))
@example("password: a@b.org1@c.de")
@example("İ name: Jane Roe")
def test_redaction_leaves_nothing_and_changes_nothing_twice(text: str) -> None:
    redacted, codes = sensitive.redact(text)
    assert sensitive.find(redacted) == []
    assert sensitive.redact(redacted) == (redacted, [])
    assert bool(codes) == (redacted != text)
