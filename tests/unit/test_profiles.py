"""A profile is checked as the settings are, and says the same by variables as by its values."""

from pathlib import Path

import pytest

from app.profiles import find_profile, read_profile, shipped
from app.settings import ConfigurationError, Settings

PROFILE = """
# For a big machine.
port: 9000
cpu_threads: 2
log_level: warning
database: {pool_size: 20}
features:
  prefetch: true
next_encoder: null
"""


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "fast.yaml"
    file.write_text(text)
    return file


def test_the_variables_say_what_the_file_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = read_profile(written(tmp_path, PROFILE))
    assert profile.name == "fast"
    assert profile.values["database"] == {"pool_size": 20}
    for name, value in profile.variables().items():
        monkeypatch.setenv(name, value)
    assert Settings() == Settings.model_construct(
        **{
            **Settings.model_construct().__dict__,
            "port": 9000,
            "cpu_threads": 2,
            "log_level": "warning",
            "database": Settings.model_fields["database"].default.model_copy(
                update={"pool_size": 20}
            ),
            "features": Settings.model_fields["features"].default.model_copy(
                update={"prefetch": True}
            ),
        }
    )


def test_what_is_in_the_environment_is_no_part_of_a_profile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CITESTREAM_DATABASE__POOL_SIZE", "none")
    monkeypatch.setenv("CITESTREAM_TYPO", "1")
    read_profile(written(tmp_path, PROFILE))


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("", ["has no settings; it takes lines as `database:`."]),
        ("- 1", ["has no settings"]),
        ("database: [", ["is not YAML: line 1, "]),
        ("a: !!python/object/apply:os.getcwd []", ["is not YAML: line 1, "]),
        ("databse: {pool_size: 2}", ["databse is not a setting; did you mean database?"]),
        ("PORT: 1", ["PORT is not a setting; "]),
        ("profile: low-latency", ["profile has no place in a profile; "]),
        ("1: 2", ["1 is not a setting; known are data, host, port, "]),
        (
            "cache: {loca_mb: 1, 3: 2}",
            [
                "cache.loca_mb is not a setting; did you mean cache.local_mb?",
                "cache.3 is not a setting; known are answer_ttl_seconds, ",
            ],
        ),
        ("database: 3", ["database has settings of its own: pool_size, timeout_seconds, pooler."]),
        (
            "database: {pool_size: 0}\nport: many",
            [
                "port: Input should be a valid integer",
                "database.pool_size: Input should be greater than or equal to 1.",
            ],
        ),
        ("next_encoder: {}", ["next_encoder.url: Field required."]),
        ("cache: {local_mb: .inf}", ["cache.local_mb: Input should be a finite number."]),
        ("port: 1\nport: 2", ["port comes twice, again in line 2."]),
        (
            "database:\n  pool_size: 1\n  pool_size: 2",
            ["pool_size comes twice, again in line 3."],
        ),
        (
            "database_url: planted\nopenai_api_key: planted\nencoder: {api_key: planted}",
            [
                "database_url has no place in a profile; set it in the environment.",
                "openai_api_key has no place in a profile; set it in the environment.",
                "encoder.api_key has no place in a profile; set it in the environment.",
            ],
        ),
    ],
)
def test_a_sentence_for_each_thing_that_is_wrong(
    tmp_path: Path, text: str, sentences: list[str]
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        read_profile(written(tmp_path, text))
    for sentence in sentences:
        assert sentence in str(refused.value)
    assert str(refused.value).count("fast.yaml") == len(sentences)
    assert "planted" not in str(refused.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"none\.yaml cannot be read"):
        read_profile(tmp_path / "none.yaml")


def test_the_environment_counts_before_a_profile_and_a_profile_before_what_is_shipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CITESTREAM_PROFILE", str(written(tmp_path, PROFILE)))
    monkeypatch.setenv("PORT", "9001")
    monkeypatch.setenv("citestream_database__timeout_seconds", "1")
    settings = Settings(cpu_threads=3)
    assert (settings.port, settings.cpu_threads, settings.log_level) == (9001, 3, "warning")
    assert (settings.database.pool_size, settings.database.timeout_seconds) == (20, 1)


@pytest.mark.parametrize(("cores", "workers"), [(1, 1), (6, 6), (200, 64)])
def test_a_profile_may_have_a_worker_for_each_core(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cores: int, workers: int
) -> None:
    monkeypatch.setattr("app.settings.cores", lambda: cores)
    file = written(tmp_path, "workers: 0")
    assert Settings(profile=str(file)).workers == workers


@pytest.mark.parametrize("name", ["high-throughput", "low-latency", "memory-constrained"])
def test_shipped_ones_are_found_by_their_names(name: str) -> None:
    assert name in shipped()
    assert Settings(profile=name).profile == name
    # Each changes something, and nothing that its machine's owner should decide.
    changed = find_profile(name).values
    assert changed and not {"data", "host", "port", "log_level", "device"} & set(changed)


def test_a_name_that_there_is_not_is_told_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="hightroughput is no profile; there are high-"):
        Settings(profile="hightroughput")
    with pytest.raises(ConfigurationError, match=r"none\.yaml cannot be read"):
        Settings(profile=str(tmp_path / "none.yaml"))
