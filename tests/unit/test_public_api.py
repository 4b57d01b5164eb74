"""The public names, and the one mistake in calling them that would cost money."""

import subprocess
import sys

import pytest

import batchgen


def test_every_public_name_is_there_and_listed() -> None:
    for name in batchgen.__all__:
        assert getattr(batchgen, name) is not None
    assert set(batchgen.__all__) <= set(dir(batchgen))
    with pytest.raises(AttributeError, match="no attribute 'runn'"):
        _ = batchgen.runn


def test_an_option_that_would_not_be_kept_is_refused_and_not_ignored() -> None:
    with pytest.raises(TypeError, match="unknown options max_usd; expected some of output"):
        batchgen.run("jobs/catalog.yaml", max_usd=5)  # type: ignore[call-arg]


def test_importing_batchgen_does_not_import_aiohttp() -> None:
    code = "import batchgen, sys; sys.exit('aiohttp' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_help_imports_neither_aiohttp_nor_pillow_nor_jinja2() -> None:
    code = (
        "import sys; from batchgen.cli.commands import invoke; invoke(['run', '--help']);"
        "sys.exit(bool({'aiohttp', 'PIL', 'jinja2', 'yaml'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
