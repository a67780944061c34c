"""Answers that do not end well: those that repeat themselves over and over, and those that stop in the middle."""

from __future__ import annotations

import re
import zlib
from collections import Counter

_SHORTEST = 60
"""characters; shorter texts repeat a word for emphasis"""
_TAIL = 16
"""characters at the end that are looked for before the end"""
_WINDOW = 4000
"""characters before the end in which a loop that runs to the end is seen"""
_SHORT = 400
"""characters up to which pieces at the quarters show a loop; counting words would cost more"""
_PIECE = 8
_TIMES = 4
"""repetitions in a row that no one writes on purpose"""
_TOKENS = 8
"""the same word in a row that no one writes on purpose"""
_LONG = 1000
_LOOPING = 0.05
"""compressed size over size of a text that repeats itself; prose compresses to about 0.4"""
_COVERED = 0.5
"""share of a text that its repeated sentence covers"""
_SENTENCE = 12
"""characters of a sentence that counts as repeated; shorter are "Yes." and closing braces"""
_SAME = re.compile(r"([^\W\d_])\1{24,}")
_SAME_WORDS = re.compile(rf"(?<!\w)(\w{{1,30}})(?:\W{{1,3}}\1(?!\w)){{{_TOKENS - 1},}}", re.IGNORECASE)
_SPLIT = re.compile(r"[.!?\n。！？]+")
_LETTER = re.compile(r"[^\W\d_]")

_OPEN_END = re.compile(
    r"(?:[,;(\[{“„«&+–—]|(?<=\w)-)$"
    r"|[ \n](?:the|a|an|of|to|and|or|but|with|for|your|our|my|their|his|its|in|at|from|by|is|are|was|were|will|because"
    r"|that|which|if|when|please|we|you|they|i|und|oder|der|die|das|mit|für|ein|eine|zu|et|ou|le|la|les|de|des|un|une"
    r"|y|el|los|con|para|e|il|di|che)$",
)
"""characters and words after which more must come"""
_EMOTICON = re.compile(r"[:;=8xX]['^-]?[(\[]")
_CODE = re.compile(
    r";\n|\n {4}\S|=>|\(\);|^\s*(?:def|class|import|from|SELECT|const|var|let|function)\s|^\s*#include", re.MULTILINE
)
_ITEM = re.compile(r"^\s*(?:[-*•+]|\d+[.)])\s?")
_SIGNATURE = 5
"""words of a last line that may be a name or an item rather than a sentence"""
_SENTENCE_WORDS = 6
_STOPS = tuple(".!?:…。！？")


def suspicious(text: str) -> bool:
    """Whether a text may repeat itself: pieces of it recur, it has few different words, or no words at all."""
    size = len(text)
    if size < _SHORTEST:
        return False
    if text.count(text[-_TAIL:], max(0, size - _WINDOW)) >= _TIMES - 1:
        return True
    if size < _SHORT:
        quarter = size // 4
        return (
            text.count(text[quarter : quarter + _PIECE]) >= _TIMES - 1
            or text.count(text[2 * quarter : 2 * quarter + _PIECE]) >= _TIMES - 1
            or text.count(text[3 * quarter : 3 * quarter + _PIECE]) >= _TIMES - 1
        )
    words = text.split()
    n = len(words)
    # prose of n words has about n ** -0.15 as many different ones (Heaps' law with its usual exponents)
    return n * 25 < size or len(set(words)) < 0.75 * n**0.85


def loops(text: str) -> str | None:
    """What a text says over and over, or None. Texts that are no loop and compress well (tables) are none."""
    unit = _tail_loop(text)
    if unit is None and (found := _SAME.search(text) or _SAME_WORDS.search(text)):
        unit = found.group(1) if _LETTER.search(found.group(1)) else None
    if unit is None:
        parts = Counter(part for part in map(str.strip, _SPLIT.split(text)) if len(part) >= _SENTENCE)
        sentence, times = parts.most_common(1)[0] if parts else ("", 0)
        if times >= _TIMES and times * len(sentence) >= _COVERED * len(text) and _LETTER.search(sentence):
            unit = sentence
    if unit is None and len(text) > _LONG:
        data = text.encode("utf-8", "surrogatepass")
        unit = text[:_TAIL] if len(zlib.compress(data, 1)) < _LOOPING * len(data) else None
    return unit


def _tail_loop(text: str) -> str | None:
    """The shortest piece that is said at least `_TIMES` times at the end, covers enough, and is no ruled line."""
    text = text.rstrip()
    size = len(text)
    earlier = text.rfind(text[-_TAIL:], max(0, size - _WINDOW), size - 1)
    if earlier < 0:
        return None
    period = size - _TAIL - earlier
    unit = text[-period:]
    times = max(_TIMES, -(-_SHORTEST // period))
    return unit.strip() if text.endswith(unit * times) and _LETTER.search(unit) else None


def cut_off(text: str) -> str | None:
    """Why an answer without a final punctuation mark is certainly cut off, or None."""
    if _CODE.search(text):
        return None
    if found := _OPEN_END.search(text[-24:]):
        return f'ends with "{found.group().strip()}"'
    bare = _EMOTICON.sub("", text) if "(" in text or "[" in text else text
    for opening, closing in ("()", "[]", "“”", "«»", "「」", "（）"):
        if bare.count(opening) > bare.count(closing) and bare.rfind(opening) > bare.rfind(closing):
            return f'a "{opening}" is never closed'
    quoted = re.sub(r"\d\"", "", bare)
    return 'a quotation mark (") is never closed' if quoted.count('"') % 2 else None


def open_fence(text: str) -> bool:
    """Whether a block of code begins and never ends."""
    return sum(line.lstrip().startswith("```") for line in text.split("\n")) % 2 == 1 and text.count("```") % 2 == 1


def unfinished(text: str) -> bool:
    """Whether an answer without final punctuation ends like a sentence: no item, name, title, link or number."""
    start = text.rfind("\n") + 1
    line = text[start:]
    if start and (_ITEM.match(line) or line.count(" ") < _SIGNATURE):
        return False
    lines = text.split("\n")
    if len(lines) > 2 and sum(each.rstrip()[-1:] in _STOPS for each in lines if each.strip()) < len(lines) / 3:
        return False  # verse, or a list
    words = text.split()
    title = sum(word[:1].isupper() for word in words) > len(words) / 2
    enough = len(words) >= _SENTENCE_WORDS or not text.isascii()
    return enough and words[-1].isalpha() and not title and not _CODE.search(text)
