"""Tags one by one, down to the database (API section 13)."""

from concurrent.futures import ThreadPoolExecutor


def tags(api, image):
    return sorted(api.call("GET", f"/v2/images/{image['id']}").json["tags"])


def test_add_and_remove(api):
    image = api.create(tags=["first"])
    path = f"/v2/images/{image['id']}/tags"
    for tag in ("new", "new", "a%2Fb", "%F0%9F%8F%B7", "..", "x" * 255):
        assert api.call("PUT", f"{path}/{tag}").status_code == 204, tag
    assert tags(api, image) == sorted(["first", "new", "a/b", "🏷", "..", "x" * 255])
    for tag, status in (("new", 204), ("new", 404), ("a%2Fb", 204), ("..", 204)):
        assert api.call("DELETE", f"{path}/{tag}").status_code == status, tag
    assert tags(api, image) == sorted(["first", "🏷", "x" * 255])
    assert api.call("PUT", f"{path}/{'x' * 256}").status_code == 400


def test_many_at_once_lose_nothing_and_keep_the_quota(make_api):
    api = make_api(image_tag_quota=10)
    image = api.create()

    def add(number):
        return api.call("PUT", f"/v2/images/{image['id']}/tags/t{number}").status_code

    with ThreadPoolExecutor(4) as pool:
        statuses = list(pool.map(add, range(16)))
    assert sorted(set(statuses)) == [204, 413]
    assert len(tags(api, image)) == statuses.count(204) == 10
    assert [f"t{number}" in tags(api, image) for number in range(16)] == [status == 204 for status in statuses]
