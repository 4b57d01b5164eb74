"""Where a run may send to: addresses, proxies and keys, each refused before anything is sent."""

import pytest

from batchgen.errors import UsageError
from batchgen.provider import (
    PROVIDERS,
    Provider,
    address_secrets,
    check_key,
    check_plain_http,
    clean_base_url,
    clean_proxy,
    is_variable,
)
from batchgen.sanitize import Secrets


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("https://host", "https://host"),
        (" https://host/ \n", "https://host"),
        ("https://host/v1beta/", "https://host"),
        ("https://host/gate/v1", "https://host/gate"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_an_address_is_kept_without_what_paths_bring(written: str, meant: str) -> None:
    assert clean_base_url(written) == meant


@pytest.mark.parametrize(
    "url",
    [
        "",
        "host",
        "ftp://host",
        "https://",
        "https://[oops",
        "https://host:99999",
        "https://host:port",
        "https://host:-1",
        "https://a b",
        "https://host/a b",
        "https://host/a\nb",
        "https://host\\x",
        "https://a..b",
        f"https://{'x' * 64}.example",
        "https://xn--zz.example",
        "https://h\u00f6st",
        "https://host/?a=b",
        "https://host/#a",
        "https://@host",
    ],
)
def test_an_address_that_nobody_could_read_is_wrong_usage(url: str) -> None:
    with pytest.raises(UsageError):
        clean_base_url(url)


@pytest.mark.parametrize(
    "url",
    ["https://me:secretpw@host", "https://me:secretpw@[bad", "ftp://host/?key=secretpw"],
)
def test_what_an_address_must_not_carry_is_not_shown(url: str) -> None:
    with pytest.raises(UsageError) as refused:
        clean_base_url(url)
    assert "secretpw" not in str(refused.value)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("http://localhost:3128", "http://localhost:3128"),
        ("http://localhost:3128/", "http://localhost:3128"),
        ("localhost:3128", "http://localhost:3128"),
        ("me:word@proxy:3128", "http://me:word@proxy:3128"),
        ("https://proxy:3128", "https://proxy:3128"),
    ],
)
def test_a_proxy_without_a_scheme_is_http(written: str, meant: str) -> None:
    assert clean_proxy(written, "--proxy") == meant


@pytest.mark.parametrize(
    "url",
    [
        "http://u:secretpw@[bad",
        "u:secretpw@proxy:99999",
        "socks5://u:secretpw@proxy:1080",
        "http://u:secretpw@proxy:3128/path",
        "http://u:secretpw@",
        "",
    ],
)
def test_what_is_no_proxy_is_wrong_usage_and_its_password_is_not_shown(url: str) -> None:
    with pytest.raises(UsageError) as refused:
        clean_proxy(url, "https_proxy")
    assert str(refused.value) == "https_proxy: expected http://HOST:PORT"


def test_the_password_of_a_proxy_is_secret_in_every_spelling() -> None:
    assert address_secrets("http://me:p%40ssword@proxy:3128") == [
        "bWU6cEBzc3dvcmQ=",
        "me:p%40ssword@",
        "p%40ssword",
        "p@ssword",
    ]


def test_a_short_password_does_not_take_ordinary_words_along() -> None:
    assert address_secrets("http://me:image@proxy:3128") == ["bWU6aW1hZ2U=", "me:image@"]


def test_a_token_in_the_place_of_a_user_is_secret() -> None:
    token = "8f3a2b1c9d7e6f504132"
    pair = "OGYzYTJiMWM5ZDdlNmY1MDQxMzI6"
    assert address_secrets(f"http://{token}@proxy:3128") == [pair, f"{token}@", token]
    assert address_secrets(f"http://{token}:@proxy:3128") == [pair, f"{token}:@", token]


@pytest.mark.parametrize(
    ("address", "hidden"),
    [
        (
            "https://hooks.slack.invalid/services/T0000/B0000/8f3a2b1c9d7e6f504132",
            ["/services/T0000/B0000/8f3a2b1c9d7e6f504132", "8f3a2b1c9d7e6f504132"],
        ),
        (
            "https://hook.invalid/v1?id=7&token=8f3a2b1c9d7e6f504132",
            ["/v1?id=7&token=8f3a2b1c9d7e6f504132", "8f3a2b1c9d7e6f504132"],
        ),
        ("https://ntfy.invalid/my-topic", ["/my-topic"]),
    ],
)
def test_the_path_of_a_web_hook_is_secret_and_so_is_each_token_in_it(
    address: str, hidden: list[str]
) -> None:
    assert address_secrets(address) == hidden
    secrets = Secrets(address_secrets(address))
    assert secrets.redact(address) == address.removesuffix(hidden[0]) + "[key]"


@pytest.mark.parametrize("proxy", [None, "http://proxy:3128", "http://me@proxy:3128"])
def test_a_proxy_without_a_password_has_no_secret(proxy: str | None) -> None:
    assert address_secrets(proxy) == []


@pytest.mark.parametrize(
    ("url", "proxy", "allow_http", "refused"),
    [
        ("https://host", None, False, False),
        ("https://host", "http://proxy:3128", False, False),
        ("http://host", None, False, True),
        ("http://host", None, True, False),
        ("http://127.0.0.1:1", None, False, False),
        ("http://127.0.0.1:1", "http://localhost:3128", False, False),
        ("http://127.0.0.1:1", "http://proxy:3128", False, True),
        ("http://127.0.0.1:1", "http://proxy:3128", True, False),
    ],
)
def test_plain_http_stays_on_this_machine_unless_it_is_allowed_out(
    url: str,
    proxy: str | None,
    allow_http: bool,  # noqa: FBT001 - a column of the table
    refused: bool,  # noqa: FBT001 - the same
) -> None:
    provider = Provider(name="x", base_url=url, allow_http=allow_http)
    if not refused:
        check_plain_http(provider, proxy=proxy)
        return
    with pytest.raises(UsageError):
        check_plain_http(provider, proxy=proxy)


@pytest.mark.parametrize(
    "key",
    [
        *("", "sk-1234", 'sk-with"quote', "sk-with\\backslash", "sk-with space"),
        *("sk-schl\u00fcssel", "1234567890", "-12345.6e+7", "sk-" + "x" * 4096),
    ],
)
def test_an_odd_key_is_refused_and_not_shown(key: str) -> None:
    with pytest.raises(UsageError) as refused:
        check_key(key)
    assert not key or key not in str(refused.value)


@pytest.mark.parametrize("key", ["sk-12345", "12345678a", "x" * 4096])
def test_a_key_of_eight_characters_is_one_and_so_is_a_long_one(key: str) -> None:
    check_key(key)


@pytest.mark.parametrize("name", ["KEY", "my_key", "_K2"])
def test_a_variable_has_a_name_that_shells_take(name: str) -> None:
    assert is_variable(name)


@pytest.mark.parametrize("name", ["sk-12345", "2K", "", "A B", "K\u00c9Y", "KEY\n"])
def test_most_keys_are_no_name_of_a_variable(name: str) -> None:
    assert not is_variable(name)


def test_only_the_emulator_needs_no_key() -> None:
    assert [name for name, one in PROVIDERS.items() if not one.needs_key] == ["emulator"]
