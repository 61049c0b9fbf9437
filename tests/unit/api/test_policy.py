"""The enforcer: defaults, files that cannot be trusted, what it remembers, and 404 before 403."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st
from oslo_policy import policy as oslo
from tests.unit.api.conftest import make_conf
from tests.unit.api.fake_registry import make_image

from glance_api.policy import RULES, enforcer
from glance_api.policy.enforcer import Enforcer
from glance_api.policy.targets import image_target
from glance_common.config.loading import ConfigError
from glance_common.model.context import RequestContext
from glance_common.model.errors import NotFound, PolicyDenied

OWNER = RequestContext("r", "u", "own", ("member", "reader"))
STRANGER = RequestContext("r", "u", "other", ("member", "reader"))
ADMIN = RequestContext("r", "u", "adm", ("admin",), is_admin=True)


@pytest.fixture
def configured(tmp_path):
    """Return a function that makes an Enforcer with these files beside the configuration file."""

    def make(files: dict[str, str], options: str = "") -> Enforcer:
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(text)
        (tmp_path / "glance-api.conf").write_text(options)
        return Enforcer(make_conf(files=[str(tmp_path / "glance-api.conf")]))

    return make


def test_defaults_of_images():
    policy = Enforcer(make_conf())
    private, public = make_image(visibility="private"), make_image(visibility="public")
    assert policy.allows(OWNER, "get_image", image_target(private))
    assert not policy.allows(STRANGER, "get_image", image_target(private))
    assert policy.allows(STRANGER, "get_image", image_target(public))
    assert not policy.allows(STRANGER, "modify_image", image_target(public))
    assert policy.allows(ADMIN, "modify_image", image_target(public))
    no_role = dataclasses.replace(OWNER, roles=())
    assert not policy.allows(no_role, "get_image", image_target(private))


def test_a_rule_may_ask_for_the_service_that_calls_for_a_user(configured):
    policy = configured({"policy.yaml": "get_image_location: role:service or service_roles:service\n"})
    served = dataclasses.replace(OWNER, service_roles=("service",))
    for caller, allowed in ((OWNER, False), (served, True), (OWNER, False)):
        assert policy.allows(caller, "get_image_location", image_target(make_image())) is allowed
    # The defaults ask for the roles of the caller alone.
    assert not policy.allows(served, "fetch_image_location", image_target(make_image()))
    assert not policy.allows(dataclasses.replace(OWNER, service_roles=("admin",)), "context_is_admin", {})


def test_nobody_without_project_owns_an_image_without_owner():
    policy = Enforcer(make_conf())
    homeless = RequestContext("r", "u", None, ("member", "reader"))
    assert not policy.allows(homeless, "modify_image", image_target(make_image(owner=None)))


def test_a_property_never_stands_in_for_a_field():
    policy = Enforcer(make_conf())
    image = make_image(owner=None, properties={"project_id": "other", "owner": "other", "member_id": "other"})
    assert not policy.allows(STRANGER, "modify_image", image_target(image))


def test_every_rule_names_the_calls_it_guards():
    documented = [rule for rule in RULES if isinstance(rule, oslo.DocumentedRuleDefault)]
    bases = {"default", "context_is_admin", "service_api", "metadef_admin", "metadef_default"}
    assert {rule.name for rule in RULES} - {rule.name for rule in documented} == bases
    assert all(operation["path"].startswith(("/v1/", "/v2/")) for rule in documented for operation in rule.operations)


def test_unknown_rules_are_a_defect():
    with pytest.raises(LookupError):
        Enforcer(make_conf()).allows(OWNER, "no_such_rule", {})


def test_not_found_when_the_image_is_hidden_too():
    policy = Enforcer(make_conf())
    with pytest.raises(NotFound):
        policy.check_image(STRANGER, "modify_image", make_image(visibility="private"))
    with pytest.raises(PolicyDenied):
        policy.check_image(STRANGER, "modify_image", make_image(visibility="public"))
    with pytest.raises(NotFound):
        policy.check_image(dataclasses.replace(OWNER, roles=()), "get_image", make_image(visibility="public"))


def test_yaml_and_json_files(configured, caplog):
    policy = configured({"policy.yaml": "get_images: '!'\n"})
    assert not policy.allows(ADMIN, "get_images", {})
    assert policy.allows(ADMIN, "get_image", {})
    assert not caplog.records


def test_every_rule_of_the_original_is_known(configured, caplog):
    caplog.set_level("INFO")
    unknown = "get_imges"
    configured({"policy.yaml": f"modify_task: ''\nmanage_image_cache: 'role:admin'\ncopy_from: ''\n{unknown}: ''\n"})
    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("WARNING", "policy rule get_imges guards nothing in this service"),
        ("INFO", "policy rule modify_task has no effect: no call changes a task"),
    ]


def test_json_is_read_with_a_warning(configured, caplog):
    policy = configured({"policy.json": '{"get_images": "!"}'})
    assert not policy.allows(ADMIN, "get_images", {})
    assert "policy.json" in caplog.text


def test_directories_apply_on_top(configured):
    policy = configured({
        "policy.yaml": "get_images: '!'\n", "policy.d/10.yaml": "get_images: '@'\nget_image: '!'\n",
        "policy.d/20.yaml": "get_image: '@'\n", "policy.d/.hidden": "get_images: '!'\n",
    })
    assert policy.allows(STRANGER, "get_images", {})
    assert policy.allows(STRANGER, "get_image", {})


def test_the_default_directory_may_be_missing_although_a_file_names_it(configured):
    policy = configured({"policy.yaml": "get_images: '!'\n"}, "[oslo_policy]\npolicy_dirs = policy.d\n")
    assert not policy.allows(ADMIN, "get_images", {})


@pytest.mark.parametrize(
    ("files", "options", "reason"),
    [
        ({"policy.yaml": "{}", "policy.json": "{}"}, "", "only one"),
        ({}, "[oslo_policy]\npolicy_file = mine.yaml\n", "no such file"),
        ({}, "[oslo_policy]\npolicy_dirs = mine.d\n", "no such directory"),
        ({"mine.d": ""}, "[oslo_policy]\npolicy_dirs = mine.d\n", "not a directory"),
        ({"policy.yaml": "get_image: ["}, "", "not YAML"),
        ({"policy.yaml": "- a\n- b\n"}, "", "mapping"),
        ({"policy.yaml": "get_image: true\n"}, "", "must be text"),
        ({"policy.yaml": "get_image: null\n"}, "", "must be text"),
        ({"policy.yaml": "get_image: 'not admin'\n"}, "", "cannot be understood"),
        ({"policy.yaml": "get_image: 'role:a and and role:b'\n"}, "", "cannot be understood"),
        ({"policy.yaml": "get_image: 'not rule:no_such_rule'\n"}, "", "unknown rule"),
        ({"policy.yaml": "get_image: 'rule:mine'\nmine: 'rule:get_image'\n"}, "", "refer to themselves"),
        ({}, "[oslo_policy]\nenforce_new_defaults = false\n", "only true"),
    ],
)
def test_s52_files_that_cannot_be_trusted_stop_the_start(configured, files, options, reason):
    with pytest.raises(ConfigError, match=reason):
        configured(files, options)


def test_a_rule_that_guards_nothing_is_named(configured, caplog):
    configured({"policy.yaml": "get_imagse: '!'\nhelper: '@'\nget_images: 'rule:helper'\n"})
    assert [record.args for record in caplog.records] == [("get_imagse",)]


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(enforcer, "LOOK_AGAIN", 0.0)


def test_changes_are_read_again(configured, impatient, tmp_path):
    policy = configured({"policy.yaml": "get_images: '!'\n"})
    assert not policy.allows(ADMIN, "get_images", {})
    (tmp_path / "policy.yaml").write_text("get_images: '@'\nget_image: '@'\n")
    assert policy.allows(STRANGER, "get_images", {})
    (tmp_path / "policy.yaml").unlink()
    assert not policy.allows(dataclasses.replace(STRANGER, roles=()), "get_images", {})
    assert policy.allows(ADMIN, "get_images", {})


@pytest.mark.parametrize("text", ["get_image: [", "get_image: 'not rule:gone'"])
def test_s52_a_file_that_breaks_later_denies_everything(configured, impatient, tmp_path, caplog, text):
    policy = configured({"policy.yaml": "get_images: '@'\n"})
    (tmp_path / "policy.yaml").write_text(text)
    for _ in range(3):
        assert not policy.allows(ADMIN, "get_images", {})
        assert not policy.is_admin(ADMIN)
        assert policy.allowed_images(ADMIN, "get_image", [make_image()]) == []
    assert len([record for record in caplog.records if record.levelname == "ERROR"]) == 1
    (tmp_path / "policy.yaml").write_text("get_images: '@'\n")
    assert policy.allows(STRANGER, "get_images", {})


def test_s52_a_named_file_that_goes_away_denies_everything(configured, impatient, tmp_path):
    policy = configured({"mine.yaml": "get_images: '!'\n"}, "[oslo_policy]\npolicy_file = mine.yaml\n")
    (tmp_path / "mine.yaml").unlink()
    assert not policy.allows(ADMIN, "get_image", {})


def test_a_rule_that_cannot_be_evaluated_denies(configured):
    policy = configured({"policy.yaml": "get_images: 'not project_id:%(project_id)d'\n"})
    assert not policy.allows(OWNER, "get_images", {"project_id": "own"})


class Callback(oslo.Check):
    """A check of a foreign kind that looks at the name of the image."""

    def __call__(self, target, creds, enforcer, current_rule=None):
        return target["name"] == self.match


def test_checks_of_foreign_kinds_are_asked_each_time(configured, monkeypatch):
    monkeypatch.setitem(oslo._checks.registered_checks, "named", Callback)
    policy = configured({"policy.yaml": "get_image: 'rule:by_name'\nby_name: 'not named:b'\n"})
    images = [make_image(name=name) for name in ("a", "b", "c")]
    assert [image.name for image in policy.allowed_images(STRANGER, "get_image", images)] == ["a", "c"]
    assert [policy.allows(STRANGER, "get_image", image_target(image)) for image in images] == [True, False, True]


def test_rules_about_properties_in_lists(configured):
    policy = configured({"policy.yaml": "get_image: 'project_id:%(reserved_for)s'\n"})
    images = [make_image(name=name, properties={"reserved_for": name}) for name in ("own", "other")]
    assert [image.name for image in policy.allowed_images(STRANGER, "get_image", images)] == ["other"]


image_values = st.fixed_dictionaries({
    "owner": st.sampled_from(["own", "other", None]),
    "member": st.sampled_from(["own", "other", None]),
    "visibility": st.sampled_from(["public", "private", "shared", "community"]),
})
callers = st.builds(
    RequestContext, st.just("r"), st.just("u"), st.sampled_from(["own", "other", None]),
    st.lists(st.sampled_from(["admin", "member", "reader"]), max_size=2).map(tuple),
)
shared = Enforcer(make_conf())


@given(callers, st.lists(image_values, max_size=6), st.sampled_from(["get_image", "modify_image", "get_members"]))
def test_what_is_remembered_is_what_the_library_says(caller, rows, rule):
    images = [make_image(**row) for row in rows]
    engine = oslo.Enforcer(make_conf(), use_conf=False)
    engine.set_rules(oslo.Rules({default.name: default.check for default in RULES}))
    credentials = {"roles": list(caller.roles), "user_id": "u"}
    if caller.project_id:
        credentials["project_id"] = caller.project_id
    expected = [image for image in images if engine.enforce(rule, image_target(image), dict(credentials))]
    assert shared.allowed_images(caller, rule, images) == expected
    assert [image for image in images if shared.allows(caller, rule, image_target(image))] == expected


def test_the_memory_is_bounded(monkeypatch):
    monkeypatch.setattr(enforcer, "MOST_ANSWERS", 10)
    policy = Enforcer(make_conf())
    for number in range(50):
        assert policy.allows(ADMIN, "modify_image", {"project_id": str(number)})
    assert len(policy._rules._answers) <= 10


def test_a_thousand_images_are_one_question(monkeypatch):
    policy = Enforcer(make_conf())
    images = [make_image(id=str(number), visibility="public") for number in range(1000)]
    asked, enforce = [], oslo.Enforcer.enforce

    def count(*question):
        asked.append(question)
        return enforce(*question)

    monkeypatch.setattr(oslo.Enforcer, "enforce", count)
    for _ in range(2):
        assert len(policy.allowed_images(STRANGER, "get_image", images)) == 1000
    # One costs the library 0.3 ms, a thousand would take 300.
    assert len(asked) == 1


def test_unreadable_files(configured, tmp_path):
    (tmp_path / "policy.yaml").mkdir()
    with pytest.raises(ConfigError, match="cannot be read"):
        configured({})
