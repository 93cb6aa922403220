"""Bundles through both versions of the API."""

from typing import Any

import httpx

V1 = {
    "name": "old",
    "location": "s3://bucket/key",
    "requirements": ["numpy"],
    "env_params": {"framework_type": "tensorflow", "tensorflow_version": "2.0"},
    "packaging_type": "zip",
    "metadata": {"load_predict_fn_module_path": "a.b", "load_model_fn_module_path": "a.c"},
    "app_config": {"k": [1, None]},
}


async def _create(client: httpx.AsyncClient, version: str, body: dict[str, Any]) -> str:
    answer = await client.post(f"/{version}/model-bundles", json=body)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["model_bundle_id"])


async def test_a_bundle_is_the_same_through_both_versions(
    client: httpx.AsyncClient, bundle_body: dict[str, Any]
) -> None:
    new = await _create(client, "v2", bundle_body)
    old = await _create(client, "v1", V1)

    assert (await client.get(f"/v2/model-bundles/{new}")).json()["flavor"] == {
        **bundle_body["flavor"],
        "app_config": None,
    }
    v1 = (await client.get(f"/v1/model-bundles/{new}")).json()
    assert (v1["packaging_type"], v1["location"], v1["metadata"]) == ("cloudpickle", "s3://bucket/key", {"by": "test"})
    assert v1["env_params"]["pytorch_image_tag"] == "2"

    assert (await client.get(f"/v1/model-bundles/{old}")).json()["app_config"] == {"k": [1, None]}
    flavor = (await client.get(f"/v2/model-bundles/{old}")).json()["flavor"]
    assert (flavor["flavor"], flavor["load_model_fn_module_path"]) == ("zip_artifact", "a.c")
    assert flavor["framework"] == {"framework_type": "tensorflow", "tensorflow_version": "2.0"}
    assert flavor["app_config"] == {"k": [1, None]}


async def test_images_have_a_version_1_view(client: httpx.AsyncClient, bundle_body: dict[str, Any]) -> None:
    image = {
        "flavor": "runnable_image",
        "repository": "r",
        "tag": "t",
        "command": ["c"],
        "protocol": "http",
        "forwarder_type": None,
    }
    bundle_id = await _create(client, "v2", {**bundle_body, "flavor": image})
    v1 = (await client.get(f"/v1/model-bundles/{bundle_id}")).json()
    v2 = (await client.get(f"/v2/model-bundles/{bundle_id}")).json()

    assert (v1["location"], v1["requirements"], v1["packaging_type"]) == ("unused", [], "lira")
    assert (v1["env_params"]["ecr_repo"], v1["env_params"]["image_tag"]) == ("r", "t")
    assert (v2["flavor"]["forwarder_type"], v2["flavor"]["readiness_initial_delay_seconds"]) == ("default", 120)


async def test_latest_and_order(client: httpx.AsyncClient, bundle_body: dict[str, Any]) -> None:
    made = [await _create(client, "v2", bundle_body) for _ in range(3)]
    await _create(client, "v2", {**bundle_body, "name": "other"})

    for version in ("v1", "v2"):
        latest = await client.get(f"/{version}/model-bundles/latest", params={"model_name": "digits"})
        assert latest.json()["id"] == made[-1]
        for order, expected in (("newest", made[::-1]), ("oldest", made)):
            query = {"model_name": "digits", "order_by": order}
            listed = (await client.get(f"/{version}/model-bundles", params=query)).json()["model_bundles"]
            assert [bundle["id"] for bundle in listed] == expected
    missing = await client.get("/v1/model-bundles/latest", params={"model_name": "nope"})
    assert (missing.status_code, missing.json()["detail"]) == (404, "Model Bundle nope  was not found.")


MISSHAPEN: list[tuple[str, dict[str, Any], str, str]] = [
    ("v1", {"env_params": {"framework_type": "pytorch"}}, "value_error", "env_params"),
    ("v1", {"env_params": {"framework_type": "pytorch", "pytorch_image_tag": None}}, "assertion_error", "env_params"),
    ("v1", {"env_params": {"framework_type": "nope"}}, "enum", "framework_type"),
    ("v1", {"env_params": []}, "model_attributes_type", "env_params"),
    ("v1", {"packaging_type": "tar"}, "enum", "packaging_type"),
    ("v1", {"name": ""}, "string_too_short", "name"),
    ("v2", {"flavor": {"flavor": "nope"}}, "union_tag_invalid", "flavor"),
    ("v2", {"flavor": {}}, "union_tag_not_found", "flavor"),
    ("v2", {"metadata": [1]}, "dict_type", "metadata"),
]


async def test_shape_errors_name_the_field(client: httpx.AsyncClient, bundle_body: dict[str, Any]) -> None:
    for version, changes, kind, field in MISSHAPEN:
        body = {**(V1 if version == "v1" else bundle_body), **changes}
        answer = await client.post(f"/{version}/model-bundles", json=body)
        assert answer.status_code == 422, (changes, answer.text)
        problem = answer.json()["detail"][0]
        assert (changes, problem["type"]) == (changes, kind)
        assert field in problem["loc"]


async def test_text_that_is_no_unicode_is_refused_where_it_is_stored_as_text(
    client: httpx.AsyncClient, bundle_body: dict[str, Any]
) -> None:
    headers = {"content-type": "application/json"}
    body = b'{"name": "\\ud800", "schema_location": "", "flavor": %s}'
    flavor = (
        b'{"flavor": "zip_artifact", "requirements": [], "location": "l", "load_predict_fn_module_path": "a",'
        b'"load_model_fn_module_path": "b", "framework": {"framework_type": "pytorch", "pytorch_image_tag": ""}}'
    )
    named = await client.post("/v2/model-bundles", content=body % flavor, headers=headers)
    assert (named.status_code, named.json()["detail"][0]["loc"]) == (422, ["body", "name"])
    placed = body.replace(b'"\\ud800"', b'"n"') % flavor.replace(b'"l"', b'"\\ud800"')
    refused = await client.post("/v2/model-bundles", content=placed, headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (400, "invalid_text")

    free = body.replace(
        b'"\\ud800"', b'"n", "metadata": {"a\\u0000": "\\ud800", "big": 123456789012345678901234567890}'
    )
    kept = await client.post("/v2/model-bundles", content=free % flavor, headers=headers)
    read = await client.get(f"/v2/model-bundles/{kept.json()['model_bundle_id']}")
    assert b'{"a\\u0000":"\\ud800","big":123456789012345678901234567890}' in read.content
