"""Answers in which a model declines to help, in several phrasings and languages."""

from __future__ import annotations

import re

from executor.data.screen import Mask, Screen

_HEAD = 400
"""characters of an answer in which a refusal stands; later on it speaks of something else"""
_CANNOT = (
    r"\b(?:i|we) (?:(?:simply |really |just )?(?:can ?not|can't|won't)"
    r"|(?:am|are|'m|'re) (?:currently |simply )?(?:unable|not able|not allowed) to"
    r"|(?:do not|don't) have the ability to)|\b(?:i'm|we're) (?:unable|not able|not allowed) to"
)
_ENGLISH = re.compile(
    rf"(?:{_CANNOT}) (?:help|assist|support|aid)(?: you)?(?: here| further)?(?: (?:with|in|on) (?:that|this|it|such"
    r"|your request|those|these|any of|creating|writing|generating|finding ways)|\.|,|;|$)"
    rf"|(?:{_CANNOT}) (?:comply|fulfil|fulfill|complete|carry out|engage|participate|honou?r)\b(?: with| in)? "
    r"?(?:that|this|your|the|such|it)\b"
    rf"|(?:{_CANNOT}) (?:answer|respond to|discuss|do|talk about) (?:that|this|it|such|your)\b"
    r"(?!.{0,40}\b(?:until|unless|before)\b)"
    rf"|(?:{_CANNOT}) (?:provide|share|offer|give|create|generate|write|produce)(?: you)?(?: with)? (?:that\b|this kind"
    r"|this type|such|any (?:information|content|advice|guidance|instructions)|content|explicit|harmful|instructions"
    r"|guidance on|assistance with|information (?:on|about) (?:how|that|this)|(?:medical|legal|financial) advice)"
    r"|\b(?:as|i am|i'm|being)(?: just| only)? an? (?:ai|artificial intelligence|large)[ -]language[ -]model\b"
    r"|\bas an? (?:ai|artificial intelligence)(?: model| assistant| chatbot| system)?,? (?:i|it is|my)\b.{0,40}"
    r"(?:n't|not|unable|against|no )"
    r"|\b(?:goes|is|be|are) against my (?:programming|guidelines|policy|policies|principles)\b"
    r"|\bi must (?:respectfully )?decline\b|\bi (?:have to|will have to) decline (?:this|that|your)\b",
)
_OTHERS = re.compile(
    "|".join(
        (
            r"no (?:puedo|podemos) (?:ayudar|asistir|cumplir|responder a es|proporcionar es)",
            r"como (?:un )?modelo de lenguaje|como (?:una )?(?:ia|inteligencia artificial),? no",
            r"ne (?:peux|pouvons) pas (?:vous |t'|t’)?(?:aider|répondre à c|satisfaire|accéder à c)",
            r"en tant qu(?:e modèle de lang|'ia\b|'intelligence artificielle)",
            r"(?:kann|können) (?:ich |wir )?(?:ihnen |dir |euch )?(?:leider )?"
            r"(?:dabei |damit |hierbei |bei dieser anfrage )?(?:leider )?nicht (?:weiter)?(?:helfen|behilflich)",
            r"als (?:ein )?ki[- ](?:sprach)?(?:modell|assistent)|als (?:ein )?sprachmodell",
            r"non (?:posso|possiamo) (?:aiutar|assister|rispondere a quest|soddisfare)",
            r"(?:come|in quanto) (?:un )?modello (?:di lingu|linguistico)",
            r"não (?:posso|podemos) (?:ajudar|ajudá|auxiliar|atender a ess|responder a ess)",
            r"como (?:um )?modelo de linguagem",
            r"kan (?:ik )?(?:u |je |jou )?(?:hier|daar)?(?:bij|mee|aan)? ?niet (?:bij |mee )?helpen",
            r"als (?:een )?(?:ai-)?taalmodel",
            r"nie mogę (?:ci |państwu |panu |pani )?(?:w tym )?pomóc|jako model językowy",
            r"kan (?:jag )?(?:tyvärr )?inte hjälpa|som (?:en )?(?:ai-)?språkmodell",
            r"kan (?:jeg )?(?:desværre |dessverre )?ikke hj[æe]lpe",
            r"не (?:могу|можем) (?:вам |тебе )?(?:с этим )?(?:помочь|выполнить эт|ответить на эт)",
            r"как (?:языковая модель|искусственный интеллект|ии\b)",
            r"не можу (?:вам )?(?:з цим )?допомогти|як мовна модель",
            r"yardımcı olamam|bir (?:yapay zeka )?dil modeli olarak",
            r"(?:无法|不能|無法)(?:为您|为你|為您)?(?:协助|帮助(?:您|你)|提供(?:帮助|协助|此类|这类)|满足(?:您|你|这)|協助)",
            r"(?:无法|不能|無法)回答(?:这个|该|您|此)|作为(?:一个|一名|一款)?(?:人工智能|ai|大?语言模型)",
            r"(?:お手伝い|お答え|お応え)(?:することは|は)?できません|(?:ai|大規模)?言語モデルとして",
            r"(?:도와드릴|도움을 드릴|답변해 ?드릴|답변드릴) 수 없|언어 모델로서",
            r"لا (?:أستطيع|يمكنني) (?:مساعدتك|المساعدة)|كنموذج لغ",
            r"(?:मदद|सहायता) नहीं कर सक",
            r"tidak (?:bisa|dapat) membantu|không thể (?:giúp|hỗ trợ)",
        )
    )
)
_HINTS = (
    *(
        "cannot",
        "can't",
        "can not",
        "unable",
        "not able",
        "not allowed",
        "won't",
        "decline",
        "against my ",
        "the ability",
    ),
    *("model", "as an ai", "as an artificial"),
    *("no puedo ", "no podemos ", "peux pas ", "pouvons pas ", "en tant qu", "helfen", "behilflich", "als ki"),
    *("posso a", "possiamo a", "podemos a", "como ia", "como una i", "helpen", "nie mog", "inte hj", "ikke hj"),
    *("yard", "membantu"),
)
"""one of these stands in every refusal in Latin script that the patterns know"""
_WIDE_HINTS = ("can\u2019t", "won\u2019t", "modèle")


def suspects(screen: Screen) -> Mask:
    """Which answers are worth a closer look."""
    mask = screen.holding_folded(*_HINTS)
    if screen.is_ascii:
        return mask
    return mask | screen.holding_folded(*_WIDE_HINTS) | (2 * screen.non_ascii >= screen.lengths)


def refusal(answer: str) -> str | None:
    """The words with which an answer declines, or None."""
    head = answer[:_HEAD].lower().replace("\u2019", "'")
    found = _ENGLISH.search(head) or _OTHERS.search(head)
    return found.group().strip(" .,;") if found else None
