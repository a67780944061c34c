"""What an MCP client reads: the cards of the knowledge base as resources, the six triggers as prompts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import mcp_types as types
from mcp.shared.exceptions import MCPError

from knowledge.load import cards, references

SCHEME = "finetune://cards/"
INVALID = -32602
"""JSON-RPC's code for wrong parameters"""


@dataclass(frozen=True)
class Trigger:
    """A phrase that starts one of the workflows."""

    name: str
    title: str
    phrase: str
    """with `{}` where the argument goes"""
    argument: str | None
    tools: str
    """what to do first"""


TRIGGERS = (
    Trigger("decide", "Should I fine-tune?", "Should I fine-tune for {}?", "task", "decide"),
    Trigger("prepare_data", "Format data for fine-tuning", "Format {} for fine-tuning", "file",
            "data_inspect, data_check, then data_format"),
    Trigger("choose_model", "Which model to fine-tune?", "Which model should I fine-tune for {}?", "task",
            "recommend_models"),
    Trigger("configure", "Fine-tuning parameters", "Fine-tuning parameters for {}", "goal",
            "plan for a file, else look_up"),
    Trigger("evaluate", "Evaluate the fine-tuned model", "Evaluate the fine-tuned model {}", "run",
            "runs show, then evaluate"),
    Trigger("debug", "Fine-tuning loss not decreasing", "My fine-tuning goes wrong: {}", "symptom", "diagnose"),
)  # fmt: skip


async def list_resources(ctx: Any, params: Any) -> types.ListResourcesResult:
    found = [
        types.Resource(
            name=card.id,
            title=card.title,
            uri=SCHEME + card.id,
            mime_type="text/markdown",
            description=", ".join(card.keywords[:8]),
        )
        for card in cards()
    ]
    return types.ListResourcesResult(resources=found)


async def read_resource(ctx: Any, params: types.ReadResourceRequestParams) -> types.ReadResourceResult:
    card = next((card for card in cards() if SCHEME + card.id == str(params.uri)), None)
    if card is None:
        raise MCPError(code=INVALID, message=f"There is no card {params.uri}")
    sources = [
        f"- [{each['id']}] {each['title']} {each['url'] or ''}".rstrip() for each in references(card.citations())
    ]
    listed = "\n\n## Sources\n" + "\n".join(sources) if sources else ""
    text = f"# {card.title}\n\n{card.body}{listed}\n"
    return types.ReadResourceResult(
        contents=[types.TextResourceContents(uri=str(params.uri), mime_type="text/markdown", text=text)]
    )


async def list_prompts(ctx: Any, params: Any) -> types.ListPromptsResult:
    return types.ListPromptsResult(prompts=[described(each) for each in TRIGGERS])


def described(trigger: Trigger) -> types.Prompt:
    named = [types.PromptArgument(name=trigger.argument, required=True)] if trigger.argument else []
    return types.Prompt(name=trigger.name, title=trigger.title, description=trigger.phrase, arguments=named)


async def get_prompt(ctx: Any, params: types.GetPromptRequestParams) -> types.GetPromptResult:
    trigger = next((each for each in TRIGGERS if each.name == params.name), None)
    if trigger is None:
        names = ", ".join(each.name for each in TRIGGERS)
        raise MCPError(code=INVALID, message=f"There is no prompt {params.name}. Prompts: {names}")
    given = (params.arguments or {}).get(trigger.argument or "", "").strip()
    if trigger.argument and not given:
        raise MCPError(code=INVALID, message=f"The prompt {trigger.name} needs {trigger.argument}")
    words = (
        f"{trigger.phrase.format(given)}\n\nUse the tools of this server: {trigger.tools}. Cite the sources they give."
    )
    message = types.PromptMessage(role="user", content=types.TextContent(text=words))
    return types.GetPromptResult(description=trigger.title, messages=[message])
