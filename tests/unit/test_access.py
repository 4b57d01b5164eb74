"""Who is asked, with which key and by which way, and what a job must say to ask the same again."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from batchgen.access import as_written, choose_provider, find_key, find_proxy, secret_values
from batchgen.errors import UsageError
from batchgen.manifest.fields import Checker
from batchgen.manifest.settings import read_head
from batchgen.provider import PROVIDERS, Provider

KEY = "a-key-of-the-tests"
HOST = Provider(name="host:8", base_url="https://host:8", key_env=("MY_KEY",), auth="bearer")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name in ("COMETAPI_KEY", "GEMINI_API_KEY", "GOOGLE_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def read_again(head: dict[str, Any]) -> Provider:
    check = Checker()
    provider = read_head(check, head).provider
    assert not check.mistakes
    return provider


@pytest.mark.parametrize("name", PROVIDERS)
def test_a_built_in_provider_is_written_by_its_name(name: str) -> None:
    assert as_written("job", PROVIDERS[name]) == {"name": "job", "provider": name}


@pytest.mark.parametrize(
    "provider",
    [
        pytest.param(choose_provider(PROVIDERS["cometapi"], None, "https://else"), id="cometapi"),
        pytest.param(choose_provider(HOST, "google", "http://127.0.0.1:9"), id="google"),
        pytest.param(choose_provider(HOST, None, None), id="a job's own"),
        pytest.param(choose_provider(HOST, None, "https://else/gate"), id="moved"),
        pytest.param(replace(HOST, base_url="http://host", allow_http=True), id="plain http"),
        pytest.param(Provider(name="emulator", base_url="https://emulator"), id="a host's name"),
    ],
)
def test_what_is_written_is_read_as_the_same_address_and_key(provider: Provider) -> None:
    provider = replace(provider, key_env=provider.key_env[:1] or ("MY_KEY",))
    again = read_again(as_written("job", provider))
    assert replace(again, name=provider.name) == provider


def test_the_variable_that_holds_the_key_is_the_one_that_is_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    provider = choose_provider(PROVIDERS["google"], None, "https://else")
    assert as_written("job", provider)["provider"]["api_key_env"] == "GEMINI_API_KEY"
    monkeypatch.setenv("GOOGLE_API_KEY", KEY)
    assert as_written("job", provider)["provider"]["api_key_env"] == "GOOGLE_API_KEY"


@pytest.mark.parametrize("base_url", [None, "http://127.0.0.1:9", "https://emulator.example"])
def test_an_emulator_is_written_by_its_name_wherever_it_listens(base_url: str | None) -> None:
    provider = choose_provider(HOST, "emulator", base_url)
    assert as_written("job", provider) == {"name": "job", "provider": "emulator"}
    key = find_key(provider, None)
    assert secret_values(provider, key, None) == []


def test_a_host_called_emulator_is_asked_with_a_key_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written = {"base_url": "http://emulator/", "api_key_env": "MY_KEY", "allow_http": True}
    provider = read_again({"provider": written})
    assert provider.name == "emulator"
    with pytest.raises(UsageError):
        find_key(provider, None)
    monkeypatch.setenv("MY_KEY", KEY)
    assert find_key(provider, None) == KEY
    assert secret_values(provider, KEY, None) == [KEY]


def test_an_empty_key_file_is_called_that(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(" \n")
    with pytest.raises(UsageError, match="key is empty"):
        find_key(HOST, file)


def test_a_proxy_is_what_was_asked_for_then_what_the_environment_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert find_proxy(HOST, None) is None
    monkeypatch.setenv("HTTPS_PROXY", "of-environment:3128")
    assert find_proxy(HOST, None) == "http://of-environment:3128"
    assert find_proxy(HOST, "http://asked:3128") == "http://asked:3128"


def test_a_proxy_of_the_environment_that_is_none_is_wrong_usage(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "socks5://u:secretpw@proxy:1080")
    with pytest.raises(UsageError, match="https_proxy: expected http://HOST:PORT"):
        find_proxy(HOST, None)


def test_an_emulator_that_the_run_starts_has_no_proxy() -> None:
    assert find_proxy(PROVIDERS["emulator"], "http://proxy:3128") is None


def test_plain_http_to_this_machine_does_not_leave_it_through_a_proxy() -> None:
    here = replace(HOST, base_url="http://127.0.0.1:9")
    assert find_proxy(here, "http://127.0.0.1:3128") == "http://127.0.0.1:3128"
    with pytest.raises(UsageError):
        find_proxy(here, "http://proxy.example:3128")
    assert find_proxy(replace(here, allow_http=True), "http://proxy.example:3128")


def test_the_password_of_a_proxy_is_one_of_the_secrets() -> None:
    assert {KEY, "secretpw"} <= set(secret_values(HOST, KEY, "http://u:secretpw@proxy:3128"))
