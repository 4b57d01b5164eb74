"""Whether a picture has the ratio and the size that were asked for."""

import pytest

from batchgen.acceptance import compare_size

# Pixels that models were seen to make; ratios are off by up to 4 %, which is no other ratio.
SEEN = {
    "1:1": (1024, 1024),
    "2:3": (848, 1264),
    "3:2": (1264, 848),
    "3:4": (896, 1200),
    "4:3": (1200, 896),
    "4:5": (928, 1152),
    "5:4": (1152, 928),
    "9:16": (768, 1376),
    "16:9": (1376, 768),
    "21:9": (1584, 672),
    "1:4": (512, 2064),
    "4:1": (2064, 512),
    "1:8": (352, 2928),
    "8:1": (2928, 352),
}
SEEN_512 = {"2:3": (424, 632), "21:9": (784, 336), "1:8": (176, 1456), "8:1": (1456, 176)}
TIMES = {"1K": 1, "2K": 2, "4K": 4}


@pytest.mark.parametrize("ratio", SEEN)
@pytest.mark.parametrize("size", TIMES)
def test_what_models_make_is_what_was_asked_for(ratio: str, size: str) -> None:
    width, height = (side * TIMES[size] for side in SEEN[ratio])
    assert compare_size(ratio, size, width, height) is None
    assert compare_size(ratio, None, width, height) is None
    assert compare_size(None, size, width, height) is None


@pytest.mark.parametrize("ratio", SEEN_512)
def test_so_are_the_smallest(ratio: str) -> None:
    assert compare_size(ratio, "512", *SEEN_512[ratio]) is None


@pytest.mark.parametrize("asked", SEEN)
def test_every_other_ratio_is_another(asked: str) -> None:
    for made, pixels in SEEN.items():
        assert (compare_size(asked, None, *pixels) is None) is (made == asked), made


@pytest.mark.parametrize("asked", ["512", *TIMES])
def test_every_other_size_is_another(asked: str) -> None:
    for made, side in {"512": 512, "1K": 1024, "2K": 2048, "4K": 4096}.items():
        assert (compare_size(None, asked, side, side) is None) is (made == asked), made


@pytest.mark.parametrize(
    ("ratio", "size", "width", "height"),
    [
        (None, None, 1024, 1024),
        ("16:9", "2K", None, None),
        ("16:9", "2K", 0, 768),
        ("auto", None, 1024, 1024),
        ("0:1", None, 1024, 1024),
        ("1:2:3", None, 1024, 1024),
        ("", "", 1024, 1024),
        (None, "8K", 1024, 1024),
    ],
)
def test_what_cannot_be_judged_is_not_judged(
    ratio: str | None, size: str | None, width: int | None, height: int | None
) -> None:
    assert compare_size(ratio, size, width, height) is None


def test_the_difference_is_told_with_what_was_asked_for() -> None:
    said = "the picture is 1024x1024, and"
    assert compare_size("16:9", "2K", 1024, 1024) == f"{said} 16:9 at 2K was asked for"
    assert compare_size("16:9", None, 1024, 1024) == f"{said} 16:9 was asked for"
    assert compare_size(None, "2K", 1024, 1024) == f"{said} 2K was asked for"
    assert compare_size("2.35:1", None, 1024, 1024) == f"{said} 2.35:1 was asked for"
