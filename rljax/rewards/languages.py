"""Which language a text is written in, told by its script or by its most frequent words.

A coarse judge: languages of one script are told apart only where `FREQUENT` has both.
"""

from __future__ import annotations

from rljax.rewards import style, units

BY_SCRIPT = {
  'ar': 'arabic', 'bg': 'cyrillic', 'bn': 'bengali', 'el': 'greek', 'fa': 'arabic',
  'gu': 'gujarati', 'he': 'hebrew', 'hi': 'devanagari', 'ja': 'japanese', 'kn': 'kannada',
  'ko': 'hangul', 'ml': 'malayalam', 'mr': 'devanagari', 'ne': 'devanagari', 'pa': 'gurmukhi',
  'ru': 'cyrillic', 'ta': 'tamil', 'te': 'telugu', 'th': 'thai', 'uk': 'cyrillic', 'ur': 'arabic',
  'zh': 'han',
}
FREQUENT = {
  language: frozenset(words.split())
  for language, words in {
    'de': 'der die das und ist nicht ein eine ich sie es mit auf für von zu den dem auch wie',
    'en': 'the and is not a an of to in it that for with on as are was this you be have',
    'es': 'el la los las y es no un una de que en por con para se su lo como más',
    'fi': 'ja on ei se että hän oli mutta kun niin myös ovat tämä joka voi sen ole kuin',
    'fr': 'le la les et est ne pas un une des de que qui dans pour avec sur il elle au',
    'it': 'il lo la gli e è non un una di che in per con sono del della si come più',
    'nl': 'de het een en is niet van dat ik je met voor op zijn er aan ook als maar wordt',
    'pl': 'i nie w na z że to się do jest jak ale o co tak za od po przez są',
    'pt': 'o a os as e é não um uma de que em por com para se seu mais como do da',
    'sv': 'och är inte en ett det att som på för med jag han hon den av till har om',
    'vi': 'và là không của một có trong được cho người này những các với để khi đã',
  }.items()
}
"""Language → words that few texts in it lack."""


def is_written_in(text: str, language: str) -> bool:
  """Whether most letters are of the language's script, or its frequent words the commonest here.

  Args:
    text: any.
    language: ISO 639-1 code, of `BY_SCRIPT` or `FREQUENT`.

  Raises:
    ValueError: a language that cannot be told.
  """
  if language in BY_SCRIPT:
    has_letters = any(c.isalpha() for c in text)
    return has_letters and style.script_share(text, script=BY_SCRIPT[language]) > 0.5
  if language not in FREQUENT:
    raise ValueError(
      f'language {language!r} cannot be told; there are {", ".join(sorted(BY_SCRIPT | FREQUENT))}'
    )
  found = [word.lower() for word in units.words(text)]
  counts = {name: sum(word in known for word in found) for name, known in FREQUENT.items()}
  return counts[language] > 0 and counts[language] == max(counts.values())
