"""Vectors of texts that need no model: the words of a text, counted. The same text has the same vector everywhere."""

import re
import zlib

import numpy as np

DIMENSIONS = 256

TEXTS = [
    ("The quick brown fox jumps over the lazy dog", {"topic": "animals", "year": 2001}),
    ("A fox and a hen live in the hen house", {"topic": "animals", "year": 2005}),
    ("Sailing the seven seas in a small boat", {"topic": "travel", "year": 2010}),
    ("A boat on the lake at night", {"topic": "travel", "year": 2020}),
    ("The night train to the sea", {"topic": "travel", "year": 2021}),
]


def number(word):
    return zlib.crc32(word.encode()) % 100_003


def words(text):
    return re.findall(r"[a-z]+", text.lower())


def dense(text):
    """A unit vector."""
    vector = np.zeros(DIMENSIONS)
    for word in words(text):
        vector[number(word) % DIMENSIONS] += 1
    return (vector / (np.linalg.norm(vector) or 1)).tolist()


def sparse(text):
    """Distinct words as indices, how often they occur as values."""
    counts = {}
    for word in words(text):
        counts[number(word)] = counts.get(number(word), 0.0) + 1.0
    return list(counts), list(counts.values())
