"""The job files that are read: of a usual kind, without mistakes, and alike in every run."""

import json
from pathlib import Path
from typing import Final

from benchmarks.reply import png
from benchmarks.work import MODEL

N_REFERENCES: Final = 10
MATRIX: Final = {"scene": ("studio", "beach"), "aspect_ratio": ("1:1", "4:5")}
PROMPT: Final = "Product photo of {title}, {scene} scene"
TABLE: Final = "products.csv"

_REFERENCE_BYTES: Final = 10_000
_YAML_HEAD: Final = f"""\
defaults:
  model: {MODEL}
  modalities: [IMAGE]
  image_size: 2K
references: {{logo: reference-0.png}}
items:
"""


def json_lines(directory: Path, n: int) -> Path:
    """A head with defaults and named references; each item names one of them."""
    _write_references(directory)
    named = {f"product-{k}": f"reference-{k}.png" for k in range(N_REFERENCES)}
    defaults = {"model": MODEL, "modalities": ["IMAGE"], "image_size": "2K"}
    job = directory / "job.jsonl"
    with job.open("w", encoding="utf-8") as lines:
        lines.write(json.dumps({"job": {"references": named, "defaults": defaults}}) + "\n")
        lines.writelines(
            f'{{"id": "product-{number:07d}", '
            f'"prompt": "Photo number {number} of this product on black marble, studio light", '
            f'"references": ["@product-{number % N_REFERENCES}"]}}\n'
            for number in range(n)
        )
    return job


def yaml_items(directory: Path, n: int) -> Path:
    """A head, and items in block style with a ratio, a reference and a tag each."""
    _write_references(directory)
    job = directory / "job.yaml"
    with job.open("w", encoding="utf-8") as lines:
        lines.write(_YAML_HEAD)
        for number in range(n):
            lines.write(
                f"  - id: product-{number:05d}\n"
                f"    prompt: Photo number {number} of this product, studio light\n"
                f"    aspect_ratio: {MATRIX['aspect_ratio'][number % 2]}\n"
                '    references: ["@logo"]\n'
                f"    tags: {{sku: A-{number}}}\n"
            )
    return job


def table(directory: Path, n: int) -> Path:
    """A table, and a job that makes of each row as many items as the matrix has combinations."""
    ratios, scenes = (json.dumps(MATRIX[name]) for name in ("aspect_ratio", "scene"))
    with (directory / TABLE).open("w", encoding="utf-8") as rows:
        rows.write("sku,title,price\n")
        rows.writelines(f'A-{row},"Bottle {row}, large",{row}.50\n' for row in range(n // 4))
    job = directory / "job.yaml"
    job.write_text(
        f"defaults: {{model: {MODEL}, modalities: [IMAGE]}}\n"
        "items:\n"
        f"  - each: {TABLE}\n"
        f"    matrix: {{scene: {scenes}, aspect_ratio: {ratios}}}\n"
        '    id: "{sku}-{scene}-{aspect_ratio}"\n'
        f"    prompt: {PROMPT}\n"
        '    tags: {sku: "{sku}", scene: "{scene}"}\n',
        encoding="utf-8",
    )
    return job


def _write_references(directory: Path) -> None:
    for k in range(N_REFERENCES):
        (directory / f"reference-{k}.png").write_bytes(png(_REFERENCE_BYTES + k))
