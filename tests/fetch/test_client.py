"""Credentials go to their own host only, redirects are bounded, and no message has a secret."""

import base64
import logging
import re
from pathlib import Path

import pytest

from openmedq.config import Execution
from openmedq.datasets.card import Access, File
from openmedq.errors import AcquisitionError, ParamsError
from openmedq.fetch import addresses, client
from openmedq.fetch.client import Client
from tests.fetch.conftest import HOST, URL, Fetch, make_files, make_set, read_all
from tests.servers import faults, serve
from tests.servers.physionet import READER, UNSIGNED
from tests.servers.site import Login

PHYSIONET = "https://physionet.org/files/mimic-cxr-jpg/2.1.0/"
DATA = {"a.csv": b"id\n1\n"}
FILES = (File(path="a.csv", url=f"{PHYSIONET}a.csv"),)
SITE = {f"{PHYSIONET}a.csv": DATA["a.csv"]}
BASIC = "Basic " + base64.b64encode(":".join(READER).encode()).decode()


@pytest.mark.parametrize("place", ["environment", "netrc"])
def test_a_password_opens_its_host_and_goes_to_no_other(
    fetch: Fetch, tmp_path: Path, request: pytest.FixtureRequest, place: str
) -> None:
    if place == "environment":
        request.getfixturevalue("login")
    else:  # a default entry would go to any host
        entry = f'machine physionet.org login {READER[0]} password "{READER[1]}"'
        (tmp_path / "netrc").write_text(f"{entry}\ndefault login x password y\n")
    elsewhere = make_files({"b.csv": b"b"})
    with serve(SITE | {f"{URL}b.csv": b"b"}) as server:
        assert read_all(fetch(server, make_set(FILES + elsewhere))) == {"a.csv": DATA["a.csv"], "b.csv": b"b"}
        assert server.asked("physionet.org/*")[0].headers["Authorization"] == BASIC
        assert "Authorization" not in server.asked(f"{HOST}/*")[0].headers


@pytest.mark.usefixtures("login")
@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_a_password_does_not_follow_a_redirect(fetch: Fetch, code: int) -> None:
    """The other host is another port of the same machine."""
    with serve(SITE | {"https://evil.example.org/files/mimic-cxr-jpg/2.1.0/a.csv": b"stolen"}) as server:
        server.faults.append(faults.redirect_to("evil.example.org", code).on("physionet.org/*"))
        read_all(fetch(server, make_set(FILES)))
        (there,) = server.asked("evil.example.org/*")
        assert "Authorization" not in there.headers
        assert "Cookie" not in there.headers


@pytest.mark.parametrize(
    ("login", "message"),
    [
        ("page", "sends an HTML page"),
        ("challenge", "answers 401 Unauthorized; set PHYSIONET_USERNAME"),
        ("wget", "answers 401 Unauthorized; set PHYSIONET_USERNAME"),
    ],
)
def test_without_a_password_the_login_page_is_no_file(fetch: Fetch, login: Login, message: str) -> None:
    with serve(SITE, login=login) as server, pytest.raises(AcquisitionError, match=message):
        fetch(server, make_set(FILES))
    assert not list(Path("data/raw/toy_set/files").rglob("*.csv"))


@pytest.mark.usefixtures("login")
def test_an_agreement_that_is_not_signed_is_message(fetch: Fetch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHYSIONET_USERNAME", UNSIGNED[0])
    with serve(SITE) as server, pytest.raises(AcquisitionError, match="answers 403 Forbidden; your account may lack"):
        fetch(server, make_set(FILES))


def test_a_wrong_password_is_message_and_not_shown(
    fetch: Fetch, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PHYSIONET_USERNAME", "somebody@example.org")
    monkeypatch.setenv("PHYSIONET_PASSWORD", "battery staple")
    caplog.set_level(logging.DEBUG)
    with serve(SITE) as server, pytest.raises(AcquisitionError, match=r"answers 401.*the password is wrong") as message:
        fetch(server, make_set(FILES))
    secrets = ("battery staple", base64.b64encode(b"somebody@example.org:battery staple").decode())
    shown = "".join((str(message.value), repr(message.value), *capsys.readouterr(), caplog.text))
    assert not any(secret in shown for secret in secrets)
    assert not any(secret in repr(addresses.find_credential("physionet.org")) for secret in secrets)


def test_a_damaged_netrc_is_one_line_without_its_words(tmp_path: Path) -> None:
    (tmp_path / "netrc").write_text("machine physionet.org\nlogin a passwort secret-word\n")
    with pytest.raises(AcquisitionError, match="netrc: unreadable or invalid; correct it, or set NETRC") as message:
        addresses.find_credential("physionet.org")
    assert "secret-word" not in str(message.value)
    assert message.value.__suppress_context__


@pytest.mark.parametrize("named", ["", "~no-such-user/netrc", "absent"])
def test_no_netrc_is_no_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, named: str) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NETRC", named)
    assert addresses.find_credential("physionet.org") is None


def test_half_of_the_credentials_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHYSIONET_USERNAME", "a")
    with pytest.raises(AcquisitionError, match=r"^PHYSIONET_USERNAME and PHYSIONET_PASSWORD: only one of them is set"):
        addresses.find_credential("physionet.org")


def test_redirects_end(fetch: Fetch) -> None:
    with serve(SITE, [faults.redirect_to(f"{PHYSIONET}a.csv")]) as server:
        with pytest.raises(AcquisitionError, match=r"a\.csv: too many redirects"):
            fetch(server, make_set(FILES))
        assert len(server.requests) == 10


@pytest.mark.parametrize(
    "target",
    [
        *("ftp://physionet.org/a.csv", "file:///etc/passwd", "http://example.org/a.csv", "https://[", "javascript:a"),
        *("https://example.org:99999/", "https:///a.csv", f"https://{'a' * 64}/", "https://a..b/"),
    ],
)
def test_redirects_to_what_is_unprotected_or_no_address_are_refused(fetch: Fetch, target: str) -> None:
    message = r"redirects to (an unprotected|an invalid address)|or the one it redirects to, is not a valid name"
    fault = faults.answer(faults.redirect(target, 302))
    with serve(SITE, [fault]) as server, pytest.raises(AcquisitionError, match=message):
        fetch(server, make_set(FILES))


@pytest.mark.usefixtures("login")
def test_a_password_in_a_redirect_is_not_heeded(fetch: Fetch) -> None:
    """Only the host's own password is sent; both would be an error of the library."""
    with serve(SITE) as server:
        base = server.endpoints["physionet.org"].replace("://", "://somebody:else@")
        server.faults.append(faults.redirect_to(f"{base}/files/mimic-cxr-jpg/2.1.0/a.csv").on(times=1))
        assert read_all(fetch(server, make_set(FILES))) == DATA
        assert server.requests[1].headers["Authorization"] == BASIC


@pytest.mark.usefixtures("login")
def test_an_endpoint_below_another_one_is_its_own_host(fetch: Fetch, monkeypatch: pytest.MonkeyPatch) -> None:
    """It must get its own password, not the token of the other host."""
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with serve(SITE) as server:
        base = server.endpoints["physionet.org"].removesuffix("/physionet.org")
        monkeypatch.setattr(type(server), "endpoints", {**server.endpoints, "huggingface.co": base})
        assert read_all(fetch(server, make_set(FILES))) == DATA
        assert {request.headers["Authorization"] for request in server.requests} == {BASIC}


@pytest.mark.parametrize(
    ("header", "expected"),
    [("3", 3.0), ("-3", 0.0), ("nan", 0.0), ("1e999", float("inf")), ("soon", None), (None, None)],
)
def test_any_retry_after_is_a_wait_or_none(header: str | None, expected: float | None) -> None:
    assert client.parse_retry_after(header) == expected


def test_waits_double_with_jitter_up_to_a_bound() -> None:
    for num_failed, doubled in ((1, 2.0), (2, 4.0), (5, 32.0), (2000, client.MAX_WAIT_S)):
        waits = {client.pause_s(num_failed, 2.0) for _ in range(100)}
        assert doubled / 2 <= min(waits) < max(waits) <= doubled
        assert client.pause_s(num_failed, 2.0, 700.0) == 700.0


def test_signed_queries_are_not_shown(fetch: Fetch) -> None:
    files = (File(path="a.csv", url=f"{URL}a.csv?X-Signature=secret"),)
    with serve({f"{URL}a.csv": b"a"}, [faults.not_found()]) as server, pytest.raises(AcquisitionError) as message:
        fetch(server, make_set(files))
    assert "secret" not in str(message.value)


@pytest.mark.parametrize(
    "base",
    [
        *("", "ftp://example.org", "example.org", "http://", "http://localhost:abc", "http://localhost:99999"),
        *("http://[::1", "htp://reader:battery@example.org"),
    ],
)
def test_an_endpoint_is_an_address(base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        ParamsError, match=rf"^execution\.endpoints\.{re.escape(HOST)}: not an http or https"
    ) as message:
        Client(Execution(endpoints={HOST: base or " "}))
    assert "battery" not in str(message.value)
    monkeypatch.setenv("HF_ENDPOINT", base or " ")
    with pytest.raises(ParamsError, match=r"^HF_ENDPOINT: not an http or https"):
        Client(Execution())


@pytest.mark.parametrize("place", ["a b.csv", "a%20b.csv?name=%27a%27&signature=a%2Fb%2B", " a b.csv "])
def test_blanks_of_a_redirect_are_quoted(fetch: Fetch, place: str) -> None:
    """Spaces would end the request line; the rest of a signed address does not change."""
    blank = faults.answer(faults.redirect(place, 302)).on("*/imgs/a.csv")
    with serve({f"{URL}a%20b.csv": DATA["a.csv"]}, [blank]) as server:
        assert read_all(fetch(server, make_set(make_files(DATA)), attempts=1)) == DATA
        assert server.asked("*/imgs/a b.csv")[0].query == place.partition("?")[2]


@pytest.mark.parametrize("prefix", ["http://", ""])
def test_what_goes_through_a_proxy_goes_there_alone(fetch: Fetch, monkeypatch: pytest.MonkeyPatch, prefix: str) -> None:
    """The server is the proxy, which gets the full address."""
    with serve({}) as server:
        proxy = server.site.base.removeprefix("http://")
        monkeypatch.setenv("http_proxy", f"{prefix}{proxy}")
        monkeypatch.setenv("no_proxy", "")
        monkeypatch.setattr(type(server), "endpoints", {HOST: "http://no-such-host.invalid"})
        with pytest.raises(AcquisitionError, match="answers 404"):
            fetch(server, make_set(make_files({"a.csv": b"a"})))
        assert len(server.requests) == 1


@pytest.mark.usefixtures("login")
def test_a_host_that_lets_nobody_in_is_not_asked_for_every_file(fetch: Fetch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHYSIONET_PASSWORD", "wrong")
    files = tuple(File(path=f"{number}.csv", url=f"{PHYSIONET}{number}.csv") for number in range(9))
    message = r"answers 401.*; \d files of toy_set failed; the remaining files were not tried"
    with serve({file.url: b"a" for file in files}) as server:
        with pytest.raises(AcquisitionError, match=message):
            fetch(server, make_set(files, access=Access.CREDENTIALED), connections=2)
        assert len(server.asked("physionet.org/*")) <= 3
