"""The same sums in SQL: duckdb on the same file, told which columns there are."""

from pathlib import Path
from typing import Final

import duckdb

from benchmarks.logs import IMAGE_TOKENS, RATES, agree
from benchmarks.work import Reading

_COUNTS: Final = ("promptTokenCount", "candidatesTokenCount", "thoughtsTokenCount")
_DETAILS: Final = "STRUCT(modality VARCHAR, tokenCount BIGINT)[]"
_USAGE: Final = ", ".join(
    [
        *(f"{name} BIGINT" for name in _COUNTS),
        *(f"{name} {_DETAILS}" for name in ("promptTokensDetails", "candidatesTokensDetails")),
    ]
)
_RATES: Final = ", ".join(
    f"('{model}', {', '.join(str(round(float(rate) * 100)) for rate in rates)})"
    for model, rates in RATES.items()
)
# Hundredths of a micro-dollar, whole numbers all of them, are rounded call by call.
_QUERY: Final = f"""
WITH answers AS (
    SELECT modelVersion AS model, createTime[:10] AS day, usageMetadata AS usage,
        coalesce(list_sum([one.tokenCount FOR one IN usageMetadata.promptTokensDetails
            IF one.modality = 'IMAGE']), 0) AS shown,
        coalesce(list_sum([one.tokenCount FOR one IN usageMetadata.candidatesTokensDetails
            IF one.modality = 'IMAGE']),
            least(usageMetadata.candidatesTokenCount, {IMAGE_TOKENS})) AS drawn
    FROM read_json(?, format = 'newline_delimited', columns = {{
        'usageMetadata': 'STRUCT({_USAGE})', 'modelVersion': 'VARCHAR', 'createTime': 'VARCHAR'
    }})
), rates(model, input, words, image) AS (VALUES {_RATES})
SELECT model, day, count(*),
    sum(usage.promptTokenCount - shown), sum(shown), sum(usage.candidatesTokenCount - drawn),
    sum(drawn), sum(usage.thoughtsTokenCount),
    sum(round_even((usage.promptTokenCount * input + drawn * image
        + (usage.candidatesTokenCount - drawn + usage.thoughtsTokenCount) * words) / 100, 0))
FROM answers JOIN rates USING (model)
GROUP BY model, day
"""


def run(work: Reading) -> None:
    """Run the query with as many threads as duckdb sees fit."""
    rows = duckdb.connect().execute(_QUERY, [work.job]).fetchall()
    agree(Path(work.job), {f"{row[0]} {row[1]}": [int(one) for one in row[2:]] for row in rows})
