"""Who may ask the served page for what."""

from dataclasses import replace
from http import HTTPStatus
from typing import Any

import pytest

from batchgen.live.guard import MAX_BODY_BYTES, RequestHead, refusal

PORT = 8642
HERE = f"127.0.0.1:{PORT}"
GET = RequestHead("GET", "/", host=(HERE,))
POST = RequestHead(
    "POST",
    "/review",
    host=(HERE,),
    origin=(f"http://{HERE}",),
    content_type=("application/json",),
    length=("20",),
)


def status(asked: RequestHead, port: int = PORT, **changed: Any) -> HTTPStatus | None:
    refused = refusal(replace(asked, **changed), port)
    return None if refused is None else refused.status


@pytest.mark.parametrize("host", [HERE, f"localhost:{PORT}", f"LOCALHOST:{PORT}"])
def test_this_machine_is_answered_by_either_of_its_names(host: str) -> None:
    assert status(GET, host=(host,)) is None
    assert status(POST, host=(host,), origin=(f"http://{host.lower()}",)) is None


@pytest.mark.parametrize(
    "hosts",
    [
        (),
        ("",),
        (HERE, HERE),
        (HERE, "evil.example"),
        (f"evil.example:{PORT}",),
        (f"127.0.0.1.evil.example:{PORT}",),
        (f"127.0.0.2:{PORT}",),
        (f"0.0.0.0:{PORT}",),
        (f"[::1]:{PORT}",),
        ("127.0.0.1",),
        ("localhost",),
        ("127.0.0.1:8643",),
        (f"user@127.0.0.1:{PORT}",),
        (f" {HERE}",),
        (f"{HERE}/",),
        (f"2130706433:{PORT}",),
        (f"localhost.:{PORT}",),
    ],
)
def test_a_name_that_leads_here_by_dns_is_refused(hosts: tuple[str, ...]) -> None:
    assert status(GET, host=hosts) is HTTPStatus.FORBIDDEN
    assert status(POST, host=hosts) is HTTPStatus.FORBIDDEN


def test_a_browser_leaves_out_the_port_where_it_is_the_usual_one() -> None:
    assert status(GET, 80, host=("127.0.0.1",)) is None
    assert status(GET, 80, host=("127.0.0.1:80",)) is None


@pytest.mark.parametrize(
    "origins",
    [
        ("null",),
        ("http://evil.example",),
        (f"https://{HERE}",),
        (f"http://localhost:{PORT}",),
        ("http://127.0.0.1",),
        ("http://127.0.0.1:8643",),
        (f"http://{HERE}.evil.example",),
        (f"http://{HERE}/",),
        (f"http://{HERE}", "http://evil.example"),
        ("",),
    ],
)
def test_a_page_from_elsewhere_is_refused(origins: tuple[str, ...]) -> None:
    assert status(POST, origin=origins) is HTTPStatus.FORBIDDEN
    assert status(GET, origin=origins, target="/events") is HTTPStatus.FORBIDDEN


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_what_another_page_embeds_is_refused_and_a_link_to_the_page_is_not(site: str) -> None:
    for target in ("/", "/images/a.png", "/events", "/charts"):
        for mode in ("no-cors", "cors", "websocket"):
            refused = status(GET, target=target, site=(site,), mode=(mode,))
            assert refused is HTTPStatus.FORBIDDEN
    assert status(GET, target="/?item=a", site=(site,), mode=("navigate",)) is None
    assert status(GET, target="/images/a.png", site=(site,), mode=("navigate",)) is not None
    assert status(GET, target="/images/a.png", site=("none",), mode=("navigate",)) is None
    assert status(GET, target="/events", site=("same-origin",), mode=("cors",)) is None


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"origin": ()}, HTTPStatus.FORBIDDEN),
        ({"origin": (), "site": ("same-site",)}, HTTPStatus.FORBIDDEN),
        ({"origin": (), "site": ("none",)}, HTTPStatus.FORBIDDEN),
        ({"site": ("cross-site",)}, HTTPStatus.FORBIDDEN),
        ({"origin": (), "site": ("same-origin",)}, None),
        ({"content_type": ()}, HTTPStatus.UNSUPPORTED_MEDIA_TYPE),
        ({"content_type": ("text/plain",)}, HTTPStatus.UNSUPPORTED_MEDIA_TYPE),
        ({"content_type": ("text/plain; application/json",)}, HTTPStatus.UNSUPPORTED_MEDIA_TYPE),
        ({"content_type": ("multipart/form-data",)}, HTTPStatus.UNSUPPORTED_MEDIA_TYPE),
        ({"content_type": ("application/json; charset=utf-8",)}, None),
        ({"length": ()}, HTTPStatus.LENGTH_REQUIRED),
        ({"length": ("-1",)}, HTTPStatus.LENGTH_REQUIRED),
        ({"length": (str(MAX_BODY_BYTES),)}, None),
        ({"length": (str(MAX_BODY_BYTES + 1),)}, HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    ],
)
def test_only_a_small_json_request_of_the_page_itself_may_change_anything(
    changed: dict[str, Any], expected: HTTPStatus | None
) -> None:
    assert status(POST) is None
    assert status(POST, **changed) is expected


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "get"])
def test_no_other_method_is_taken(method: str) -> None:
    assert status(GET, method=method) is HTTPStatus.METHOD_NOT_ALLOWED


@pytest.mark.parametrize("target", ["http://evil.example/", "*", "", "evil.example:80"])
def test_a_request_as_a_proxy_gets_it_is_refused(target: str) -> None:
    assert status(GET, target=target) is HTTPStatus.BAD_REQUEST
