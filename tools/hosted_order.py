"""From arguments to an order: the data checked for its provider, the price, what ends, and all of it in words."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from pydantic import Field

from executor.data import store
from executor.data.preference import pair_of
from executor.data.read import open_source
from executor.data.same_rows import sealed_lines, shared_lines
from executor.data.shape import detect_source
from executor.data.source import Source
from executor.errors import UsageError, UserError
from executor.files import sha256_file
from executor.hosted.ledger import DataFile, Order
from executor.hosted.provider import HostedSettings, Method
from executor.hosted.registry import PROVIDERS, ProviderName, address, is_own, key_name
from executor.servers import host_of
from knowledge.load import fact, number
from tools.base import Args
from tools.data import CheckArgs, check_rows
from tools.hosted_ends import ends
from tools.hosted_price import LEVELS, estimate, price_of, tokens_of
from tools.planned import sealed_as_test

NAMES = tuple(PROVIDERS)
PAIR = ("input", "preferred_output", "non_preferred_output")
"""the columns of a preference row, at both providers"""
KINDS = {"supervised": "Supervised training", "dpo": "DPO on pairs of replies"}
SHOWN_LINES = 5
CANNOT_LEARN = ("not_sft", "no_mapping")
"""warnings of `data check` on rows without a reply"""


class EstimateArgs(Args):
    data: str
    """path of a JSON lines file with the training rows"""
    provider: ProviderName
    model: str | None = None
    """the provider's name of the base model; openai has a default"""
    validation: str | None = None
    """path of a file with validation rows"""
    n_epochs: int | None = Field(default=None, ge=1)
    """passes over the data; 3 if not given"""
    batch_size: int | None = Field(default=None, ge=1, le=256)
    """the provider's choice if not given"""
    learning_rate_multiplier: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """openai: of its own rate; its choice if not given"""
    learning_rate: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """together: its default if not given"""
    seed: int | None = Field(default=None, ge=0, le=2**31 - 1)
    suffix: str | None = Field(default=None, pattern=r"^[A-Za-z0-9._-]+$")
    """words in the tuned model's name"""
    base_url: str | None = None
    """another server that speaks the provider's API"""
    key_env: str | None = None
    """name of the environment variable with that server's key (never the key itself); none if it asks for none"""


@dataclass(frozen=True)
class Checked:
    """A file as it would be sent."""

    data: DataFile
    method: Method
    tokens: dict[str, int]
    personal: int
    """places with personal data or secrets"""


@dataclass(frozen=True)
class Ordered:
    """An order with what was found about it."""

    order: Order
    estimate: dict[str, Any]
    warnings: list[str]
    price: str
    """a sentence"""

    def text(self) -> str:
        """What would be sent where, trained how, and its price: what a person reads before approving."""
        order, settings = self.order, self.order.settings
        title, host = PROVIDERS[order.provider].title, host_of(order.url)
        validation = f" and {order.validation.rows} validation rows" if order.validation else ""
        rows = f"{order.data.rows} rows of {Path(order.data.path).name} ({order.data.size:,} bytes){validation}"
        given = {
            "batch size": settings.batch_size,
            "learning rate multiplier": settings.learning_rate_multiplier,
            "learning rate": settings.learning_rate,
            "seed": settings.seed,
            "suffix": settings.suffix,
        }
        chosen = "".join(f", {name} {value:g}" if isinstance(value, float) else f", {name} {value}"
                         for name, value in given.items() if value is not None)  # fmt: skip
        key = f"with the key in {order.key_env}" if order.key_env else "without a key"
        lines = [
            f"Fine-tunes **{settings.model}** at {title}: {rows} are sent to {host}, {key}.",
            f"{KINDS[settings.method]}, {settings.n_epochs} epochs{chosen}; the provider chooses the rest.",
            self.price,
            *(f"**Note:** {warning}" for warning in self.warnings),
        ]
        return "\n\n".join(lines)


def ordered(args: EstimateArgs, today: date) -> Ordered:
    """Raises UserError where the data does not suit the provider or the provider has ended, UsageError."""
    provider, url = args.provider, address(args.provider, args.base_url)
    model = args.model or default_model(provider)
    warnings = ends(provider, url, model, today)
    training = checked(Path(args.data), provider)
    validation = checked(Path(args.validation), provider, few=True) if args.validation else None
    if validation:
        refuse_beside(training, validation)
    personal = training.personal + (validation.personal if validation else 0)
    if personal:
        fix = "`finetune data check` names them, `finetune data clean DATA -o OUT --redact` replaces them."
        warnings = [
            f"Personal data or secrets stand in {personal:,} {'place' if personal == 1 else 'places'} of what is sent. "
            f"{fix}",
            *warnings,
        ]
    order = Order(
        provider=provider,
        url=url,
        key_env=key_name(provider, url, args.key_env),
        data=training.data,
        validation=validation.data if validation else None,
        settings=settings_of(args, model, training.method),
    )
    price = price_of(provider, model, today, training.method)
    also = validation.tokens if validation else dict.fromkeys(LEVELS, 0)
    made = estimate(provider, training.tokens, also, order.settings.n_epochs, price)
    return Ordered(order, made, warnings, priced_in_words(order, made, price.text() if price else None))


def refuse_beside(training: Checked, validation: Checked) -> None:
    """Raises UserError for validation rows that measure nothing."""
    same = training.data.sha256 == validation.data.sha256
    if same or training.method != validation.method:
        what = "The validation rows are the training rows" if same else "The two files differ in kind"
        raise UserError(what, validation.data.path, "Give other rows of the same layout.")
    if lines := shared_lines(Path(validation.data.path), Path(training.data.path), lead=True):
        what = f"{told(lines)} of the validation rows ask what training rows ask"
        raise UserError(what, validation.data.path, "Remove them from one of the two files: `finetune data split`.")


def told(lines: list[int]) -> str:
    """How many rows, and the first of their lines."""
    shown = ", ".join(map(str, lines[:SHOWN_LINES])) + (", ..." if len(lines) > SHOWN_LINES else "")
    return f"{len(lines):,} row{'' if len(lines) == 1 else 's'} (line{'' if len(lines) == 1 else 's'} {shown})"


def default_model(provider: ProviderName) -> str:
    if provider == "openai":
        return str(fact("defaults", "hosted.openai.model").value)
    fix = "Name one that Together fine-tunes, such as --model Qwen/Qwen3-8B."
    raise UsageError(f"{PROVIDERS[provider].title} needs the name of the base model", "--model", fix)


def settings_of(args: EstimateArgs, model: str, method: Method) -> HostedSettings:
    known = PROVIDERS[args.provider]
    epochs = args.n_epochs or int(number("defaults", "hosted.epochs"))
    if epochs > known.most_epochs:
        raise UsageError(f"{known.title} trains {known.most_epochs} epochs at most", "--n-epochs", "Give fewer.")
    for name in ("learning_rate", "learning_rate_multiplier"):
        if getattr(args, name) is not None and name not in known.rates:
            fix = f"Use --{known.rates[0].replace('_', '-')}."
            raise UsageError(f"{known.title} takes no {name}", f"--{name.replace('_', '-')}", fix)
    if args.suffix and len(args.suffix) > known.longest_suffix:
        fix = f"At most {known.longest_suffix} characters."
        raise UsageError(f"The suffix is too long for {known.title}", "--suffix", fix)
    names = ("batch_size", "learning_rate_multiplier", "learning_rate", "seed", "suffix")
    return HostedSettings(model=model, method=method, n_epochs=epochs, **{name: getattr(args, name) for name in names})


def checked(path: Path, provider: ProviderName, few: bool = False) -> Checked:
    """Raises UserError where the file cannot be sent. `few`: of validation rows no least number is asked."""
    path = path.expanduser()
    refuse_size(path, provider)
    source = open_source(path)
    if source.format != "jsonl" or source.encoding not in ("utf-8", "ascii") or path.suffix == ".gz":
        found = f"{source.format}{f' in {source.encoding}' if source.encoding else ''}"
        fix = f"Run `finetune data format {path.name} -o OUT.jsonl` and give the result."
        raise UserError(f"A provider takes JSON lines in UTF-8; this is {found}", str(path), fix)
    sha256 = sha256_file(path)
    if version := sealed_as_test(sha256):
        fix = "Give the training part: a model that has seen the test rows cannot be measured with them."
        raise UserError(f"These rows are the sealed test part of version {version}", str(path), fix)
    if sealed := sealed_lines(path, sha256):
        what = f"{told(sealed[1])} of {path.name} ask what the sealed test part of version {sealed[0].id} asks"
        fix = "Give the training part, or remove them: what has seen the test rows cannot be measured with them."
        raise UserError(what, str(path), fix)
    pairs = detect_source(source).name == "preference"
    rows, personal = valid_rows(path, provider, pairs, few)
    if pairs:
        refuse_pairs(source)
    tokens = tokens_of(record.row for record in source.records() if record.row)
    data = DataFile(path=str(path.absolute()), sha256=sha256, size=path.stat().st_size, rows=rows)
    return Checked(data, "dpo" if pairs else "supervised", tokens, personal)


def refuse_size(path: Path, provider: ProviderName) -> None:
    """OpenAI's limit of one upload, before anything is read."""
    most = number("limits", "openai.max_bytes")
    if provider == "openai" and path.is_file() and path.stat().st_size > most:
        read_on = fact("limits", "openai.max_bytes").read_on
        what = (
            f"{path.name} has {path.stat().st_size / 2**20:,.0f} MB; OpenAI takes {most / 2**20:,.0f} MB in one upload"
        )
        raise UserError(f"{what} (read on {read_on})", str(path), "Give fewer rows: few of them show whether it works.")


def valid_rows(path: Path, provider: ProviderName, pairs: bool, few: bool) -> tuple[int, int]:
    """(rows, places with personal data or secrets), as `data check --for PROVIDER` finds them.

    Raises UserError with the first fault.
    """
    found = check_rows(CheckArgs(path=path, target="local" if pairs else provider))
    faults = [each for each in found.problems if each.severity == "error" and not (few and each.code == "too_few_rows")]
    faults += [each for each in found.problems if each.code in CANNOT_LEARN and not pairs]
    if not faults:
        codes: dict[str, int] = (found.quality or {}).get("codes") or {}
        return found.rows, sum(n for code, n in codes.items() if code == "secret" or code.startswith("pii_"))
    first = faults[0]
    line = f", line {first.line}" if first.line else ""
    what = f"The data is not valid for {provider}: {first.message}{line} (faults: {len(faults)})"
    raise UserError(what, str(path), f"{first.fix} `finetune data check {path.name} --for {provider}` names them all.")


def refuse_pairs(source: Source) -> None:
    """Raises UserError for a preference row that is not in the providers' own layout."""
    for record in source.records():
        row = record.row or {}
        sides = [row.get(name) for name in PAIR[1:]]
        asked = row.get("input")
        laid_out = isinstance(asked, dict) and isinstance(asked.get("messages"), list)
        if not laid_out or not all(isinstance(side, list) and len(side) == 1 for side in sides):
            fix = (
                "Each row needs input.messages, and one assistant message in preferred_output and non_preferred_output."
            )
            raise UserError(f"Line {record.line} is no preference row of the provider's", str(source.path), fix)
        if problems := pair_of(row, record.line)[1]:
            raise UserError(f"Line {record.line}: {problems[0].message}", str(source.path), problems[0].fix)


def priced_in_words(order: Order, made: dict[str, Any], price: str | None) -> str:
    title, tokens, billed = PROVIDERS[order.provider].title, made["tokens"], made["billed_tokens"]
    counted = (
        f"About {tokens['expected']:,} tokens ({tokens['low']:,} to {tokens['high']:,}: estimated, {title}'s tokenizer "
        f"is not here), {billed['expected']:,} billed in {made['epochs']} epochs."
    )
    cost = made["cost_usd"]
    if cost is None:
        return f"{counted} **The price of {order.settings.model} is not known here:** look it up before you agree."
    other = (
        "" if is_own(order.provider, order.url) else f" These are {title}'s prices; {host_of(order.url)} has its own."
    )
    low, expected, high = (usd(cost[level]) for level in LEVELS)
    return f"{counted} Costs about **{expected} USD** ({low} to {high}), at {price}.{other}"


def usd(value: float) -> str:
    return f"{value:.2f}" if value >= 0.1 else f"{value:.4f}"


def test_rows_of(order: Order) -> str | None:
    """The sealed test rows that belong to this training file, where a split made both."""
    try:
        versions = store.all_versions()
    except UserError:
        return None
    for version in reversed(versions):
        parts = version.parts
        if "test" in parts and any(part.sha256 == order.data.sha256 for part in parts.values()):
            return parts["test"].path
    return None
