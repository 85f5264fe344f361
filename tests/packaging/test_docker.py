"""The image and its composition: what linters and schemas say, and that both name what there is."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from ssbfast import limits
from ssbfast.cli.room.run import run as room
from tests.helpers.require import require

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "packaging" / "docker"
DOCKERFILE = DOCKER / "Dockerfile"
COMPOSE = DOCKER / "compose.yaml"


def check(tool: str, *words: str | Path, **environment: str) -> None:
    """Run a program of this environment or machine. It has to find nothing wrong."""
    program = Path(sys.executable).with_name(tool)
    found = str(program) if program.exists() else shutil.which(tool)
    require(tool, found is not None, "extra `dev`")
    command = [found or tool, *map(str, words)]
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_linters_find_nothing() -> None:
    check("hadolint", DOCKERFILE)


def test_the_composition_is_what_the_schema_asks_for() -> None:
    check("check-jsonschema", "--builtin-schema", "vendor.compose-spec", COMPOSE)


def test_caddy_understands_its_file(tmp_path: Path) -> None:
    words = ("validate", "--adapter", "caddyfile", "--config", DOCKER / "Caddyfile")
    check("caddy", *words, ROOM_HOST="room.example", HOME=str(tmp_path))


def test_the_image_is_made_of_what_there_is() -> None:
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE.read_text(encoding="utf-8"), re.M)
    sources = [name for line in copied for name in line.split()]
    let_in = re.findall(r"^!(.+)$", (DOCKER / "Dockerfile.dockerignore").read_text(encoding="utf-8"), re.M)
    assert "ssbfast" in sources and [name for name in sources if not (ROOT / name).exists()] == []
    assert [name for name in sources if not name.startswith(tuple(let_in))] == []
    assert [name for name in let_in if not any(source.startswith(name) for source in sources)] == []


def test_variables_are_options_of_a_room() -> None:
    text = DOCKERFILE.read_text(encoding="utf-8") + COMPOSE.read_text(encoding="utf-8")
    named = set(re.findall(r"SSBFAST_ROOM_([A-Z_]+)\b", text))
    assert {"DATA", "HOST", "WEB"} <= named <= {str(option.name).upper() for option in room.params}


def test_a_room_has_time_to_drain() -> None:
    (seconds,) = re.findall(r"stop_grace_period: (\d+)s", COMPOSE.read_text(encoding="utf-8"))
    assert int(seconds) > limits.DRAIN_SECONDS + limits.DRAIN_SPREAD
