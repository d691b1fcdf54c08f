import errno
import stat
from pathlib import Path

import pytest

from cli_leaves import run_leaf

TEXT = """\
roles:
  product_owner:  # the first
    provider: vertex
    model: gemini-2.5-pro
    temperature: 0.7
    api_key: secret
  [a list]: of words
  developer: &d {provider: openai, model: gpt, base_url: 'https://me:secret@host/v1?key=secret'}
  tester: *d
"""
STUDENT = ("--provider", "ollama", "--model", "po-student")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(TEXT)
    return path


def test_a_role_is_set_and_rolled_back(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = run_leaf(capsys, "config", "set-role", "product_owner", "--config", config, *STUDENT, "--temperature", 0.2)

    backup = config.with_name("config.yaml.backup-1")
    assert done.code == 0
    assert "gemini-2.5-pro" in done.out
    assert backup.name in done.out
    assert "temperature: 0.2\n    api_key: secret\n    base_url: http://localhost:11434\n" in config.read_text()
    assert backup.read_text() == TEXT

    assert run_leaf(capsys, "config", "rollback", "--config", config).code == 0
    assert config.read_text() == TEXT
    assert "po-student" in backup.read_text()


def test_a_rollback_of_a_rollback_brings_the_change_back(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_leaf(capsys, "config", "set-role", "product_owner", "--config", config, *STUDENT)
    changed = config.read_text()

    run_leaf(capsys, "config", "rollback", "--config", config)
    run_leaf(capsys, "config", "rollback", "--config", config)

    assert config.read_text() == changed
    assert sorted(path.name for path in config.parent.iterdir()) == ["config.yaml", "config.yaml.backup-1"]


def test_every_change_has_a_backup_and_the_newest_comes_back(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config.with_name("config.yaml.backup-9").write_text("mine")
    run_leaf(capsys, "config", "set-role", "product_owner", "--config", config, *STUDENT)
    first = config.read_text()
    run_leaf(capsys, "config", "set-role", "product_owner", "--config", config, *STUDENT, "--max-tokens", 9)

    run_leaf(capsys, "config", "rollback", "--config", config)

    assert config.read_text() == first
    assert config.with_name("config.yaml.backup-9").read_text() == "mine"
    assert config.with_name("config.yaml.backup-10").read_text() == TEXT


def test_after_two_changes_one_command_brings_the_first_text_back(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for model in ("one", "two"):
        change = ("--provider", "ollama", "--model", model)
        assert run_leaf(capsys, "config", "set-role", "product_owner", "--config", config, *change).code == 0
    changed = config.read_text()

    done = run_leaf(capsys, "config", "rollback", "--config", config, "--to", 1)

    assert done.code == 0, done.err
    assert config.read_text() == TEXT
    assert "kept in config.yaml.backup-3" in done.out
    assert [config.with_name(f"config.yaml.backup-{number}").read_text() for number in (1, 3)] == [TEXT, changed]
    again = run_leaf(capsys, "config", "rollback", "--config", config, "--to", "config.yaml.backup-1")
    assert (again.code, "nothing is written" in again.out) == (0, True)
    assert run_leaf(capsys, "config", "rollback", "--config", config).code == 0
    assert config.read_text() == changed, "the way back"


def test_backups_are_listed_the_oldest_first(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "has no backups" in run_leaf(capsys, "config", "rollback", "--config", config, "--list").out
    for number in (10, 9):
        config.with_name(f"config.yaml.backup-{number}").write_text("mine")

    listed = run_leaf(capsys, "config", "rollback", "--config", config, "--list")

    assert listed.code == 0
    assert [line.split()[0] for line in listed.out.splitlines()] == [
        "backup",
        "config.yaml.backup-9",
        "config.yaml.backup-10",
    ]
    assert listed.out.count(" UTC") == 2
    assert config.read_text() == TEXT


@pytest.mark.parametrize(
    ("to", "code", "words"),
    [
        ("7", 65, "there is no config.yaml.backup-7"),
        ("7", 65, "backups there: config.yaml.backup-1"),
        ("oldest", 2, "--to"),
        ("other.yaml.backup-1", 2, "neither a number nor config.yaml.backup-N"),
    ],
)
def test_a_backup_that_there_is_not_is_named_with_those_that_there_are(
    config: Path, capsys: pytest.CaptureFixture[str], to: str, code: int, words: str
) -> None:
    run_leaf(capsys, "config", "set-role", "product_owner", "--config", config, *STUDENT)
    before = config.read_text()

    outcome = run_leaf(capsys, "config", "rollback", "--config", config, "--to", to)

    assert (outcome.code, config.read_text()) == (code, before)
    assert words in " ".join(outcome.err.split())
    both = run_leaf(capsys, "config", "rollback", "--config", config, "--to", to, "--list")
    assert (both.code, "--list" in both.err) == (2, True)


def test_what_is_said_already_is_not_written(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    again = ("--provider", "vertex", "--model", "gemini-2.5-pro")

    done = run_leaf(capsys, "config", "set-role", "product_owner", "--config", config, *again)

    assert (done.code, list(config.parent.iterdir())) == (0, [config])
    assert "nothing is written" in done.out


def test_links_and_permissions_stay(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    link = config.parent / "elsewhere" / "link.yaml"
    link.parent.mkdir()
    link.symlink_to(config)
    config.chmod(0o640)

    run_leaf(capsys, "config", "set-role", "product_owner", "--config", link, *STUDENT)

    backup = config.with_name("config.yaml.backup-1")
    assert link.readlink() == config
    assert [stat.S_IMODE(path.stat().st_mode) for path in (config, backup)] == [0o640, 0o640]
    assert run_leaf(capsys, "config", "rollback", "--config", link).code == 0
    assert (link.readlink(), config.read_text()) == (config, TEXT)


def test_show_tells_who_answers_and_no_secret(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = run_leaf(capsys, "config", "show", "--config", config)
    document = run_leaf(capsys, "config", "show", "--config", config, "--json")

    developer = {"provider": "openai", "model": "gpt", "temperature": None, "max_tokens": None}
    developer["base_url"] = "https://***@host/v1?***"
    assert document.json["roles"]["tester"] == document.json["roles"]["developer"] == developer
    assert document.json["roles"]["product_owner"]["temperature"] == 0.7
    assert [line.split()[:3] for line in table.out.splitlines()] == [
        ["role", "provider", "model"],
        ["product_owner", "vertex", "gemini-2.5-pro"],
        ["developer", "openai", "gpt"],
        ["tester", "openai", "gpt"],
    ]
    assert "secret" not in table.out + document.out


def test_a_file_without_roles_has_none_to_show(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config.write_text("llm: x\n")

    assert "has no roles" in run_leaf(capsys, "config", "show", "--config", config).out
    assert run_leaf(capsys, "config", "show", "--config", config, "--json").json["roles"] == {}


@pytest.mark.parametrize(
    "options",
    [
        ("--provider", "azure", "--model", "m"),
        ("--provider", "ollama", "--model", " "),
        ("--provider", "ollama", "--model", "m", "--temperature", "2.1"),
        ("--provider", "ollama", "--model", "m", "--temperature", "nan"),
        ("--provider", "ollama", "--model", "m", "--max-tokens", "0"),
        ("--provider", "ollama", "--model", "m", "--base-url", "localhost:11434"),
        ("--provider", "openai", "--model", "m", "--base-url", "http://"),
        ("--provider", "openai", "--model", "m", "--base-url", "http://h:port"),
        ("--provider", "openai", "--model", "m"),
        ("--provider", "grpc", "--model", "m", "--base-url", "http://localhost:50051"),
        ("--provider", "grpc", "--model", "m", "--base-url", "localhost"),
        ("--provider", "grpc", "--model", "m", "--base-url", "localhost:70000"),
    ],
)
def test_a_wrong_value_is_usage_and_writes_nothing(
    config: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...]
) -> None:
    outcome = run_leaf(capsys, "config", "set-role", "product_owner", "--config", config, *options)

    option = (
        options[-2] if len(options) == 6 or options[-1] == " " else "--provider" if "azure" in options else "--base-url"
    )
    assert outcome.code == 2
    assert option in outcome.err
    assert (config.read_text(), list(config.parent.iterdir())) == (TEXT, [config])


@pytest.mark.parametrize(
    "command",
    [
        ("set-role", "product_owner", *STUDENT),
        ("show",),
        ("rollback",),
        ("rollback", "--list"),
        ("rollback", "--to", "1"),
    ],
)
def test_a_missing_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str], command: tuple[str, ...]) -> None:
    outcome = run_leaf(capsys, "config", *command, "--config", tmp_path / "none.yaml")

    assert (outcome.code, list(tmp_path.iterdir())) == (65, [])
    assert "no such file" in outcome.err
    assert "none.yaml" in outcome.err


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"a: 1\nb: [", "line 2"), (b"a: 1\nb: \xff", "line 2: no UTF-8"), (b"roles: 3", "line 1: roles is no mapping")],
)
def test_a_file_that_cannot_be_read_is_named_with_the_line(
    config: Path, capsys: pytest.CaptureFixture[str], content: bytes, words: str
) -> None:
    config.write_bytes(content)

    for command in (("set-role", "product_owner", *STUDENT), ("show",)):
        outcome = run_leaf(capsys, "config", *command, "--config", config)
        assert outcome.code == 65
        assert f"{config}: {words}" in outcome.err
    assert (config.read_bytes(), list(config.parent.iterdir())) == (content, [config])


def test_without_a_backup_there_is_nothing_to_roll_back(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config.with_name("config.yaml.backup-x").write_text("mine")

    outcome = run_leaf(capsys, "config", "rollback", "--config", config)

    assert (outcome.code, config.read_text()) == (65, TEXT)
    assert "no backup" in outcome.err


def test_where_no_backup_can_be_written_the_file_stays(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = config.rename(config.with_name("c" * 250))

    outcome = run_leaf(capsys, "config", "set-role", "product_owner", "--config", config, *STUDENT)

    assert (outcome.code, config.read_text(), list(config.parent.iterdir())) == (65, TEXT, [config])
    assert "can't be written" in outcome.err


def test_a_file_system_without_hard_links_keeps_a_backup_all_the_same(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr("os.link", refuse)
    config.with_name("config.yaml.backup-1").write_text("mine")
    config.chmod(0o640)

    assert run_leaf(capsys, "config", "set-role", "product_owner", "--config", config, *STUDENT).code == 0

    backup = config.with_name("config.yaml.backup-2")
    assert (backup.read_text(), stat.S_IMODE(backup.stat().st_mode)) == (TEXT, 0o640)
    assert config.with_name("config.yaml.backup-1").read_text() == "mine"
    assert len(list(config.parent.iterdir())) == 3
