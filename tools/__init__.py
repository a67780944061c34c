"""The typed verbs of the product. One tuple; commands, agent tools and MCP tools are made from it."""

from __future__ import annotations

from typing import Any

from tools.base import Tool
from tools.data import LOOK_TOOLS
from tools.data_write import WRITE_TOOLS
from tools.decide import DECIDE
from tools.describe import DESCRIBE_TOOLS
from tools.diagnose import DIAGNOSE
from tools.evaluate import EVALUATE
from tools.export import EXPORT
from tools.hosted import HOSTED_TOOLS
from tools.jobs import COMPARE, GO
from tools.look_up import FACTS, LOOK_UP
from tools.models import RECOMMEND_MODELS
from tools.plan import PLAN, PROBE
from tools.runs import RUNS
from tools.sample import SAMPLE_TOOLS
from tools.serving import TRY
from tools.train import TRAIN
from tools.versions import VERSION_TOOLS

TOOLS: tuple[Tool[Any, Any], ...] = (
    DECIDE,
    LOOK_UP,
    RECOMMEND_MODELS,
    DIAGNOSE,
    FACTS,
    *LOOK_TOOLS,
    *WRITE_TOOLS,
    *SAMPLE_TOOLS,
    *VERSION_TOOLS,
    *DESCRIBE_TOOLS,
    PLAN,
    PROBE,
    COMPARE,
    GO,
    TRAIN,
    EVALUATE,
    EXPORT,
    *HOSTED_TOOLS,
    TRY,
    RUNS,
)
