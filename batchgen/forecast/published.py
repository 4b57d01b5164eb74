"""What a picture takes by what others measured, where there is no experience of its own.

Source: batchgen/known_models.yaml for what a model counts and how long it takes; docs/cost.md.
"""

from typing import Final

from batchgen.forecast.experience import Sample
from batchgen.known_models import KnownModels, Span
from batchgen.model import Kind

# Calls until one makes a picture. One that makes none has said some words; at worst it has drawn.
_CALLS: Final = Span(1, 1.05, 1.3)
# Turns that are not refused: what is blocked costs nothing.
_ANSWERED: Final = Span(0.9, 1, 1)
# Tokens of a text by its estimate: code and names take less, Chinese takes more.
_TEXT: Final = Span(0.5, 1, 2)
# Searches of an answer that may search, and the tokens of what they found.
_QUERIES: Final = Span(0, 1, 3)
_FOUND_TOKENS: Final = Span(0, 500, 1000)


def published(model: str, kind: Kind, text_tokens: float) -> tuple[Sample, Sample, Sample]:
    """What the picture of one turn takes, all calls together: low, expected and high.

    Args:
        model: Of one that is not known, the most that any known one takes.
        kind: What is asked of it.
        text_tokens: As estimated, of its prompt.
    """
    known = KnownModels.shipped()
    counts = known.token_counts(model)
    n_image = counts.by_size.get(kind.size or counts.default_size) or max(counts.by_size.values())
    words, thoughts = known.words(model), known.thoughts(model, kind.thinking)
    latency_s = known.latency_s(model, kind)

    def sample(which: int) -> Sample:
        n_calls, n_answered = _CALLS[which], _ANSWERED[which]
        n_billed = n_calls * n_answered
        n_found = _FOUND_TOKENS[which] if kind.search else 0
        n_queries = n_billed * _QUERIES[which] if kind.search else 0
        return Sample(
            n_calls=n_calls,
            n_prompts=n_billed,
            beyond_tokens=n_billed * ((_TEXT[which] - 1) * text_tokens + n_found),
            output_text=n_billed * words[which],
            output_image=n_image * (n_calls if which == _HIGH else n_answered),
            thoughts=n_billed * thoughts[which],
            n_queries=n_queries,
            n_grounded=min(n_billed, n_queries),
            latency_s=n_calls * latency_s[which],
        )

    return sample(_LOW), sample(_EXPECTED), sample(_HIGH)


_LOW, _EXPECTED, _HIGH = range(3)
