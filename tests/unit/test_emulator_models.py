"""The emulator's facts about models, against the published tables, written out in full."""

import pytest

from batchgen.emulator import models

R10 = {"1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9"}
R14 = R10 | {"1:4", "4:1", "1:8", "8:1"}

# ratio: 512, 1K, 2K, 4K, as observed live
GEMINI_3 = {
    "1:1": "512x512 1024x1024 2048x2048 4096x4096",
    "2:3": "424x632 848x1264 1696x2528 3392x5056",
    "3:2": "632x424 1264x848 2528x1696 5056x3392",
    "3:4": "448x600 896x1200 1792x2400 3584x4800",
    "4:3": "600x448 1200x896 2400x1792 4800x3584",
    "4:5": "464x576 928x1152 1856x2304 3712x4608",
    "5:4": "576x464 1152x928 2304x1856 4608x3712",
    "9:16": "384x688 768x1376 1536x2752 3072x5504",
    "16:9": "688x384 1376x768 2752x1536 5504x3072",
    "21:9": "784x336 1584x672 3168x1344 6336x2688",
    "1:4": "256x1024 512x2064 1024x4128 2048x8256",
    "4:1": "1024x256 2064x512 4128x1024 8256x2048",
    "1:8": "176x1456 352x2928 704x5856 1408x11712",
    "8:1": "1456x176 2928x352 5856x704 11712x1408",
}
GEMINI_2_5 = {
    "1:1": "1024x1024",
    "2:3": "832x1248",
    "3:2": "1248x832",
    "3:4": "864x1184",
    "4:3": "1184x864",
    "4:5": "896x1152",
    "5:4": "1152x896",
    "9:16": "768x1344",
    "16:9": "1344x768",
    "21:9": "1536x672",
}
SIZES = ("512", "1K", "2K", "4K")

# model: ratios, output tokens by size, input tokens by image, references, levels, web, image search
TABLE = [
    ("gemini-2.5-flash-image", R10, {"": 1290}, 258, 3, (), False, False),
    (
        "gemini-3-pro-image",
        R10,
        {"1K": 1120, "2K": 1120, "4K": 2000},
        560,
        14,
        ("MINIMAL", "LOW", "MEDIUM", "HIGH"),
        True,
        False,
    ),
    (
        "gemini-3.1-flash-image",
        R14,
        {"512": 747, "1K": 1120, "2K": 1680, "4K": 2520},
        1120,
        14,
        ("MINIMAL", "HIGH"),
        True,
        True,
    ),
    (
        "gemini-3.1-flash-lite-image",
        R14,
        {"1K": 1120},
        1120,
        14,
        ("MINIMAL", "HIGH"),
        False,
        False,
    ),
    (
        "gemini-nano-banana-2.1",
        R14,
        {"1K": 1120, "2K": 1680, "4K": 3780},
        1120,
        14,
        ("MINIMAL", "MEDIUM", "HIGH"),
        True,
        True,
    ),
]


def found(model_id: str) -> models.Model:
    model = models.find(model_id)
    assert model is not None
    return model


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row[0])
def test_each_model_has_the_limits_and_tokens_of_the_fact_sheet(row: tuple[object, ...]) -> None:
    model = found(str(row[0]))
    assert (
        model.id,
        set(model.ratios),
        model.image_tokens,
        model.input_image_tokens,
        model.max_references,
        model.thinking_levels,
        model.web_search,
        model.image_search,
    ) == row


@pytest.mark.parametrize("model", models.MODELS, ids=lambda model: model.id)
def test_pixels_are_those_of_the_table_for_every_ratio_and_size(model: models.Model) -> None:
    for ratio in model.ratios:
        for size in model.image_tokens:
            table = GEMINI_3 if size else GEMINI_2_5
            column = SIZES.index(size) if size else 0
            expected = table[ratio].split()[column]
            width, height = model.pixels(ratio, size)
            assert f"{width}x{height}" == expected, (model.id, ratio, size)


@pytest.mark.parametrize(
    ("model_id", "meant"),
    [
        ("gemini-3-pro-image-preview", "gemini-3-pro-image"),
        ("nano-banana-pro-preview", "gemini-3-pro-image"),
        ("gemini-3.1-flash-image-preview", "gemini-3.1-flash-image"),
        ("gemini-3.1-flash-lite-image", "gemini-3.1-flash-lite-image"),
        ("google/gemini-2.5-flash-image-preview-09", "gemini-2.5-flash-image"),
        ("Gemini-Nano-Banana-2.1", "gemini-nano-banana-2.1"),
    ],
)
def test_aliases_of_gateways_mean_the_ga_model(model_id: str, meant: str) -> None:
    assert found(model_id).id == meant


@pytest.mark.parametrize("model_id", ["gemini-3-flash", "gpt-image-1", "", "gemini"])
def test_an_id_that_contains_nothing_known_means_no_model(model_id: str) -> None:
    assert models.find(model_id) is None


@pytest.mark.parametrize(
    ("pixels", "ratio"),
    [((640, 480), "4:3"), ((1080, 1920), "9:16"), ((1000, 990), "1:1"), ((100, 2000), "9:16")],
)
def test_the_nearest_ratio_is_one_that_the_model_takes(pixels: tuple[int, int], ratio: str) -> None:
    assert found("gemini-3-pro-image").nearest_ratio(*pixels) == ratio
