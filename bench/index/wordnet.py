"""The texts of WordNet 3.0: what each synset's gloss defines, and its examples of usage."""

import random
import re

SEED = 20_260_101
PARTS = ("noun", "verb", "adj", "adv")
EXAMPLE = re.compile(r'"([^"]+)"')


def texts_of(line):
    """Texts of one line of a data file (wndb(5WN)): `lemma, lemma: definition`, then the examples."""
    fields, bar, gloss = line.partition("|")
    if not bar or line.startswith("  "):
        return []
    fields = fields.split()
    count = int(fields[3], 16)
    lemmas = [re.sub(r"\(\w+\)$", "", fields[4 + 2 * i]).replace("_", " ") for i in range(count)]
    examples = [text.strip() for text in EXAMPLE.findall(gloss)]
    definition = EXAMPLE.sub("", gloss).strip().rstrip(";: ").strip()
    found = [f"{', '.join(lemmas)}: {definition}"] if definition else []
    return found + [text for text in examples if len(text) >= 12]


def texts(folder):
    """All texts under `folder`, each once, in an order that only the seed decides."""
    found = {}
    for part in PARTS:
        with open(folder / f"data.{part}", encoding="utf-8") as lines:
            for line in lines:
                found.update(dict.fromkeys(texts_of(line)))
    found = sorted(found)
    random.Random(SEED).shuffle(found)
    return found
