"""TLS to servers and Sentinels: the report has the name that was checked, and the name that would be right."""

from __future__ import annotations

from stateroom.doctor.examine import examine
from stateroom.doctor.findings import Level

from .conftest import TLS_NAME, Secured, found


async def test_each_sentinel_and_server_is_reached_by_the_name_that_was_checked(secured: Secured) -> None:
    report = await examine(secured.settings())
    assert report.is_good, report.findings
    reached = [finding.what for finding in report.findings if f"TLS name {TLS_NAME}" in finding.what]
    assert len(reached) == 6
    assert sum("user asker" in what for what in reached) == 3
    assert sum("user app" in what for what in reached) == 3


async def test_a_wrong_name_is_found_with_the_right_one(secured: Secured) -> None:
    findings = await found(secured.settings(redis_sentinel_tls_server_name="other.example.com", database_url="none"))
    assert [finding.check for finding in findings] == ["sentinel-tls"] * 3 + ["no-sentinel", "no-journal"]
    assert findings[0].fix == f"its certificate is for {TLS_NAME}: set REDIS_SENTINEL_TLS_SERVER_NAME to that"

    settings = secured.settings(redis_tls_server_name="other.example.com", redis_sentinel_tls_server_name=TLS_NAME)
    findings = [finding for finding in await found(settings) if finding.level is Level.FAULT]
    assert [finding.check for finding in findings] == ["server-tls"] * 3
    assert findings[0].fix == f"its certificate is for {TLS_NAME}: set REDIS_TLS_SERVER_NAME to that"


async def test_an_authority_that_is_not_ours_is_told_as_that(secured: Secured) -> None:
    settings = secured.settings(redis_tls_ca=None)
    findings = [finding for finding in await found(settings) if finding.level is Level.FAULT]
    assert findings[0].check == "sentinel-tls"
    assert "REDIS_SENTINEL_TLS_CA" in findings[0].fix


async def test_no_tls_where_there_should_be_is_told_as_that(secured: Secured) -> None:
    settings = secured.settings(redis_tls=False, redis_sentinel_tls=True, redis_sentinel_tls_ca=secured.values["redis_tls_ca"])
    findings = [finding for finding in await found(settings) if finding.level is Level.FAULT]
    assert {finding.check for finding in findings} == {"server-unreachable"}
    assert "set REDIS_TLS" in findings[0].fix


async def test_a_sentinels_wrong_password_is_told_as_that(secured: Secured) -> None:
    findings = await found(secured.settings(redis_sentinel_password="not-this-one"))
    assert [finding.check for finding in findings][:3] == ["sentinel-credentials"] * 3
    assert "REDIS_SENTINEL_PASSWORD" in findings[0].fix
