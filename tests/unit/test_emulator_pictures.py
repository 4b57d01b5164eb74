"""The drawing: pixels, formats, repeatability, and pictures that differ."""

from hashlib import sha256
from io import BytesIO

import pytest
from PIL import Image, ImageChops

from batchgen.emulator import models, pictures, references
from batchgen.emulator.pictures import Picture

FLASH = models.MODELS[2]
LONG = "An improbably long description of a teapot, with every glaze and every shadow. " * 20


def picture(prompt: str = "a teapot", pixels: tuple[int, int] = (512, 512), n: int = 0) -> Picture:
    return Picture(
        pixels=pixels,
        prompt=prompt,
        facts=(FLASH.id, "1:1 · 512 · 512x512", "drawn by the batchgen emulator"),
        references=tuple(reference(k) for k in range(n)),
        look=sha256(prompt.encode()).hexdigest(),
    )


def reference(n: int) -> references.Reference:
    image = Image.new("RGB", (60, 40), (40 * n % 256, 90, 200))
    return references.Reference(str(n), 60, 40, f"Image {n}:", image)


@pytest.mark.parametrize("ratio", FLASH.ratios)
@pytest.mark.parametrize("prompt", ["a teapot", LONG, "W" * 900, "", "\u8336\u58f6 \x1b[0m\n\t"])
def test_any_prompt_fits_any_ratio(ratio: str, prompt: str) -> None:
    pixels = FLASH.pixels(ratio, "512")
    assert pictures.draw(picture(prompt, pixels, n=1)).size == pixels


@pytest.mark.parametrize(("mime_type", "format_"), [("image/png", "PNG"), ("image/jpeg", "JPEG")])
def test_the_bytes_are_a_whole_image_of_that_format(
    mime_type: models.MimeType, format_: str
) -> None:
    with Image.open(BytesIO(pictures.encoded(picture(), mime_type))) as image:
        image.load()
        assert (image.format, image.size) == (format_, (512, 512))


def test_the_same_picture_has_the_same_bytes() -> None:
    assert len({pictures.encoded(picture("twice", n=2), "image/png") for _ in range(2)}) == 1


def test_two_prompts_differ_over_most_of_the_picture() -> None:
    one, other = (pictures.draw(picture(prompt)) for prompt in ("a red cat", "a blue dog"))
    changed = ImageChops.difference(one, other).convert("L").point(lambda level: level > 8)
    assert sum(changed.histogram()[1:]) > 0.5 * 512 * 512


def test_references_are_on_the_picture_in_their_colours() -> None:
    drawn = pictures.draw(picture("with a reference", n=1))
    colours = {colour for _, colour in drawn.getcolors(512 * 512) or []}
    assert (0, 90, 200) in colours


@pytest.mark.parametrize("n", [1, 3, 14])
@pytest.mark.parametrize("ratio", ["1:1", "8:1", "1:8", "21:9"])
def test_fourteen_references_fit_where_one_does(ratio: str, n: int) -> None:
    pixels = FLASH.pixels(ratio, "512")
    assert pictures.draw(picture("many", pixels, n=n)).size == pixels
