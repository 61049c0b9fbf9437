"""The signed context: believed for just one request, for a short time, from holders of the secret only."""

import hmac
from base64 import b64decode, b64encode

import pytest

from glance_common.model import context as module
from glance_common.model.context import ContextSigner, RequestContext
from glance_common.model.errors import NotAuthenticated

OLD, NEW = b"o" * 32, b"n" * 32
CALLER = RequestContext("req-1", user_id="ü", project_id="p", roles=("member", "reader"))


def nothing() -> bytes:
    """The body of a request without one."""
    return b""


@pytest.fixture
def signer():
    return ContextSigner([NEW])


def test_what_was_signed_comes_back(signer):
    header = signer.sign(CALLER, "GET", "/v1/images?q=1")
    assert signer.verify(header, "GET", "/v1/images?q=1", nothing) == CALLER


@pytest.mark.parametrize(("method", "path"), [("DELETE", "/i/1"), ("GET", "/i/2"), ("GET", "/i/1?a=b")])
def test_a_context_is_good_for_its_request_only(signer, method, path):
    header = signer.sign(CALLER, "GET", "/i/1")
    with pytest.raises(NotAuthenticated, match="another request"):
        signer.verify(header, method, path, nothing)


@pytest.mark.parametrize(("signed", "sent"), [(b'{"a":1}', b'{"a":2}'), (b'{"a":1}', b""), (None, b"x"), (b"1", b"12")])
def test_a_context_is_good_for_its_body_only(signer, signed, sent):
    header = signer.sign(CALLER, "POST", "/i", signed)
    assert signer.verify(header, "POST", "/i", lambda: signed or b"") == CALLER
    with pytest.raises(NotAuthenticated, match="another request"):
        signer.verify(header, "POST", "/i", lambda: sent)


def test_the_end_of_the_path_and_the_start_of_the_body_are_told_apart(signer):
    header = signer.sign(CALLER, "POST", "/i", b"abc")
    with pytest.raises(NotAuthenticated, match="another request"):
        signer.verify(header, "POST", "/iabc", nothing)
    with pytest.raises(NotAuthenticated, match="another request"):
        signer.verify(header, "POST", "/iab", lambda: b"c")


def test_a_body_is_read_for_a_right_and_young_signature_only(signer, monkeypatch):
    def unread() -> bytes:
        raise AssertionError("the body was read")

    header = ContextSigner([OLD]).sign(CALLER, "POST", "/i", b"x")
    old = signer.sign(CALLER, "POST", "/i", b"x")
    now = module.time.time()
    monkeypatch.setattr(module.time, "time", lambda: now + 400)
    for refused in (None, header, old):
        with pytest.raises(NotAuthenticated):
            signer.verify(refused, "POST", "/i", unread)


@pytest.mark.parametrize("shift", [-301, 301])
def test_a_context_is_good_for_five_minutes_in_both_directions(signer, monkeypatch, shift):
    now = module.time.time()
    monkeypatch.setattr(module.time, "time", lambda: now)
    header = signer.sign(CALLER, "GET", "/")
    monkeypatch.setattr(module.time, "time", lambda: now + shift)
    with pytest.raises(NotAuthenticated, match="clocks"):
        signer.verify(header, "GET", "/", nothing)


@pytest.mark.parametrize(
    "header", [None, "", ".", "x", "x.", "e30=.x", "\u20ac.\xff", '{"c":{},"m":"GET","p":"/","t":0}']
)
def test_nothing_unsigned_is_believed(signer, header):
    with pytest.raises(NotAuthenticated):
        signer.verify(header, "GET", "/", nothing)


def test_a_changed_context_is_not_believed(signer):
    claims, mac = signer.sign(CALLER, "GET", "/").split(".")
    document = b64decode(claims)
    changed = document.replace(b"false", b"true", 1)
    assert changed != document
    with pytest.raises(NotAuthenticated):
        signer.verify(f"{b64encode(changed).decode()}.{mac}", "GET", "/", nothing)


@pytest.mark.parametrize("claims", [
    b"[]", b"{}", b"7", b"[1,2,3]", b'[["r"],"d",0]', b"no JSON", b'[["r",null,null,null,false,false],"d",0]',
    b'[["r",null,null,[],false,false],"d","now"]', b'["letter","d",0]',
])
def test_other_claims_are_refused_even_if_they_are_signed(signer, monkeypatch, claims):
    monkeypatch.setattr(module.orjson, "dumps", lambda _: claims)
    header = signer.sign(CALLER, "GET", "/")
    with pytest.raises(NotAuthenticated):
        signer.verify(header, "GET", "/", nothing)


def test_the_secret_itself_signs_nothing(signer):
    claims, _ = signer.sign(CALLER, "GET", "/").split(".")
    mac = hmac.digest(NEW, claims.encode(), "sha256").hex()
    with pytest.raises(NotAuthenticated):
        signer.verify(f"{claims}.{mac}", "GET", "/", nothing)


def test_secrets_can_be_rotated():
    both = ContextSigner([NEW, OLD])
    assert both.verify(ContextSigner([OLD]).sign(CALLER, "GET", "/"), "GET", "/", nothing) == CALLER
    assert ContextSigner([NEW]).verify(both.sign(CALLER, "GET", "/"), "GET", "/", nothing) == CALLER
    with pytest.raises(NotAuthenticated):
        ContextSigner([OLD]).verify(both.sign(CALLER, "GET", "/"), "GET", "/", nothing)


def test_a_signer_needs_a_secret():
    for secrets in ([], [b""]):
        with pytest.raises(ValueError, match="secret"):
            ContextSigner(secrets)


def test_the_header_does_not_grow_with_the_path(signer):
    assert len(signer.sign(CALLER, "GET", "/" + "x" * 8000)) == len(signer.sign(CALLER, "GET", "/"))
