"""Events as senders may write them: good, odd and broken, whole and damaged."""

import json

from hypothesis import strategies as st

texts = st.one_of(
    st.text(max_size=6).map(json.dumps),
    st.sampled_from(
        [
            *['"a\\ud800"', '"\\u0000"', '"\\u00e9"', '"a b "', '""', "null", "5", "[]", "{}"],
            *['"\x7f"', '"é"', '"' + "x" * 257 + '"', '"' + "x" * 1025 + '"', '"\\/"', '" "'],
        ]
    ),
)
times = st.sampled_from(
    [
        *["2026-03-01T12:00:00Z", "2026-03-01T12:00:00.5Z", "2026-03-01T12:00:00.123Z"],
        *["2026-03-01T12:00:00.123456Z", "2026-02-30T12:00:00Z", "2026-W01-1T12:00:00Z"],
        *["2026-03-01T24:00:00Z", "0001-01-01T00:00:00Z", "1969-12-31T00:00:00Z", "noon", ""],
        *["2200-01-01T00:00:00.000Z", "2026-03-01T12:00:00,123Z", "2026-03-01T12:00:0\u0661Z"],
        *["2026-03-01T12:00:00.-12Z", "2026-03-01T12:00+01:0Z", "2026-03-01T12:00:00+01:00"],
    ]
)
inner = st.sampled_from(
    [
        *["{}", '{"n":1.50}', '{"n":1,"n":2}', '{"n": {"a":1,"a":2}}', '{"u":"http://x:1"}'],
        *["null", "[]", '"x"', '{"n":' + "[" * 31 + "]" * 31 + "}", '{"n":"\\u0000"}'],
        *['{"n":12345678901234567890.12345678901}', '{"\\u00e9":1}', '{"t":"\x7f é"}', '{"n":1e5}'],
    ]
)
fields = st.sampled_from(
    [
        *["event_name", "external_customer_id", "event_id", "customer_id", "source"],
        *["id", "tenant_id", "ingested_at", "specversion", "type", "other"],
    ]
)
members = st.one_of(
    st.tuples(fields, texts),
    st.tuples(st.just("timestamp"), times.map(lambda time: json.dumps(time, ensure_ascii=False))),
    st.tuples(st.just("properties"), inner),
)
bodies = st.lists(members, max_size=5).map(
    lambda more: (
        '{"event_name":"call","external_customer_id":"c"'
        + "".join(f',"{name}": {value}' for name, value in more)
        + "}"
    ).encode(errors="surrogatepass")
)
damaged = st.builds(
    lambda body, place, noise, cut: body[:place] + noise + body[place + cut :],
    bodies,
    st.integers(0, 120),
    st.binary(max_size=2),
    st.integers(0, 3),
)
sent_events = st.one_of(bodies, bodies, damaged, st.binary(max_size=12))
