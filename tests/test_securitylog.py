from __future__ import annotations

import logging

from crossauth_django import securitylog


def written(caplog, **fields):
    with caplog.at_level(logging.INFO, "crossauth_django.security"):
        securitylog.write(logging.INFO, "lockout_refused", **fields)
    return caplog.records[-1]


def test_names_are_digests_and_addresses_neighbourhoods(caplog):
    record = written(
        caplog, username="alice", address="192.0.2.77", rule="pair", request_id="r-1"
    )
    digest = securitylog.name_digest("alice")
    assert record.getMessage() == (
        f"event=lockout_refused rule=pair username={digest} address=192.0.2.0/24 request_id=r-1"
    )
    assert (record.event, record.rule, record.username) == (
        "lockout_refused",
        "pair",
        digest,
    )


def test_names_are_names_when_asked_for(caplog, settings):
    settings.CROSSAUTH_LOG_NAMES = True
    record = written(caplog, username="alice", address="192.0.2.77")
    assert "username=alice address=192.0.2.77" in record.getMessage()


def test_nothing_forges_a_line(caplog, settings):
    settings.CROSSAUTH_LOG_NAMES = True
    record = written(caplog, username="a\nevent=fake", address="", request_id="x\ny")
    assert (
        record.getMessage()
        == r"event=lockout_refused username='a\nevent=fake' address=''"
    )


def test_nothing_forges_a_line_of_a_formatter_that_prints_the_attributes(
    caplog, settings
):
    settings.CROSSAUTH_LOG_NAMES = True
    record = written(caplog, username="a\nevent=fake", rule="pair", round=2)
    formatter = logging.Formatter("%(event)s %(rule)s %(round)d %(username)s")
    assert formatter.format(record) == r"lockout_refused pair 2 'a\nevent=fake'"


def test_a_level_that_is_off_costs_nothing(caplog):
    with caplog.at_level(logging.ERROR, "crossauth_django.security"):
        securitylog.write(logging.INFO, "lockout_refused", username="alice")
    assert caplog.records == []
