"""Image documents, pages and tasks are bounded in bytes, whichever version of the API is asked (S-59)."""

import re
import threading
from concurrent.futures import ThreadPoolExecutor

import orjson
import pytest
import sqlalchemy as sa
from tests.integration.api.imports_kit import page, working
from tests.support.registry_rows import insert_image

from glance_common.model.document_size import document_size
from glance_registry.db.tables import operations as operation_rows
from glance_registry.records.bounds import MAX_IMAGE_DOCUMENT, MAX_PAGE

LARGEST = 10_000
SMALL_MARGIN = 64 * 1024
"""Bytes that the fields of the images of a page take beside what is counted."""
ADMIN = "admin,member,reader"
PATCH = {"Content-Type": "application/openstack-images-v2.1-json-patch"}


@pytest.fixture(params=["asked by the API", "asked by the registry alone"])
def bounded(request, make_api):
    """An API and the bound that holds there: its own, or that of the registry, when its own is higher."""
    if request.param == "asked by the API":
        return make_api(max_image_document=LARGEST), LARGEST
    return make_api(max_image_document=2 * MAX_IMAGE_DOCUMENT, max_json_body=2**21), MAX_IMAGE_DOCUMENT


def properties_of(size):
    """Return properties that take about ``size`` bytes, no value longer than a value may be."""
    return {f"p{number}": "x" * min(60_000, size - 60_000 * number) for number in range(-(-size // 60_000))}


def refused(answer, largest):
    assert answer.status_code == 413, answer.text
    assert "max_image_document" in answer.text
    assert f"at most {largest} bytes" in answer.text
    assert len(answer.text) < 1000


def patch(api, image, *operations, **how):
    return api.call("PATCH", f"/v2/images/{image}", headers=PATCH, data=orjson.dumps(list(operations)), **how)


def test_s59_create_and_change_in_v2(bounded):
    api, largest = bounded
    refused(api.call("POST", "/v2/images", json=properties_of(largest)), largest)
    assert api.names() == []
    image = api.create(name="n", **properties_of(largest - 500))["id"]
    refused(patch(api, image, {"op": "add", "path": "/more", "value": "x" * 600}), largest)
    refused(patch(api, image, {"op": "replace", "path": "/tags", "value": ["1" * 250, "2" * 250]}), largest)
    for number in range(2):
        assert api.call("PUT", f"/v2/images/{image}/tags/{number}{'t' * 100}").status_code == 204
    document = api.call("GET", f"/v2/images/{image}").json
    properties = {name: value for name, value in document.items() if re.fullmatch(r"p\d+", name)}
    assert document_size("n", properties, document["tags"]) <= largest
    assert "more" not in document


def test_s59_a_tag_is_no_way_around_the_bound(make_api):
    # The registry is the only one that counts here: the API asks nothing before it.
    api = make_api()
    image = api.create(**properties_of(MAX_IMAGE_DOCUMENT - 500))["id"]
    answers = [api.call("PUT", f"/v2/images/{image}/tags/{number}{'t' * 240}") for number in range(3)]
    assert [answer.status_code for answer in answers] == [204, 413, 413]
    refused(answers[-1], MAX_IMAGE_DOCUMENT)


def test_s59_create_and_change_in_v1(bounded):
    api, largest = bounded
    headers = {f"x-image-meta-property-{name}": value for name, value in properties_of(largest).items()}
    refused(api.call("POST", "/v1/images", headers=headers), largest)
    assert api.names() == []
    fits = {f"x-image-meta-property-{name}": value for name, value in properties_of(largest - 500).items()}
    image = api.call("POST", "/v1/images", headers=fits).json["image"]["id"]
    keep = {"x-glance-registry-purge-props": "false"}
    more = {"x-image-meta-property-more": "x" * 600}
    refused(api.call("PUT", f"/v1/images/{image}", headers={**keep, **more}), largest)
    assert api.call("PUT", f"/v1/images/{image}", headers=more).status_code == 200
    # What a client of v1 can be sent at all, whatever the image holds.
    head = api.call("HEAD", f"/v1/images/{image}")
    assert sum(len(name) + len(value) for name, value in head.headers) < largest + 5000


def test_s59_an_image_that_is_too_large_is_read_and_can_be_made_smaller(api, engine):
    image = insert_image(engine, properties=properties_of(3 * MAX_IMAGE_DOCUMENT), visibility="shared")
    path = f"/v2/images/{image}"
    assert len(api.call("GET", path).data) > 3 * MAX_IMAGE_DOCUMENT
    assert [each["id"] for each in api.call("GET", "/v2/images").json["images"]] == [image]
    refused(patch(api, image, {"op": "add", "path": "/more", "value": "1"}), MAX_IMAGE_DOCUMENT)
    assert patch(api, image, {"op": "replace", "path": "/name", "value": None}).status_code == 200
    assert patch(api, image, {"op": "replace", "path": "/p0", "value": "1"}).status_code == 200
    assert patch(api, image, {"op": "add", "path": "/min_disk", "value": 3}).status_code == 200


def test_s59_a_task_describes_no_image_that_is_too_large(make_api):
    api = make_api(max_image_document=LARGEST, import_filtering_opts__allowed_hosts="[127.0.0.1]")
    formats = {"disk_format": "raw", "container_format": "bare"}

    def ask(**changed):
        task = {
            "import_from": "http://127.0.0.1/i", "import_from_format": "raw",
            "image_properties": {**formats, "p": "x" * 100}, **changed,
        }
        return api.call("POST", "/v2/tasks", json={"type": "import", "input": task}, roles=ADMIN)

    refused(ask(image_properties={**formats, **properties_of(LARGEST)}), LARGEST)
    for name, longest in {"import_from": 4096, "import_from_format": 255}.items():
        answer = ask(**{name: "http://h/" + "x" * 5000})
        assert (answer.status_code, f"input.{name}: " in answer.text) == (400, True), answer.text
        assert f"at most {longest} characters" in answer.text
        assert len(answer.text) < 500


def pages(api, path, key, **how):
    """Return the answers of a list, each by the link ``next`` of the one before."""
    answers = [api.call("GET", path, **how)]
    while "next" in answers[-1].json:
        answers.append(api.call("GET", answers[-1].json["next"], **how))
        assert answers[-1].json[key], "a page that a link leads to is empty"
    return answers


@pytest.fixture
def large(engine, api):
    """Images of half a MiB each, newest first, with small ones among them: more than two pages hold."""
    made = []
    for number in range(2 * MAX_PAGE // MAX_IMAGE_DOCUMENT + 5):
        made.append(insert_image(engine, visibility="shared", properties=properties_of(MAX_IMAGE_DOCUMENT - 500)))
        made.append(insert_image(engine, visibility="shared", name=f"small {number}"))
    return made[::-1]


@pytest.mark.parametrize("limit", [25, 1000])
def test_s59_pages_end_early_and_next_shows_each_image_once(api, large, limit):
    answers = pages(api, f"/v2/images?limit={limit}", "images")
    assert [image["id"] for answer in answers for image in answer.json["images"]] == large
    assert all(len(answer.data) <= MAX_PAGE + SMALL_MARGIN for answer in answers)
    assert len(answers) >= 3


@pytest.mark.parametrize("path", ["/v1/images", "/v1/images/detail"])
def test_s59_pages_of_v1_end_early_and_a_marker_goes_on(api, large, path):
    seen, marker = [], ""
    while True:
        answer = api.call("GET", f"{path}?limit=1000{marker}")
        assert len(answer.data) <= MAX_PAGE + SMALL_MARGIN
        found = [image["id"] for image in answer.json["images"]]
        if not found:
            break
        seen += found
        marker = f"&marker={found[-1]}"
    assert seen == large


def test_s59_a_page_of_the_usual_size_is_never_cut_short(api, engine):
    # glanceclient asks v1 for 20 images at a time, and takes a page with fewer for the last one.
    made = [insert_image(engine, visibility="shared", properties=properties_of(MAX_IMAGE_DOCUMENT)) for _ in range(26)]
    for path in ("/v1/images/detail", "/v2/images"):
        assert [image["id"] for image in api.call("GET", path).json["images"]] == made[:0:-1]


def rows(engine, image, number, junk):
    with engine.begin() as connection:
        for each in range(number):
            at = sa.text(f"now() - interval '{number - each} minutes'")
            connection.execute(sa.insert(operation_rows).values(
                id=sa.func.gen_random_uuid(), kind="api_image_import", image_id=image, owner="own", status="success",
                ttl=48, on_fail="queued", input={"import_req": junk}, message=str(each), deadline=at, created_at=at,
            ))


def test_s59_lists_of_tasks_are_bounded(api, engine):
    image = api.create()["id"]
    rows(engine, image, 20, "x" * 2**20)
    listed = pages(api, "/v2/tasks?limit=7", "tasks", roles=ADMIN)
    assert [len(answer.json["tasks"]) for answer in listed] == [7, 7, 6]
    assert all(len(answer.data) < 10_000 for answer in listed)
    assert not {"input", "result", "message"} & listed[0].json["tasks"][0].keys()
    of_image = api.call("GET", f"/v2/images/{image}/tasks")
    assert len(of_image.data) <= MAX_PAGE + SMALL_MARGIN
    assert [task["message"] for task in of_image.json["tasks"]] == [str(number) for number in range(5, 20)]


def test_s59_only_what_is_known_of_an_import_is_kept(make_node, web):
    node = make_node()
    image = node.create()
    uri = f"http://127.0.0.1:{web.port}/i"
    arguments = {"uri": uri, "junk": "j" * 100_000}
    node.begin(image, "web-download", arguments=arguments, stores=["slow", "slow"], all_stores=False, more=["m"] * 9999)
    task = node.task(image)
    assert task["input"]["import_req"] == {
        "method": {"name": "web-download", "uri": uri}, "stores": ["slow"], "all_stores": False,
    }
    assert "jjj" not in node.call("GET", f"/v2/images/{image}/tasks", 200).text


@pytest.mark.parametrize(("name", "longest"), [
    ("uri", 4096), ("glance_region", 255), ("glance_image_id", 255), ("glance_service_interface", 255),
])
def test_s59_arguments_of_an_import_are_bounded(make_node, name, longest):
    node = make_node()
    image = node.create()
    answer = node.begin(image, "web-download", 400, arguments={"uri": "http://127.0.0.1/i", name: "x" * 5000})
    assert f"method.{name}: has at most {longest} characters" in answer.text
    assert len(answer.text) < 500


def test_s59_a_plugin_does_not_make_an_image_too_large(make_node, web):
    with working(make_node(
        image_import_opts__image_import_plugins="[inject_image_metadata]",
        inject_metadata_properties__inject="note:" + "x" * 1000,
        inject_metadata_properties__ignore_user_roles="nobody",
    )) as node:
        image = node.create(**properties_of(MAX_IMAGE_DOCUMENT - 500))
        node.begin(image, "web-download", arguments={"uri": page(web, bytes(1024))["uri"]})
        task = node.finished(image)
        assert (task["status"], "max_image_document" in task["message"]) == ("failure", True), task
        shown = node.show(image)
        assert (shown["status"], "note" in shown) == ("queued", False)
        node.settled()


def test_s59_two_changes_at_the_same_time_that_fit_alone_do_not_fit_together(make_api):
    # Whichever is first: the other one meets its image, or a conflict after which it is tried again.
    api = make_api(max_image_document=2 * MAX_IMAGE_DOCUMENT)
    image = api.create(**properties_of(MAX_IMAGE_DOCUMENT - 70_000))["id"]
    ready = threading.Barrier(2)

    def change(name):
        ready.wait()
        return patch(api, image, {"op": "add", "path": f"/{name}", "value": "x" * 40_000}).status_code

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(change, ("one", "two"))) == [200, 413]
    assert len({"one", "two"} & api.call("GET", f"/v2/images/{image}").json.keys()) == 1
