"""Text between two markers of a document. Pure."""


def inserted(document, text, name):
    """`document` with `text` between the markers `<!-- {name}:begin -->` and `<!-- {name}:end -->`.

    Raises ValueError if it has not exactly one pair of them."""
    opening, closing = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    head, begin, rest = document.partition(opening)
    _, end, tail = rest.partition(closing)
    if not begin or not end or opening in rest or closing in tail:
        raise ValueError(f"the document needs {opening} and {closing} once, in this order")
    return f"{head}{begin}\n\n{text}\n\n{end}{tail}"
