"""The output of wrk is parsed: units of latencies, failures, costs per request."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from bench.wrk import Round, medians, parse, spread

OUTPUT = """Running 1s test @ http://127.0.0.1:8191/api/auth/check
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     2.11ms  740.65us  11.58ms   86.99%
    Req/Sec    29.97k     1.60k   32.93k    80.00%
  Latency Distribution
     50%  950.00us
     75%    2.37ms
     90%    2.83ms
     99%    1.04s
  30000 requests in 1.01s, 7.11MB read
{failures}Requests/sec:  29713.23
Transfer/sec:      7.04MB
"""


def test_latencies_are_milliseconds_and_costs_are_of_one_request() -> None:
    measured = parse(OUTPUT.format(failures=""), cpu_seconds=0.9, redis_commands=33_000)

    assert asdict(measured) == pytest.approx(asdict(Round(29713.23, 0.95, 1040.0, cpu_us=30.0, redis_commands=1.1, failed=0)))


def test_refusals_and_broken_sockets_are_failures() -> None:
    failures = "  Socket errors: connect 1, read 2, write 3, timeout 4\n  Non-2xx or 3xx responses: 20\n"

    assert parse(OUTPUT.format(failures=failures), cpu_seconds=0, redis_commands=0).failed == 30


def test_an_output_of_another_kind_ends_the_run_with_what_it_said() -> None:
    with pytest.raises(SystemExit, match="unable to connect"):
        parse("unable to connect to 127.0.0.1:1", cpu_seconds=0, redis_commands=0)


def test_a_round_that_stands_out_moves_the_spread_and_not_the_median() -> None:
    rounds = [Round(100, 1, 2, cpu, 1) for cpu in (30.0, 31.0, 70.0)]

    assert medians(rounds)["cpu_us"] == 31.0
    assert spread(rounds)["cpu_us"] == (30.0, 70.0)
