"""What ``benchmarks/lockout.py`` prints: a table of all guards, and ours against the marks."""

from __future__ import annotations

import statistics

OPERATIONS = ["failure", "success", "locked"]

# What the neighbours have shown on a machine with two cores: guesses of 64, round trips and
# latency over plain Django, bytes of Redis a name. Between runs a latency differs by a tenth.
MARKS = {
    "axes-cache": "12 to 27 of 64, trips 10/6/10, failure 2.3 to 4.4, 349 bytes",
    "defender": "21 of 64, trips 4/3/2, failure 1.6 to 2.7, 284 bytes",
    "allauth": "5 of 64, trips 8/16/3, failure 3.1, 475 bytes",
}
BUDGET = {"failure": (1.3, 1), "success": (1.15, 2), "locked": (1.0, 1)}
BYTES_A_SUBJECT = 300


def print_table(results):
    heads = f"{'guard':<13}{'of 64: median (min-max)':<25}{'SQL f/s/l':<11}"
    heads += f"{'trips f/s/l':<13}{'latency f/s/l':<17}"
    print(f"\n{heads}{'keys/name':<11}{'bytes/name':<12}{'bytes/key':<11}hung / killed")
    for guard, found in results.items():
        reached = found["reached"]
        span = f"{statistics.median(reached):g} ({min(reached)}-{max(reached)})"
        sql, trips = (
            "/".join(f"{found[each][what]:g}" for each in OPERATIONS)
            for what in ("sql", "trips")
        )
        ratios = "/".join(f"{ratio(results, guard, each):.2f}" for each in OPERATIONS)
        outages = " / ".join(
            f"{found[what]['status']} {found[what]['seconds']:.2f} s"
            for what in ("hung", "killed")
        )
        print(
            f"{guard:<13}{span:<25}{sql:<11}{trips:<13}{ratios:<17}"
            f"{memory(found.get('memory'))}{outages}"
        )


def print_marks(results):
    """Say what holds of ours, and of what the neighbours were measured at before."""
    if "crossauth" not in results or "plain" not in results:
        return
    ours = results["crossauth"]
    print("\nthe neighbours' marks")
    for guard, mark in MARKS.items():
        print(f"  {guard:<12} {mark}")
    print("\nours")
    say("5 of 64 in every round", set(ours["reached"]) == {5}, ours["reached"])
    for each, (limit, trips) in BUDGET.items():
        found = ratio(results, "crossauth", each)
        say(f"{each}: at most {limit:g} of plain", found <= limit, f"{found:.2f}")
        say(f"{each}: {trips} round trips", ours[each]["trips"] <= trips, "")
    if "memory" in ours:
        found = ours["memory"]["bytes"] / ours["memory"]["keys"]
        text = f"at most {BYTES_A_SUBJECT} bytes a subject"
        say(text, found <= BYTES_A_SUBJECT, f"{found:.0f}")
    for guard in results.keys() - {"plain", "crossauth"}:
        say(f"cheaper than {guard}", *cheaper(results, guard))


def cheaper(results, guard):
    """Compare trips, latency and bytes a name; return whether all are less, and which are not."""
    ours, theirs = results["crossauth"], results[guard]
    more = [
        each
        for each in OPERATIONS
        if ratio(results, "crossauth", each) > ratio(results, guard, each)
    ]
    more += [
        f"trips of a {each}"
        for each in OPERATIONS
        if theirs[each]["trips"] and ours[each]["trips"] > theirs[each]["trips"]
    ]
    if "memory" in theirs and ours["memory"]["bytes"] > theirs["memory"]["bytes"]:
        more.append("bytes a name")
    return not more, ", ".join(sorted(more))


def say(what, holds, found):
    print(f"  {'yes' if holds else 'NO ':<4} {what}  {found}")


def ratio(results, guard, operation):
    plain = results.get("plain", results[guard])
    return results[guard][operation]["ms"] / plain[operation]["ms"]


def memory(found):
    if found is None:
        return f"{'-':<11}{'-':<12}{'-':<11}"
    each = found["bytes"] / found["keys"] if found["keys"] else 0
    return f"{found['keys']:<11.2f}{found['bytes']:<12.0f}{each:<11.0f}"
