"""Dashboard and alerts: every figure and label that they name is one of a room that runs; each alert has its advice."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ssbfast.room.roles import Role
from ssbfast.server.exposition import exposition
from ssbfast.server.web.certificate import SiteCertificate
from ssbfast.server.web.metrics import of_site
from tests.helpers import tls
from tests.helpers.rawpeer import eventually
from tests.helpers.served_site import served_site

yaml = pytest.importorskip("ruamel.yaml")

ROOT = Path(__file__).parents[2]
MONITORING = ROOT / "packaging" / "monitoring"
RUNBOOK = ROOT / "docs" / "howto" / "operate-a-room.md"
OF_PROMETHEUS = {"job", "instance", "le"}
METRIC = r"\b(?:ssbfast|process)_\w+"


def read_yaml(name: str) -> Any:
    return yaml.YAML(typ="safe").load((MONITORING / name).read_text(encoding="utf-8"))


def of_dashboard() -> Iterator[str]:
    for panel in json.loads((MONITORING / "dashboard.json").read_text(encoding="utf-8"))["panels"]:
        for target in panel["targets"]:
            yield target["expr"]
            for label in re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]):
                assert re.search(rf"by \([^)]*\b{label}\b", target["expr"]), target


def alerts() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = read_yaml("alerts.yml")["groups"][0]["rules"]
    return found


async def measured(tmp_path: Path) -> dict[str, set[str]]:
    """The figures of a room with a site in which everything has happened once, with their labels."""
    pem = tmp_path / "pem"
    pem.write_bytes(tls.certificate())
    own = SiteCertificate((str(pem), str(pem)))
    async with served_site(tmp_path) as site:
        site.site.room.web.certificate = own.state
        here, there = await site.room.raw(await site.member()), await site.room.raw(await site.member(Role.ADMIN))
        await site.room.tunnel(here, there)
        there.link.abort()
        await eventually(lambda: not len(site.room.server.tunnels))
        measures = site.room.server.measures
        measures.requests["login", 200] += 1
        measures.sign_ins["link", "done"] += 1
        measures.refused["blocked"] += 1
        text = (await exposition(site.room.server, lambda: of_site(site.site))).decode()
    found: dict[str, set[str]] = {}
    for name, labels in re.findall(rf"^({METRIC})(?:\{{(.*)\}})? \S+$", text, re.MULTILINE):
        found.setdefault(name, set()).update(re.findall(r'(\w+)="', labels))
    return found


async def test_every_expression_is_about_figures_of_a_room(tmp_path: Path) -> None:
    found = await measured(tmp_path)
    expressions = [*of_dashboard(), *(alert["expr"] for alert in alerts())]
    assert len(expressions) > 30
    named: set[str] = set()
    for expression in expressions:
        metrics = set(re.findall(METRIC, expression))
        assert metrics <= set(found), expression
        named |= metrics
        inside = ", ".join(re.findall(r"\b(?:by|on) \(([^)]*)\)", expression))
        labels = set(re.findall(r"\w+", inside))
        labels |= set(re.findall(r"(\w+)=~?\"", expression))
        assert labels <= OF_PROMETHEUS.union(*(found[metric] for metric in metrics)), expression
    own = {re.sub("_(bucket|sum|count|created)$", "", name) for name in found if name.startswith("ssbfast_")}
    shown = {re.sub("_(bucket|sum|count)$", "", name) for name in named}
    assert own <= shown, "each figure of ours is on the dashboard, or has an alert"


def test_prometheus_can_parse_every_expression() -> None:
    parser = pytest.importorskip("promql_parser")
    for expression in (*of_dashboard(), *(alert["expr"] for alert in alerts())):
        parser.parse(expression.replace("$__rate_interval", "5m"))


def test_each_alert_has_its_section_in_the_runbook() -> None:
    text = RUNBOOK.read_text(encoding="utf-8")
    headings = re.findall(r"^### (SsbRoom\w+)$", text, re.MULTILINE)
    assert headings == [alert["alert"] for alert in alerts()]
    for alert in alerts():
        assert alert["annotations"]["runbook_url"].endswith(f"/howto/operate-a-room/#{alert['alert'].lower()}")
        assert alert["labels"]["severity"] in ("warning", "critical") and alert["annotations"]["summary"]


def test_prometheus_reads_them() -> None:
    told = read_yaml("prometheus.yml")
    assert told["rule_files"] == ["alerts.yml"]
    assert {one["job_name"] for one in told["scrape_configs"]} == {"ssbfast-room"}
