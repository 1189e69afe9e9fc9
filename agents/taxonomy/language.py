"""Is a text plainly not in the language that was asked for? Told from scripts, and from small words.

Only a plain case counts: names of things are the same in many languages, and a false alarm costs a call.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_SMALL_WORDS = {
    "english": "the of and to in is that for with or are not this from by on about what who how an their when",
    "german": "der die das und ist nicht mit für von den dem ein eine einer auf zu im sich wird werden über bei oder",
    "french": "le la les des et est une pour dans sur avec qui que pas du au aux ou par ne sont cette ce",
    "spanish": "el los las y es una por para con que del al se su lo como pero más sobre no cuando o",
    "italian": "il gli della delle di e è che un per con non sono si del dei nella alla da su come o",
    "portuguese": "o os as um uma e é que para com não do da dos das em no na por ao ou se",
    "dutch": "de het een en van is dat niet met voor op zijn aan te er om of door bij naar die",
    "swedish": "och att det som en är på för av med den till inte ett om har vid eller",
    "polish": "i w na z do nie się jest że o jak po od za dla przez lub oraz są",
    "turkish": "ve bir bu ile için da de olarak veya olan gibi daha değil ne",
}
_WORDS = {name: frozenset(words.split()) for name, words in _SMALL_WORDS.items()}
_SCRIPTS = {
    "russian": "Ѐ-ӿ", "ukrainian": "Ѐ-ӿ", "bulgarian": "Ѐ-ӿ", "greek": "Ͱ-Ͽ", "hebrew": "\u0590-\u05ff",
    "arabic": "\u0600-\u06ff", "persian": "\u0600-\u06ff", "hindi": "\u0900-\u097f", "thai": "\u0e00-\u0e7f",
    "korean": "\uac00-\ud7af", "japanese": "\u3040-\u30ff\u3400-\u9fff", "chinese": "\u3400-\u9fff",
}  # fmt: skip
_LATIN = re.compile(r"[A-Za-zÀ-ɏ]")
_OTHER = re.compile("[" + "".join(sorted(set(_SCRIPTS.values()))) + "]")
_FEWEST = 6
"""Small words of another language that must have been seen."""
_TIMES = 3
"""So many times more of them than of the language that was asked for."""


def foreign(texts: Iterable[str], language: str) -> str | None:
    """What the texts are written in where that is plainly not `language`; None where it may be, or nobody can tell.

    Args:
        texts: Names and descriptions.
        language: As a user writes it: "English"; one that is not known here is never complained about.
    """
    whole, wanted = "\n".join(texts), language.strip().casefold()
    if wanted in _SCRIPTS:
        own = len(re.findall(f"[{_SCRIPTS[wanted]}]", whole))
        return "Latin letters" if len(_LATIN.findall(whole)) > _TIMES * max(own, 1) else None
    if wanted not in _WORDS:
        return None
    if len(_OTHER.findall(whole)) > len(_LATIN.findall(whole)):
        return "another script"
    words = re.findall(r"[^\W\d_]+", whole.casefold())
    counts = {name: sum(word in small for word in words) for name, small in _WORDS.items()}
    best = max(counts, key=lambda name: counts[name])
    if counts[best] >= _FEWEST and counts[best] > _TIMES * counts[wanted]:
        return best.capitalize()
    return None
