"""Judgements on the quality of well-formed chat rows, each in one pass and with a few bytes a row."""

from __future__ import annotations

from executor.data.judge.answer_format import AnswerFormat
from executor.data.judge.content import Content
from executor.data.judge.label_names import LabelNames
from executor.data.judge.language import Language
from executor.data.judge.slices import Slices
from executor.data.judge.style import Style
from executor.data.judge.systems import Systems
from executor.data.quality import Judge

JUDGES: tuple[type[Judge], ...] = (Content, AnswerFormat, Style, LabelNames, Language, Systems, Slices)
"""those that need nothing but the rows; `production.Mismatch` needs a sample of production prompts besides"""
