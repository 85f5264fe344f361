"""The languages of a room's web site: their catalogues, and which one a visitor gets.

Catalogues are gettext's `.po` files in `locale/`, one a language, read as they are: nothing has to be compiled. The
texts in templates and modules are English, and are what a catalogue is asked for.
"""

from __future__ import annotations

import ast
import gettext
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

from markupsafe import Markup, escape

SOURCE: Final = "en"
LANGUAGES: Final = {"en": "English", "de": "Deutsch"}
"""The languages that have a catalogue, each with its own name for itself."""

NOTICE_LANGUAGES: Final = {
    **LANGUAGES,
    **{"ar": "العربية", "cs": "Čeština", "da": "Dansk", "eo": "Esperanto", "es": "Español", "fa": "فارسی"},
    **{"fi": "Suomi", "fr": "Français", "he": "עברית", "hi": "हिन्दी", "hu": "Magyar", "id": "Bahasa Indonesia"},
    **{"it": "Italiano", "ja": "日本語", "ko": "한국어", "nl": "Nederlands", "no": "Norsk", "pl": "Polski"},
    **{"pt": "Português", "ro": "Română", "ru": "Русский", "sv": "Svenska", "tr": "Türkçe", "uk": "Українська"},
    **{"vi": "Tiếng Việt", "zh": "中文"},
}
"""The languages that a notice may be written in."""

_PLACE: Final = Path(__file__).parent / "locale"
_QUALITY: Final = re.compile(r"\s*q\s*=\s*(0(?:\.\d{0,3})?|1(?:\.0{0,3})?)\s*")
_PREFERENCES: Final = 20
"""Languages of an Accept-Language header that are looked at."""


class Text(gettext.NullTranslations):
    """The texts of one language. Called with an English text, it returns it in this language.

    Args:
        language: One of `LANGUAGES`.
        catalogue: Its texts by the English ones; those with a plural by both, in the order of the plural's forms.
        plural: Which form a number needs.

    Attributes:
        language: The language's code.
    """

    def __init__(
        self, language: str, catalogue: dict[str | tuple[str, str], tuple[str, ...]], plural: str = "n != 1"
    ) -> None:
        super().__init__()
        self.language = language
        self._catalogue_of = catalogue
        self._form = gettext.c2py(plural)

    def __call__(self, message: str, **values: object) -> str:
        """Return a text, with `%(name)s` in it replaced by the values."""
        found = self.gettext(message)
        return found % values if values else found

    def plural(self, one: str, many: str, n: int, **values: object) -> str:
        """Return the form that a number needs; it stands in the text as `%(n)s`."""
        return self.ngettext(one, many, n) % {"n": n, **values}

    def html(self, message: str, **values: object) -> Markup:
        """Return a text for a template: values are escaped, the text is not."""
        found = self.gettext(message)
        return Markup(found % {name: escape(value) for name, value in values.items()} if values else found)

    def html_plural(self, one: str, many: str, n: int, **values: object) -> Markup:
        """Return the form that a number needs, for a template."""
        values = {"n": n, **values}
        return Markup(self.ngettext(one, many, n) % {name: escape(value) for name, value in values.items()})

    def gettext(self, message: str) -> str:
        """Return a text as the catalogue has it; as it is when the catalogue has none."""
        return self._catalogue_of.get(message, (message,))[0]

    def ngettext(self, msgid1: str, msgid2: str, n: int) -> str:
        """Return the form that a number needs; English when the catalogue has none."""
        forms = self._catalogue_of.get((msgid1, msgid2))
        if forms is None:
            return msgid1 if n == 1 else msgid2
        return forms[min(int(self._form(n)), len(forms) - 1)]


def language_of(accepted: str, chosen: str | None = None, default: str = SOURCE) -> str:
    """Return the language that a visitor gets.

    Args:
        accepted: The header Accept-Language, whatever it holds.
        chosen: The language that the visitor asked for, e.g. by a cookie; ignored if we do not have it.
        default: The room's language, if we have it.
    """
    if chosen in LANGUAGES:
        return chosen
    found = next((code for code in wishes(accepted) if code in LANGUAGES), default)
    return found if found in LANGUAGES else SOURCE


def wishes(accepted: str) -> list[str]:
    """Return the languages that a header Accept-Language names, the dearest first: "en" for "en-GB"."""
    found = []
    for place, part in enumerate(accepted.split(",")[:_PREFERENCES]):
        tag, _, quality = part.partition(";")
        weight = 1.0
        if quality:
            match = _QUALITY.fullmatch(quality)
            weight = float(match[1]) if match else 0.0
        if weight > 0:
            found.append((-weight, place, tag.strip().lower().partition("-")[0]))
    return [code for _weight, _place, code in sorted(found)]


@cache
def text_of(language: str) -> Text:
    """Return the texts of a language; English for one that has no catalogue."""
    path = _PLACE / f"{language}.po"
    if language not in LANGUAGES or not path.exists():
        return Text(SOURCE, {})
    catalogue: dict[str | tuple[str, str], tuple[str, ...]] = {}
    plural = "n != 1"
    for one, many, forms in read_po(path.read_text(encoding="utf-8")):
        if not one:
            head = re.search(r"plural=([^;\n]+);", forms[0])
            plural = head[1] if head else plural
        elif all(forms):
            catalogue[(one, many) if many else one] = forms
    return Text(language, catalogue, plural)


def read_po(content: str) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Read a `.po` file: text, its plural (empty without one), and the forms of the translation.

    The first one, without text, is the head. Obsolete entries are left out.
    """
    entry: dict[str, str] = {}
    field = ""
    for line in [*content.splitlines(), ""]:
        line = line.strip()
        if line.startswith("#"):
            continue
        word, _, rest = line.partition(" ")
        if (word == "msgid" and "msgid" in entry) or not line:
            if "msgid" in entry:
                yield _entry(entry)
            entry = {}
        if line.startswith('"'):
            entry[field] += ast.literal_eval(line)
        elif line:
            field = word
            entry[field] = ast.literal_eval(rest)


def _entry(entry: dict[str, str]) -> tuple[str, str, tuple[str, ...]]:
    forms = tuple(text for name, text in entry.items() if name.startswith("msgstr"))
    return entry["msgid"], entry.get("msgid_plural", ""), forms
