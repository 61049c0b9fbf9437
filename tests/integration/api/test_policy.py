"""Policy files seen from outside."""

import pytest


@pytest.fixture
def with_policy(make_api, tmp_path):
    """Return a function that makes an API with this policy file."""

    def make(text, **options):
        path = tmp_path / "mine.yaml"
        path.write_text(text)
        return make_api(oslo_policy__policy_file=path, **options)

    return make


def test_a_list_leaves_out_what_get_image_denies(with_policy):
    api = with_policy("get_image: \"'yes':%(shown)s\"\n")
    for number in range(6):
        api.create(name=str(number), shown="yes" if number % 2 else "no")
    assert api.names("sort=name:asc") == ["1", "3", "5"]
    page = api.call("GET", "/v2/images?sort=name:asc&limit=3").json
    assert [image["name"] for image in page["images"]] == ["1"]
    assert page["next"].endswith(f"marker={page['images'][-1]['id']}")
    rest = api.call("GET", page["next"]).json
    assert [image["name"] for image in rest["images"]] == ["3"]


CALLS = {
    "create": ("POST", "/v2/images", {"json": {}}, 201),
    "list": ("GET", "/v2/images", {}, 200),
    "show": ("GET", "{}", {}, 200),
    "tag": ("PUT", "{}/tags/x", {}, 204),
    "share": ("POST", "{}/members", {"json": {"member": "m"}}, 200),
    "members": ("GET", "{}/members", {}, 200),
    "publish": ("PATCH", "{}", {
        "data": '[{"op": "replace", "path": "/visibility", "value": "public"}]',
        "headers": {"Content-Type": "application/openstack-images-v2.1-json-patch"},
    }, 200),
    "delete": ("DELETE", "{}", {}, 204),
}  # fmt: skip
READING = "list show members"
WRITING = f"create {READING} tag share delete"


@pytest.mark.parametrize(
    ("project", "roles", "may"),
    [
        ("own", "", ""),
        ("own", "reader", READING),
        ("own", "member,reader", WRITING),
        ("other", "member,reader", "create list"),
        ("other", "admin", f"{WRITING} publish"),
        ("other", "service", ""),
        (None, "member,reader", ""),
    ],
)
def test_personas(api, project, roles, may):
    """POL-03: what the default rules allow to each persona, on a shared image of project ``own``."""
    done = set()
    for name, (method, path, how, success) in CALLS.items():
        path = path.format(f"/v2/images/{api.create()['id']}")
        answer = api.call(method, path, project=project, roles=roles, **how)
        assert answer.status_code in (success, 403, 404), (name, answer.text)
        if answer.status_code == success:
            done.add(name)
    assert done == set(may.split())


def test_denied_lists(with_policy):
    assert with_policy("get_images: '!'\n").call("GET", "/v2/images", roles="admin").status_code == 403


def test_a_denied_action_is_not_found_when_the_image_is_hidden_as_well(with_policy):
    api = with_policy("modify_image: '!'\nget_image: 'role:admin'\n")
    image = api.create()
    path = f"/v2/images/{image['id']}/tags/x"
    assert api.call("PUT", path).status_code == 404
    assert api.call("PUT", path, roles="admin").status_code == 403


def test_locations_need_their_rule(with_policy):
    api = with_policy("get_image_location: '!'\n", show_multiple_locations=True)
    assert api.create()["locations"] == []
