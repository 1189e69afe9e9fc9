"""Which language a text is probably in: by its script, and for Latin letters by the commonest little words.

Enough to say what a data set is made of; short texts without any of these words stay undecided.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter

UNDECIDED = "und"
SCRIPTS = {
    "Hiragana": "ja", "Katakana": "ja", "Hangul": "ko", "Cjk": "zh", "Greek": "el", "Hebrew": "he", "Thai": "th",
    "Cyrillic": "Cyrillic", "Arabic": "Arabic", "Devanagari": "Devanagari", "Bengali": "bn", "Tamil": "ta",
}  # fmt: skip
"""First word of a letter's Unicode name to a language, or to the script itself where several share it."""
WORDS = {
    "en": "the and is i to it you my of that not for was with this have are but me do what how can on in a an please "
    "no at from or when why all any been they will would just still by out up if so there after",
    "de": "der die das und ist ich nicht ein eine es zu mit auf für von den wir sie mein meine habe wie bitte kann",
    "fr": "le la les et est je ne pas un une de des que pour mon ma vous avec sur il du au ce mais comment bonjour",
    "es": "el la los y es que no un una de en por para con mi se me lo las pero cómo está hola qué del al",
    "it": "il la e è che non un una di in per con mi ho si lo gli ma come sono del della ciao questo",
    "pt": "o a os e é que não um uma de em por para com meu minha se me mas como está do da você isso",
    "nl": "de het een en is ik niet van dat op te met mijn voor maar hoe wat kan zijn heb er aan deze naar",
    "sv": "och det är jag inte en ett att på med för min som hur kan har till av den men om var",
    "pl": "nie i w na się jest to z że do mam mój jak czy ale po proszę dla mnie co już moje od",
    "tr": "bir ve bu ne için ile çok ben mi değil var da de nasıl ama bana benim olarak gibi daha",
}
"""The commonest words by language, separated by blanks."""
_WORD = re.compile(r"[^\W\d_]+")
_LANGUAGES: dict[str, list[str]] = {}
for _language, _words in WORDS.items():
    for _word in _words.split():
        _LANGUAGES.setdefault(_word, []).append(_language)


def guess_language(text: str) -> str:
    """Code of the likeliest language of a text, a script that several share, or `und`."""
    letters = [letter for letter in text[:400] if letter.isalpha()][:200]
    scripts = Counter(unicodedata.name(letter, "unknown").split()[0].title() for letter in letters)
    if not scripts:
        return UNDECIDED
    if scripts["Hiragana"] or scripts["Katakana"]:  # Japanese, however many Chinese characters there are
        return "ja"
    [(script, _)] = scripts.most_common(1)
    if script != "Latin":
        return SCRIPTS.get(script, script)
    votes: Counter[str] = Counter()
    for word in _WORD.findall(text[:2_000].casefold()):
        for language in (found := _LANGUAGES.get(word, [])):
            votes[language] += 1 / len(found)  # type: ignore[assignment]
    return votes.most_common(1)[0][0] if votes else UNDECIDED
