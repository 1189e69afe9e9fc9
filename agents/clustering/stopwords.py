"""Words that carry no topic, for naming clusters: many of English, the commonest of six other languages.

Languages that are not here rely on frequencies: words that most clusters share are dropped too.
"""

from __future__ import annotations

_DROPPED = """
a an the this that these those there here it its it's itself i i'm i've i'd i'll im ive me my mine myself you
your yours you're youre u ur we we're we've our ours us they they're their them he she his her him who whom
whose which am is are was were be been being isn't do does did doing done have has had having can could will
would shall should may might must let let's lets please pls plz kindly thanks thank hi hello hey dear just
really very also too so then than as if because since while although though but or what what's whats how how's
why when where want wanted wanna need needed needs like know known tell told say see think thought get got
getting gotten give gave given make made go going gonna try tried trying use help ask asked wondering wonder
possible able any anything some something someone everything every all both each either neither other another
such same own more most much many few less least lot lots bit only even still already yet again ever never
always now ok okay yes yeah oh well sure right good best thing things way kind sort one ones two about into onto
out up down off over under between through during before after above below until against ain't that's there's
here's he's she's it'd it'll we'll they've who's where's when's didn't etc eg ie via per could've would've
should've might've anyone anybody somebody everyone nobody s t d ll m re ve
"""
_DROPPED_ELSEWHERE = """
der die das den dem des ein eine einen einem einer und oder aber ich sie er es wir ihr mir mich uns ihnen ist sind war
habe haben hat hatte kann können könnten möchte nicht kein keine mit von zu zum zur auf für im ist wie was wann wo wenn
dass bitte danke guten tag hallo mein meine meinen meiner noch schon auch nur sehr
le la les un une des du de et ou mais je tu il elle nous vous ils mon ma mes votre vos est sont ai avez avons pas ne que
qui quoi pour dans sur avec sans ce cette ces bonjour merci j'ai c'est n'est d'un d'une l'ai s'il plus très comment au
el los las una unos y o pero yo tú él ella mi mis su sus es son está he ha han no que qué por para en con sin al del se
me te lo hola gracias como cómo cuándo dónde muy más ya pueden puedo quiero
il lo gli i uno che di da in per con su non sono è ho hai ha mio mia miei vostro vorrei posso come quando dove
buongiorno salve grazie della dello dei delle nel sul ma anche molto più
o os as um uma e mas eu você meu minha não é são está tem para com em no na do da que como quando onde obrigado olá
het een en of maar ik jij je u wij mijn uw is zijn was heb hebt heeft niet geen met van te op voor in dat die wat hoe
wanneer waar als bedankt hallo graag
i w z na do się jest nie to że jak czy ale mi mój moja proszę dzień dobry dziękuję
"""
_INNER_ONLY = "of in on to for from with without by at and no not"

INNER_ONLY = frozenset(_INNER_ONLY.split())
"""Kept within a phrase ("cost of living", "card not working"), never at its ends."""

DROPPED = frozenset(_DROPPED.split()) | (frozenset(_DROPPED_ELSEWHERE.split()) - INNER_ONLY)
"""Dropped before phrases are made."""
