"""Property protections: the file, and what callers may do with which property (configuration section 8)."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.api.conftest import make_conf
from tests.unit.api.fake_registry import make_image

from glance_api.policy import properties
from glance_api.policy.enforcer import Enforcer
from glance_api.policy.properties import OPERATIONS, PropertyProtections, Section
from glance_api.policy.targets import image_target
from glance_common.config.loading import ConfigError
from glance_common.model.context import RequestContext
from glance_common.model.errors import Forbidden

MEMBER = RequestContext("r", "u", "own", ("member", "reader"))
BILLING = replace(MEMBER, roles=("member", "billing"))
ADMIN = replace(MEMBER, roles=("admin",), is_admin=True)

BY_ROLE = """
[^x_billing_]
create = Billing, admin
read = @
update = admin
delete = !

[secret]
create = admin
read = admin
update = admin
delete =

[.*]
create = @
read = @
update = @
delete = @
"""


@pytest.fixture
def protect(tmp_path):
    """Return a function that reads a file of protections, with these policy rules in force."""

    def make(text: str, form: str = "roles", rules: str = "") -> PropertyProtections:
        path = tmp_path / "protections.conf"
        path.write_text(text)
        (tmp_path / "policy.yaml").write_text(rules)
        options = {"property_protection_file": str(path), "property_protection_rule_format": form}
        (tmp_path / "glance-api.conf").write_text("")
        conf = make_conf(options, files=[str(tmp_path / "glance-api.conf")])
        loaded = properties.load(conf, Enforcer(conf))
        assert loaded is not None
        return loaded

    return make


def allowed(protections: PropertyProtections, context: RequestContext, name: str) -> str:
    return " ".join(operation for operation in OPERATIONS if protections.allows(context, operation, name))


def test_nothing_is_asked_without_a_file():
    conf = make_conf()
    assert properties.load(conf, Enforcer(conf)) is None


def test_roles(protect):
    protections = protect(BY_ROLE)
    assert allowed(protections, MEMBER, "x_billing_code") == "read"
    assert allowed(protections, BILLING, "x_billing_code") == "create read"
    assert allowed(protections, ADMIN, "x_billing_code") == "create read update"
    assert allowed(protections, replace(MEMBER, service_roles=("billing",)), "x_billing_code") == "create read"
    assert allowed(protections, MEMBER, "my_secret_key") == ""
    assert allowed(protections, ADMIN, "my_secret_key") == "create read update"
    assert allowed(protections, MEMBER, "colour") == "create read update delete"


def test_policy_rules_still_see_what_the_caller_does_not(protect):
    image = protect(BY_ROLE).readable(MEMBER, make_image(properties={"secret": "x", "colour": "red"}))
    assert image.properties == {"colour": "red"}
    assert image_target(image)["secret"] == "x"


def test_the_first_section_that_fits_decides_and_without_one_nobody_may(protect):
    section = "[{}]\ncreate = {}\nread = @\nupdate = @\ndelete = @\n"
    protections = protect(section.format("^a", "!") + section.format("^ab", "@"))
    assert not protections.allows(ADMIN, "create", "abc")
    assert allowed(protections, ADMIN, "b") == ""


def test_what_the_service_itself_writes_is_never_closed(protect):
    protections = protect("[.*]\ncreate = !\nread = !\nupdate = !\ndelete = !\n")
    assert allowed(protections, MEMBER, "os_glance_import_task") == "create read update delete"
    assert allowed(protections, MEMBER, "my_os_glance") == ""


def test_policies(protect):
    text = "[.*]\ncreate = billing\nread = @\nupdate = context_is_admin\ndelete = !\n"
    protections = protect(text, "policies", "billing: role:billing")
    assert allowed(protections, MEMBER, "x") == "read"
    assert allowed(protections, BILLING, "x") == "create read"
    assert allowed(protections, ADMIN, "x") == "read update"


@pytest.mark.parametrize("form", ["roles", "policies"])
def test_the_samples_are_right(protect, form):
    sample = Path(__file__).parents[3] / "etc" / "glance" / f"property-protections-{form}.conf"
    protections = protect(sample.read_text(), form)
    assert allowed(protections, MEMBER, "internal_note") == ""
    assert allowed(protections, ADMIN, "internal_note") == "create read update"
    assert allowed(protections, MEMBER, "os_distro") == "create read update delete"


def test_a_rule_that_was_taken_out_of_the_policy_file_denies(protect, tmp_path, monkeypatch):
    text = "[.*]\ncreate = billing\nread = @\nupdate = @\ndelete = @\n"
    monkeypatch.setattr("glance_api.policy.enforcer.LOOK_AGAIN", 0.0)
    protections = protect(text, "policies", "billing: '@'")
    assert protections.allows(MEMBER, "create", "x")
    (tmp_path / "policy.yaml").write_text("other: '@'")
    assert not protections.allows(MEMBER, "create", "x")


FULL = "create = @\nread = @\nupdate = @\ndelete = @\n"


@pytest.mark.parametrize(
    ("text", "form", "words"),
    [
        ("create = @", "roles", "INI"),
        ("[a]\n" + FULL + "[a]\n" + FULL, "roles", "INI"),
        ("[a(]\n" + FULL, "roles", "[a(] regular expression"),
        ("[a]\ncreate = @\nupdate = @\ndelete = @\n", "roles", "[a] read missing"),
        ("[a]\n" + FULL + "raed = @\n", "roles", "[a] raed = @ create, read, update, delete"),
        ("[a]\n" + FULL.replace("read = @", "read = @, !"), "roles", "[a] read = @, ! exclude"),
        ("[a]\n" + FULL.replace("read = @", "read = default, service_api"), "policies", "[a] read one policy rule"),
        ("[a]\n" + FULL.replace("read = @", "read = nosuch"), "policies", "[a] read = nosuch there is no such policy"),
    ],
)
def test_a_file_that_cannot_be_trusted_stops_the_start(protect, tmp_path, text, form, words):
    with pytest.raises(ConfigError) as refused:
        protect(text, form)
    message = str(refused.value)
    assert message.startswith(str(tmp_path / "protections.conf"))
    assert [word for word in words.split() if word not in message] == []


def test_a_named_file_that_is_missing_stops_the_start():
    conf = make_conf({"property_protection_file": "/nowhere/protections.conf"})
    with pytest.raises(ConfigError, match=r"property_protection_file = /nowhere.*there is no such file"):
        properties.load(conf, Enforcer(conf))


ENFORCER = Enforcer(make_conf())
NAMES = ("free", "hidden", "fixed", "kept")
MODEL: dict[str, set[str]] = {
    "free": set(OPERATIONS), "hidden": {"create"}, "fixed": {"create", "read"}, "kept": {"read", "update"},
}
TEXT = "".join(
    f"[^{name}$]\n" + "".join(f"{operation} = {'@' if operation in may else '!'}\n" for operation in OPERATIONS)
    for name, may in MODEL.items()
)
values = st.dictionaries(st.sampled_from(NAMES), st.sampled_from("ab"))


@given(stored=values, wanted=values, named=st.sets(st.sampled_from(NAMES)))
def test_s47_no_change_without_the_right_to_it(stored, wanted, named, tmp_path_factory):
    """Whatever is asked: what comes out differs from what is stored only where the caller may do that."""
    path = tmp_path_factory.getbasetemp() / "model.conf"
    path.write_text(TEXT)
    conf = make_conf({"property_protection_file": str(path)})
    protections = properties.load(conf, ENFORCER)
    try:
        after = protections.checked(MEMBER, stored, wanted, named)
    except Forbidden:
        return
    for name in NAMES:
        old, new = stored.get(name), after.get(name)
        if old is None and new is not None:
            assert "create" in MODEL[name]
        elif old is not None and new is None:
            assert {"read", "delete"} <= MODEL[name]
        elif old != new:
            assert "update" in MODEL[name]
    assert {name: after[name] for name in wanted} == wanted


def test_s59_what_is_too_long_for_a_name_is_matched_with_no_section():
    matched = []
    names = SimpleNamespace(search=matched.append, pattern="x")
    protections = PropertyProtections([Section(names, dict.fromkeys(OPERATIONS, lambda _context: True))])
    context = RequestContext("req-1", roles=("admin",))
    assert not protections.allows(context, "read", "x" * 256)
    protections.check_spelling(context, "x" * 256)
    assert matched == []
    assert not protections.allows(context, "read", "y" * 255)
    assert matched == ["y" * 255]
