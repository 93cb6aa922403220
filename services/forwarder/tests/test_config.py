"""Configuration files, overrides, environment, and errors that name the key."""

import json
from pathlib import Path

import pytest

from model_engine_forwarder import configs
from model_engine_forwarder.config import Config, load_config
from model_engine_forwarder.errors import ConfigError
from model_engine_forwarder.overrides import parse_value

SHIPPED = Path(configs.__file__).parent if configs.__file__ else Path(configs.__path__[0])


def load(tmp_path: Path, text: str, *overrides: str, name: str = "c.yaml", **environ: str) -> Config:
    path = tmp_path / name
    path.write_text(text)
    return load_config(path, overrides, environ)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5", 5),
        ("-5", -5),
        ("007", 7),
        ("1.5", 1.5),
        ("true", True),
        ("False", False),
        ("null", None),
        ("None", None),
        ("['/a','/b']", ["/a", "/b"]),
        ('["/a", "/b"]', ["/a", "/b"]),
        ("[]", []),
        ("{'a': 1}", {"a": 1}),
        ("'5'", "5"),
        ("/predict", "/predict"),
        ("a=b;c=d", "a=b;c=d"),
        ("", ""),
        ("1e3", "1e3"),
    ],
)
def test_values_of_overrides_are_typed(text: str, value: object) -> None:
    parsed = parse_value(text)
    assert parsed == value
    assert type(parsed) is type(value)


def test_shipped_http_configuration() -> None:
    config = load_config(SHIPPED / "service--http_forwarder.yaml")
    assert config.sync is not None
    assert config.stream is not None
    assert (config.sync.user_port, config.sync.predict_route, config.sync.health_route) == (5005, "/predict", "/readyz")
    assert (config.sync.serialize_results_as_string, config.sync.forward_http_status) == (True, True)
    assert (config.stream.predict_route, config.stream.serialize_results_as_string) == ("/stream", False)
    assert (config.max_concurrency, config.worker, config.async_) == (100, None, None)


@pytest.mark.parametrize(
    ("name", "unwrap", "text", "wrap"),
    [
        ("service--forwarder.yaml", True, True, True),
        ("service--forwarder-runnable-img-converted-from-artifact.yaml", False, False, False),
    ],
)
def test_shipped_sync_and_async_configurations(name: str, unwrap: bool, text: bool, wrap: bool) -> None:
    config = load_config(SHIPPED / name)
    for block in (config.sync, config.async_):
        assert block is not None
        found = (block.model_engine_unwrap, block.serialize_results_as_string, block.wrap_response)
        assert found == (unwrap, text, wrap)
    assert config.sync is not None
    assert config.async_ is not None
    assert config.sync.forward_http_status
    assert config.async_.forward_http_status_in_body
    assert config.stream is None


def test_defaults_of_the_code(tmp_path: Path) -> None:
    config = load(tmp_path, "forwarder: {sync: {}, stream: {}, async: {}}")
    assert config.sync is not None
    assert config.stream is not None
    assert config.sync == config.async_
    assert config.sync.model_dump() == {
        "user_port": 5005,
        "user_hostname": "localhost",
        "use_grpc": False,
        "predict_route": "/predict",
        "healthcheck_route": None,
        "batch_route": None,
        "model_engine_unwrap": True,
        "serialize_results_as_string": True,
        "routes": (),
        "extra_routes": (),
        "forwarder_type": "default",
        "wrap_response": True,
        "forward_http_status": False,
        "forward_http_status_in_body": False,
    }
    assert config.sync.health_route == "/readyz"
    assert config.stream.serialize_results_as_string is False
    assert config.max_concurrency == 100


@pytest.mark.parametrize(
    "text",
    [
        "forwarder: {sync: {user_port: 7}}",
        "anything: {sync: {user_port: 7}}",
        "sync: {user_port: 7}",
        "sync: {user_port: 7}\nmax_concurrency: 100",
    ],
)
@pytest.mark.parametrize("as_json", [False, True])
def test_blocks_may_stand_below_one_key_or_at_top_level(tmp_path: Path, text: str, as_json: bool) -> None:
    import yaml

    name = "c.json" if as_json else "c.yaml"
    config = load(tmp_path, json.dumps(yaml.safe_load(text)) if as_json else text, name=name)
    assert config.sync is not None
    assert config.sync.user_port == 7


@pytest.mark.parametrize("override", ["forwarder.max_concurrency=20", "max_concurrency=20"])
def test_both_spellings_of_max_concurrency(override: str) -> None:
    config = load_config(SHIPPED / "service--http_forwarder.yaml", [override])
    assert config.max_concurrency == 20
    assert config.sync is not None


def test_overrides(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        "forwarder: {sync: {}}",
        "forwarder.sync.model_engine_unwrap=false",
        "forwarder.sync.routes=['/a', '/b=c']",
        "forwarder.sync.user_port=6000",
        "forwarder.stream.predict_route=/x",
        "forwarder.stream.forwarder_type=passthrough",
    )
    assert config.sync is not None
    assert config.stream is not None
    assert config.sync.model_engine_unwrap is False
    assert config.sync.routes == ("/a", "/b=c")
    assert config.sync.user_port == 6000
    assert (config.stream.predict_route, config.stream.health_route) == ("/x", "/health")


@pytest.mark.parametrize(("text", "flag"), [("true", True), ("FALSE", False)])
def test_environment_overrides_sync_and_stream(tmp_path: Path, text: str, flag: bool) -> None:
    config = load(tmp_path, "forwarder: {sync: {}, stream: {}, async: {}}", SERIALIZE_RESULTS_AS_STRING=text)
    assert config.sync is not None
    assert config.stream is not None
    assert config.async_ is not None
    assert config.sync.serialize_results_as_string is flag
    assert config.stream.serialize_results_as_string is flag
    assert config.async_.serialize_results_as_string is True


@pytest.mark.parametrize(
    ("text", "overrides", "named"),
    [
        ("forwarder: {sync: {user_prot: 1}}", (), "sync.user_prot: unknown key"),
        ("forwarder: {sync: {}, mx: 1}", (), "mx: unknown key"),
        ("forwarder: {sync: {use_grpc: true}}", (), "sync.use_grpc"),
        ("forwarder: {sync: {batch_route: /b}}", (), "sync.batch_route"),
        ("forwarder: {sync: {user_hostname: example.com}}", (), "sync.user_hostname"),
        ("forwarder: {sync: {user_port: 70000}}", (), "sync.user_port"),
        ("forwarder: {sync: {predict_route: predict}}", (), "sync.predict_route"),
        ("forwarder: {sync: {predict_route: ''}}", (), "sync.predict_route"),
        ("forwarder: {sync: {routes: ['/a b']}}", (), "sync.routes.0"),
        ("forwarder: {stream: {wrap_response: true}}", (), "stream.wrap_response"),
        ("forwarder: {sync: {}, max_concurrency: 0}", (), "max_concurrency"),
        ("forwarder: {sync: {forwarder_type: other}}", (), "sync.forwarder_type"),
        ("forwarder: {sync: {model_engine_unwrap: perhaps}}", (), "sync.model_engine_unwrap"),
        ("forwarder: {max_concurrency: 5}", (), "sync, stream, async"),
        ("forwarder: {sync: {}}", ("no_equals",), "key.path=value"),
        ("forwarder: {sync: {}}", ("a..b=1",), "key.path=value"),
        ("forwarder: {sync: {}}", ("forwarder.sync.user_port.x=1",), "user_port"),
        ("forwarder: {sync: {user_port: 1}}", ("forwarder.sync.user_port.x=1",), "user_port"),
        ("forwarder: {sync: {}}", ("forwarder.sync.routes=['/a'",), "not a valid list"),
        ("- a list", (), "map of keys"),
        ("a: [", (), "neither YAML nor JSON"),
        (
            "forwarder: {sync: {}, worker: {endpoint_id: e, worker_id: w, owner: o,"
            " queue: {stream: s, durable: d, concurrency: 1}}}",
            (),
            "async block",
        ),
    ],
)
def test_errors_name_the_key(tmp_path: Path, text: str, overrides: tuple[str, ...], named: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text, *overrides)
    assert named in str(caught.value)


def test_every_wrong_key_is_listed(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, "forwarder: {sync: {user_port: 0, nope: 1}, stream: {use_grpc: true}}")
    assert len(str(caught.value).splitlines()) == 3


def test_environment_must_be_true_or_false(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="SERIALIZE_RESULTS_AS_STRING=maybe"):
        load(tmp_path, "forwarder: {sync: {}}", SERIALIZE_RESULTS_AS_STRING="maybe")


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path / "none.yaml")
