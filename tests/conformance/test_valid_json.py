"""Valid input, on each side of every limit: payloads and predicates, which are JSON texts alike."""

import pytest

from tests.conformance.driver import Driver, NewFact, refused, where


def nested(opening: str, depth: int) -> str:
    closing = {"[": "]", '{"k":': "}"}[opening]
    inner = opening.replace('"k":', "") + closing
    return opening * (depth - 1) + inner + closing * (depth - 1)


async def assert_valid(store: Driver, texts: list[str]) -> None:
    """As payload and as predicate, where each finds itself."""
    for text in texts:
        appended = await store.append_payloads(text)
        found = await store.query(where(text))
        assert found.last_returned == appended.first, text
        assert found.facts[-1].payload == text


async def assert_invalid(store: Driver, texts: list[str]) -> None:
    """As payload and as predicate, at the root and inside, with nothing committed."""
    for text in texts:
        with refused("INVALID_PAYLOAD", "events[1].payload"):
            await store.append([NewFact(), NewFact(payload=text)])
        with refused("INVALID_PREDICATE", "query.filters[0].payload_predicates.any_of[1]"):
            await store.query(where("{}", text))
        with refused("INVALID_PREDICATE", "context_query.filters[0].payload_predicates.any_of[0]"):
            await store.append_if([NewFact()], where(text), None)
    assert await store.head() == 0


async def test_a_payload_may_be_json_of_any_type(store: Driver) -> None:
    await assert_valid(store, ["null", "true", "false", "0", '""', "{}", "[]", ' \t\r\n"x"\r\n'])


NO_JSON = [
    "",
    " ",
    "{",
    "[1,]",
    '{"a":1,}',
    "{'a':1}",
    "{a:1}",
    '{"a" 1}',
    "nul",
    "True",
    "None",
    "undefined",
    "01",
    "1.",
    ".5",
    "+1",
    "-",
    "1e",
    "0x10",
    "1_000",
    "\u0661",
    '"',
    '"a\nb"',
    '"a\tb"',
    '"\x1f"',
    '"\\x41"',
    '"\\u12"',
    '"a" "b"',
    "1 2",
    "{}{}",
    "[1]]",
    "// c\n1",
    "/**/1",
    "\ufeff1",
    "\u00a01",
    "1\x00",
    "\x0c1",
]


async def test_what_is_no_json_text_is_refused(store: Driver) -> None:
    await assert_invalid(store, NO_JSON)


async def test_nan_and_infinity_are_refused(store: Driver) -> None:
    words = ["NaN", "Infinity", "-Infinity", "nan", "inf"]
    await assert_invalid(store, words + [f'{{"a":[{word}]}}' for word in words])


async def test_nesting_is_at_most_64(store: Driver) -> None:
    for opening in ("[", '{"k":'):
        await assert_valid(store, [nested(opening, 64)])
    mixed = '{"k":[' * 32 + "1" + "]}" * 32
    await assert_valid(store, [mixed])


@pytest.mark.parametrize("depth", [65, 66, 900, 1_100, 50_000])
async def test_deeper_nesting_is_refused_however_deep(store: Driver, depth: int) -> None:
    await assert_invalid(store, [nested("[", depth)])
    await assert_invalid(store, [nested('{"k":', min(depth, 20_000))])
    await assert_invalid(store, ["[" * depth])


async def test_a_number_has_at_most_100_digits_as_written(store: Driver) -> None:
    await assert_valid(store, ["9" * 100, "-" + "9" * 100, "0." + "3" * 99, "1." + "0" * 99, "0." + "0" * 99])


async def test_a_number_with_more_than_100_digits_is_refused(store: Driver) -> None:
    texts = ["9" * 101, "-" + "9" * 101, "0." + "3" * 100, "1." + "0" * 100, "0." + "0" * 100]
    await assert_invalid(store, [form for text in texts for form in (text, f'{{"a":[{text}]}}')])


async def test_a_number_is_zero_or_from_1e_minus_300_to_1e300_in_magnitude(store: Driver) -> None:
    await assert_valid(
        store, ["1e300", "-1e300", "10e299", "9.99e299", "1e-300", "-1e-300", "0.1e-299", "1.1e-300"]
    )


async def test_numbers_of_larger_or_smaller_magnitude_are_refused(store: Driver) -> None:
    texts = ["1.1e300", "-1.1e300", "1.000000000000000000000001e300", "1e301", "10e300", "1e308", "1e309"]
    texts += ["0.9e-300", "-0.9e-300", "9.999999999999999999999999e-301", "1e-301", "1e-400", "1e999999999"]
    texts += ["1e-999999999", "1e99999999999999999999", "1e-99999999999999999999"]
    await assert_invalid(store, [form for text in texts for form in (text, f'{{"a":[{text}]}}')])


async def test_zero_is_valid_with_any_exponent(store: Driver) -> None:
    await assert_valid(store, ["0e0", "0E301", "-0e-301", "0.00e999999999", "0e99999999999999999999"])


async def test_lone_surrogates_are_refused(store: Driver) -> None:
    texts = [r'"\ud800"', r'"\udfff"', r'"\ude00\ud83d"', r'"\ud83d x"', r'{"a":["\ud83d"]}', r'{"\ud83d":1}']
    await assert_invalid(store, [*texts, r'"\ud83d\ud83d\ude00"'])


async def test_surrogate_pairs_and_characters_around_surrogates_are_valid(store: Driver) -> None:
    await assert_valid(
        store, [r'"\ud83d\ude00"', r'"\ud7ff\ue000\uffff\ufffe"', '"\U0010ffff\ufdd0"', r'"\\ud800"']
    )


async def test_u0000_is_refused(store: Driver) -> None:
    await assert_invalid(store, [r'"\u0000"', r'"a\u0000b"', r'{"\u0000":1}', r'{"a":[{"b":"\u0000"}]}'])


async def test_other_escaped_control_characters_and_an_escaped_backslash_before_u0000_are_valid(
    store: Driver,
) -> None:
    await assert_valid(store, [r'"\u0001\u001f\u007f\u009f"', r'"\\u0000"', '"\x7f\x9f"'])


async def test_a_valid_payload_may_be_as_large_as_an_append(store: Driver) -> None:
    payload = '"' + "x" * (3 * 1024 * 1024 - 100) + '"'
    await store.append_payloads(payload)
    assert (await store.query()).payloads == [payload]
