import json

import numpy as np
import pytest
from embed import Tokenizer, erf, safetensors
from wordnet import texts_of

LINE = (
    "02084071 05 n 03 dog 0 domestic_dog 0 Canis_familiaris 0 001 @ 02083346 n 0000 | a member of the genus Canis; "
    'occurs in many breeds; "the dog barked all night"  \n'
)


def test_a_gloss_is_a_definition_and_its_examples():
    assert texts_of(LINE) == [
        "dog, domestic dog, Canis familiaris: a member of the genus Canis; occurs in many breeds",
        "the dog barked all night",
    ]


def test_marks_of_adjectives_and_the_licence_are_left_out():
    line = '00014358 00 a 01 afloat(p) 0 000 | borne on the water; "six ships"  \n'
    assert texts_of(line) == ["afloat: borne on the water"]
    assert texts_of("  1 This software and database is being provided to you | as is\n") == []


VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "un", "##aff", "##able", "cafe", ",", "(", ")", "'"]


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("unaffable", ["un", "##aff", "##able"]),
        ("Café, (un)", ["cafe", ",", "(", "un", ")"]),
        ("unknown un", ["[UNK]", "un"]),
        ("un'un\tun\u00ad", ["un", "'", "un", "un"]),
        ("", []),
    ],
)
def test_words_are_cut_into_the_longest_known_pieces(text, pieces):
    ids = Tokenizer(VOCABULARY)(text)
    assert [VOCABULARY[i] for i in ids] == ["[CLS]", *pieces, "[SEP]"]


def test_long_texts_are_cut_off():
    ids = Tokenizer(VOCABULARY)("un " * 1000)
    assert len(ids) == 256 and VOCABULARY[ids[-1]] == "[SEP]"


def test_tensors_are_read_by_name():
    values = np.arange(6, dtype="<f4").reshape(2, 3)
    header = json.dumps({"__metadata__": {}, "x": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}).encode()
    found = safetensors(len(header).to_bytes(8, "little") + header + values.tobytes())
    assert list(found) == ["x"]
    np.testing.assert_array_equal(found["x"], values)


def test_the_error_function_is_near_enough():
    x = np.array([-3, -1, -0.1, 0, 0.5, 2], dtype=np.float32)
    known = [-0.99997791, -0.84270079, -0.11246292, 0, 0.52049988, 0.99532227]
    np.testing.assert_allclose(erf(x), known, atol=3e-7)
