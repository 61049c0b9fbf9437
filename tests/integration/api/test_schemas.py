"""What the schemas promise holds for real images."""

from jsonschema import Draft4Validator


def test_real_documents_are_valid(api):
    image = api.create(name="x", tags=["t"], extra="y", protected=True)
    api.call("POST", f"/v2/images/{image['id']}/members", json={"member": "friend"})
    documents = {
        "image": image,
        "images": api.call("GET", "/v2/images").json,
        "member": api.call("GET", f"/v2/images/{image['id']}/members/friend").json,
        "members": api.call("GET", f"/v2/images/{image['id']}/members").json,
    }
    for name, document in documents.items():
        Draft4Validator(api.call("GET", f"/v2/schemas/{name}").json).validate(document)
