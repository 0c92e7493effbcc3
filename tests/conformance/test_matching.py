"""Payload predicates: recursive subset, numbers by exact decimal value, strings by code point.

Each law puts its payloads into a log and asks with predicates which of them match, so that index and matcher are both
tried.
"""

from collections.abc import Iterable

from tests.conformance.driver import Driver, where


async def assert_matches(
    store: Driver, payloads: Iterable[str], expected: Iterable[tuple[str, Iterable[str]]]
) -> None:
    """`expected`: predicates, and which of the payloads each of them matches."""
    payloads = list(payloads)
    await store.append_payloads(*payloads)
    for predicate, matched in expected:
        found = (await store.query(where(predicate))).payloads
        assert found == [payload for payload in payloads if payload in set(matched)], predicate


async def test_an_object_matches_by_a_subset_of_its_keys(store: Driver) -> None:
    one, two, other = '{"a":1}', '{"a":1,"b":2}', '{"a":2,"b":1}'
    await assert_matches(
        store,
        [one, two, other],
        [
            ('{"a":1}', [one, two]),
            ('{"b":2,"a":1}', [two]),
            ('{"a":1,"b":1}', []),
            ('{"c":1}', []),
            ('{"a":null}', []),
        ],
    )


async def test_objects_match_recursively(store: Driver) -> None:
    deep, flat = '{"a":{"b":{"c":1,"d":2},"e":3}}', '{"a":{"c":1},"b":{"c":1}}'
    await assert_matches(
        store,
        [deep, flat],
        [
            ('{"a":{"b":{"c":1}}}', [deep]),
            ('{"a":{"b":{}}}', [deep]),
            ('{"a":{}}', [deep, flat]),
            ('{"a":{"c":1}}', [flat]),
            ('{"b":{"c":1}}', [flat]),
            ('{"c":1}', []),
        ],
    )


async def test_the_empty_object_matches_any_object_and_nothing_else(store: Driver) -> None:
    objects, others = ["{}", '{"a":1}', '{"":{}}'], ["[]", "[{}]", "null", "0", '""', "true", '"{}"']
    await assert_matches(store, objects + others, [("{}", objects), ("[{}]", ["[{}]"])])


async def test_the_empty_array_matches_any_array_and_nothing_else(store: Driver) -> None:
    arrays, others = ["[]", "[1]", "[[]]"], ["{}", '{"a":[]}', "null", "0", '""', "false", '"[]"']
    await assert_matches(
        store, arrays + others, [("[]", arrays), ("[[]]", ["[[]]"]), ('{"a":[]}', ['{"a":[]}'])]
    )


async def test_every_predicate_element_must_match_some_element_whatever_the_order(store: Driver) -> None:
    forwards, backwards, short = "[1,2,3]", "[3,2,1]", "[2]"
    await assert_matches(
        store,
        [forwards, backwards, short],
        [
            ("[2]", [forwards, backwards, short]),
            ("[3,1]", [forwards, backwards]),
            ("[1,2,3]", [forwards, backwards]),
            ("[1,4]", []),
        ],
    )


async def test_multiplicity_of_elements_is_ignored(store: Driver) -> None:
    once, twice = "[1]", "[1,1]"
    await assert_matches(
        store, [once, twice], [("[1]", [once, twice]), ("[1,1]", [once, twice]), ("[1,1,1.0]", [once, twice])]
    )


async def test_one_element_may_match_several_elements_of_the_predicate(store: Driver) -> None:
    both, apart = '[{"a":1,"b":2}]', '[{"a":1},{"b":2}]'
    await assert_matches(
        store,
        [both, apart],
        [('[{"a":1},{"b":2}]', [both, apart]), ('[{"a":1,"b":2}]', [both]), ("[{},{}]", [both, apart])],
    )


async def test_nested_arrays_match_element_by_element(store: Driver) -> None:
    nested, flat = "[[1,2],[3]]", "[1,2,3]"
    await assert_matches(
        store,
        [nested, flat],
        [
            ("[[1]]", [nested]),
            ("[[2,1],[3]]", [nested]),
            ("[[1,3]]", []),
            ("[[1],[2]]", [nested]),
            ("[1]", [flat]),
            ("[[]]", [nested]),
            ("[[[]]]", []),
        ],
    )


async def test_values_of_different_elements_do_not_add_up_to_a_match(store: Driver) -> None:
    apart, together = '{"rows":[{"x":1,"y":2},{"x":2,"y":1}]}', '{"rows":[{"x":1,"y":1}]}'
    await assert_matches(
        store,
        [apart, together],
        [('{"rows":[{"x":1,"y":1}]}', [together]), ('{"rows":[{"x":1}]}', [apart, together])],
    )


async def test_a_scalar_never_matches_an_array_nor_an_array_a_scalar(store: Driver) -> None:
    scalar, array = '{"tag":"a"}', '{"tag":["a"]}'
    await assert_matches(
        store,
        [scalar, array, "1", "[1]"],
        [('{"tag":"a"}', [scalar]), ('{"tag":["a"]}', [array]), ("1", ["1"])],
    )


async def test_scalars_match_at_the_root(store: Driver) -> None:
    payloads = ["null", "true", "false", "0", "1", '"1"', '""', '"true"', '"null"', "{}", "[]"]
    await assert_matches(store, payloads, [(payload, [payload]) for payload in payloads])


async def test_null_matches_only_null_and_not_what_is_missing(store: Driver) -> None:
    null, missing, other = '{"a":null}', '{"b":1}', '{"a":0}'
    empty, false = '{"a":""}', '{"a":false}'
    await assert_matches(store, [null, missing, other, empty, false], [('{"a":null}', [null])])


async def test_true_is_not_1_and_false_is_not_0(store: Driver) -> None:
    payloads = ["[true]", "[1]", "[1.0]", "[false]", "[0]", "[0.0]"]
    await assert_matches(
        store,
        payloads,
        [
            ("[true]", ["[true]"]),
            ("[1]", ["[1]", "[1.0]"]),
            ("[false]", ["[false]"]),
            ("[0]", ["[0]", "[0.0]"]),
        ],
    )


async def test_a_number_is_not_its_text(store: Driver) -> None:
    await assert_matches(
        store, ['{"a":1}', '{"a":"1"}'], [('{"a":1}', ['{"a":1}']), ('{"a":"1"}', ['{"a":"1"}'])]
    )


EQUAL_NUMBERS = (
    ("1", "1.0", "1e0", "10e-1", "0.1E1", "1.000000000000000000000000000000"),
    ("0", "-0", "0.0", "-0.0", "0e5", "0E-400", "0e99999999999999999999"),
    ("100", "1e2", "1E+2", "100.00", "0.0001e6"),
    ("-2.5", "-25e-1", "-0.25e1", "-2.50"),
    ("1e18", "1000000000000000000", "1000000000000000000.0"),
    ("1e17", "100000000000000000", "0.1e18"),
    ("18446744073709551616", "1.8446744073709551616e19"),
    ("1e300", "0.1e301", "10e299"),
    ("1e-300", "0.1e-299", "10e-301"),
    ("123456789012345678901234567890.5", "1234567890123456789012345678905e-1"),
)


async def test_numbers_are_equal_when_their_exact_decimal_values_are(store: Driver) -> None:
    payloads = [text for group in EQUAL_NUMBERS for text in group]
    await assert_matches(store, payloads, [(text, group) for group in EQUAL_NUMBERS for text in group])


async def test_numbers_are_equal_inside_objects_and_arrays_too(store: Driver) -> None:
    wrapped = [[f'{{"n":[{text}]}}' for text in group] for group in EQUAL_NUMBERS]
    payloads = [text for group in wrapped for text in group]
    await assert_matches(store, payloads, [(group[-1], group) for group in wrapped])


async def test_numbers_that_binary_floats_confuse_are_different(store: Driver) -> None:
    payloads = [
        "9007199254740992",
        "9007199254740993",
        "9007199254740992.5",
        "0.1",
        "0.1000000000000000055",
        "0.10000000000000000555",
        "18446744073709551615",
        "18446744073709551616",
        "1e300",
        "9.999999999999999999999999e299",
        "1e-300",
        "1.00000000000000000001e-300",
        "12345678901234567890123456789012345678901234567890",
        "12345678901234567890123456789012345678901234567891",
        "-9223372036854775808",
        "-9223372036854775809",
        "0.3",
        "0.30000000000000004",
    ]
    await assert_matches(store, payloads, [(payload, [payload]) for payload in payloads])


async def test_strings_are_compared_by_code_point(store: Driver) -> None:
    payloads = [
        '"\u00e9"',
        '"e\u0301"',
        '"\u00c9"',
        '"E"',
        '"e"',
        '"e "',
        '"ß"',
        '"ss"',
        '"\ufb01"',
        '"fi"',
        '"\u200b"',
    ]
    await assert_matches(store, payloads, [(payload, [payload]) for payload in payloads])


async def test_keys_are_compared_by_code_point(store: Driver) -> None:
    payloads = ['{"\u00e9":1}', '{"e\u0301":1}', '{"E":1}', '{"e":1}', '{"":1}', '{" ":1}']
    await assert_matches(store, payloads, [(payload, [payload]) for payload in payloads])


async def test_escapes_are_another_way_to_write_the_same_string(store: Driver) -> None:
    plain, escaped = '{"a/é":"😀\\n"}', '{"\\u0061\\/\\u00e9":"\\ud83d\\ude00\\u000a"}'
    await assert_matches(store, [plain, escaped], [(plain, [plain, escaped]), (escaped, [plain, escaped])])


async def test_whitespace_and_key_order_make_no_difference(store: Driver) -> None:
    loose, tight = '{ "b" : [ 1 , 2 ] ,\n"a" : { } }', '{"a":{},"b":[1,2]}'
    await assert_matches(store, [loose, tight], [(loose, [loose, tight]), (tight, [loose, tight])])


async def test_the_last_duplicate_key_wins_in_payloads_and_predicates(store: Driver) -> None:
    last_two, last_one = '{"a":1,"a":2}', '{"a":2,"a":1}'
    await assert_matches(
        store,
        [last_two, last_one],
        [
            ('{"a":1}', [last_one]),
            ('{"a":2}', [last_two]),
            ('{"a":1,"a":2}', [last_two]),
            ('{"a":{"x":1},"a":1}', [last_one]),
        ],
    )


async def test_keys_and_texts_that_look_like_parts_of_an_index_are_ordinary(store: Driver) -> None:
    payloads = [
        '{"a.b":1}',
        '{"a":{"b":1}}',
        '{"*":1}',
        "[1]",
        '{"a":{"*":1}}',
        '{"a":[1]}',
        '"overflow"',
        '{"overflow":"overflow"}',
        '"{"',
        '"\\"1"',
        '{"a":"\\"b"}',
        '"#1"',
        '"=null"',
    ]
    await assert_matches(store, payloads, [(payload, [payload]) for payload in payloads])
