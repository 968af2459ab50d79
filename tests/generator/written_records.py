"""Writes values as the records of a log: every form of metering.md 2.3, copies, bad bytes.

`records` gives a table in the order of the log: `key` and `value` as bytes, `stamp` the record's
own time in milliseconds, `kind` what it is, and `reason` why a malformed one is refused.

- event: a row of the values, whichever way it is written;
- copy: the bytes of an earlier event again, at a later position under the same key;
- conflict: the id of an earlier event with other content, which must never count;
- malformed: bytes that no door accepts.
"""

import json

import duckdb
import numpy as np
import pyarrow as pa
from generated_events import START

TENANT, ENVIRONMENT = "tenant_default", "env_development"
COPY_SHARE = 0.01
CONFLICT_SHARE = 0.0005
MALFORMED_SHARE = 0.001
# Later copies come at most this many records behind.
COPY_DISTANCE_MAX = 100_000

KINDS = ("event", "copy", "conflict", "malformed")
RECORDS = pa.schema(
    [
        pa.field("key", pa.binary()),
        pa.field("value", pa.binary()),
        pa.field("stamp", pa.int64()),
        pa.field("kind", pa.string()),
        pa.field("reason", pa.string()),
    ]
)

# The numbers are those of generated_events.py: how an amount, a user, a timestamp is written.
WRITE = r"""
WITH spelled AS (
    SELECT *,
        concat(if(negative, '-', ''), whole_written::VARCHAR) AS integral,
        lpad(digits::VARCHAR, 18, '0') AS decimals,
        concat(
            if(negative, '-', ''),
            (whole_written::HUGEINT * 1000000000000000000 + digits)::VARCHAR
        ) AS units,
        make_timestamp(happened_at) AS instant,
        format('evt-{:09d}', index) AS plain_id,
    FROM drawn
), parts AS (
    SELECT *,
        concat(integral, if(digits = 0, '', '.' || rtrim(decimals, '0'))) AS shortest,
    FROM spelled
), literals AS (
    SELECT *,
        CASE amount_spelled
            WHEN 0 THEN '"amount":' || shortest || ','
            WHEN 1 THEN '"amount":' || shortest || ','
            WHEN 2 THEN '"amount":"' || shortest || '",'
            WHEN 3 THEN '"amount":" ' || if(negative, '', '+') || shortest || '\t",'
            WHEN 4 THEN '"amount":' || units || 'e-18,'
            WHEN 5 THEN '"amount":' || integral || '.' || decimals || '5,'
            WHEN 6 THEN '"amount":' || integral || '.' || decimals || ','
            ELSE [
                '', '"amount":null,', '"amount":true,', '"amount":"",', '"amount":"n/a",',
                '"amount":"-Infinity",', '"amount":[1],', '"amount":{"of":2},', '"amount":1e20,',
                '"amount":"0x10",', '"amount":"1,000",'
            ][1 + spelling % 11]
        END AS amount_literal,
        CASE user_spelled
            WHEN 0 THEN user_number::VARCHAR
            WHEN 1 THEN user_number::VARCHAR || '.0'
            WHEN 2 THEN '"' || user_number::VARCHAR || '"'
            WHEN 3 THEN to_json("user")::VARCHAR
            ELSE ['null', '["7"]', '{}'][1 + spelling % 3]
        END AS user_literal,
        CASE clock
            WHEN 0 THEN strftime(instant, '%Y-%m-%dT%H:%M:%S.%fZ')
            WHEN 1 THEN strftime(instant + INTERVAL 330 MINUTE, '%Y-%m-%dT%H:%M:%S.%f+05:30')
            WHEN 2 THEN strftime(instant, '%Y-%m-%dT%H:%M:%S.%f') || '987Z'
            WHEN 3 THEN strftime(instant, '%Y-%m-%dT%H:%M:%SZ')
        END AS clock_literal,
        CASE
            WHEN zone IS NULL THEN if(spelling % 2 = 0, '', '"zone":null,')
            WHEN zone = '12.5'
            THEN ['"zone":12.5,', '"zone":"12.5",', '"zone":1.250e1,'][1 + spelling % 3]
            ELSE '"zone":' || to_json(zone)::VARCHAR || ','
        END AS zone_literal,
        to_json(model)::VARCHAR AS model_text,
        coalesce(
            '"model":'
                || if(spelling % 7 = 0, replace(model_text, 'é', '\u00e9'), model_text) || ',',
            ''
        ) AS model_literal,
        to_json(customer)::VARCHAR AS customer_literal,
    FROM parts
), bodies AS (
    SELECT *, concat(
        '{', model_literal,
        -- A key given twice: the last one counts.
        if(spelling = 999, '"tokens":-5,', ''),
        amount_literal, '"tokens":', tokens, ',', zone_literal,
        CASE WHEN spelling % 50 = 1 THEN '"tags":["a",{"b":[1,2.50,null]}],' ELSE '' END,
        '"status":', if(spelling % 3 = 0, '"' || status || '"', status::VARCHAR),
        ',"user":', user_literal, '}'
    ) AS properties
    FROM literals
)
SELECT
    index,
    concat($tenant, ':', $environment, ':', customer) AS key,
    CASE form
        WHEN 0 THEN concat(
            '{"event_name":"', if(spelling % 100 = 2, '  ' || event_name || '\t', event_name),
            '","event_id":"', plain_id,
            '","external_customer_id":', customer_literal,
            coalesce(
                ',"timestamp":"' || clock_literal || '"',
                if(spelling % 2 = 0, ',"timestamp":null', '')
            ),
            CASE WHEN spelling % 4 = 0 THEN ',"source":"gateway"' ELSE '' END,
            ',"properties":', properties, if(spelling % 9 = 0, ',"unknown":[{}]}', '}'))
        WHEN 1 THEN concat(
            '{"id":"', plain_id, '","tenant_id":"', $tenant, '","environment_id":"', $environment,
            '","event_name":"', event_name, '","external_customer_id":', customer_literal,
            ',"customer_id":"cust_', spelling % 10, '","properties":', properties,
            coalesce(',"timestamp":"' || clock_literal || '"', ''),
            ',"ingested_at":"2026-03-01T00:00:00Z","source":""}')
        ELSE concat(
            '{"specversion":"1.0","type":"', event_name,
            '","source":"/meter/eu-1","id":"', plain_id,
            if(spelling % 5 = 0, '/50%', ''),
            '","', if(spelling % 2 = 0, 'subject', 'externalcustomerid'), '":', customer_literal,
            coalesce(',"time":"' || clock_literal || '"', ''),
            if(spelling % 3 = 0, ',"datacontenttype":"application/json; charset=utf-8"', ''),
            ',"data":', properties, '}')
    END AS value,
    if(clock = 4, happened_at, $start + index * 14400 + 2000000) // 1000 AS stamp,
FROM bodies ORDER BY index
"""

# What an event is called once it is read: of a CloudEvent source and id (metering.md 2.3).
EVENT_ID = r"""
    CASE WHEN form <> 2 THEN format('evt-{:09d}', index) ELSE concat(
        '/meter/eu-1/', format('evt-{:09d}', index), if(spelling % 5 = 0, '%2F50%25', '')
    ) END
"""


def records(
    drawn: pa.Table, seed: int, *, door: str = "kafka", malformed_share: float = MALFORMED_SHARE
) -> pa.Table:
    """Return the records of these values in the order of the log, with copies and malformed ones.

    `door` "file" leaves out the empty record, which in a file is an empty line and no record.
    """
    chance = np.random.default_rng([seed, 7])
    count = drawn.num_rows
    events = _written(drawn)
    place = np.arange(count, dtype=np.float64)
    copied = np.sort(chance.choice(count, int(count * COPY_SHARE), replace=False))
    contested = np.sort(chance.choice(count, int(count * CONFLICT_SHARE), replace=False))
    changed = drawn.take(pa.array(contested))
    tokens = changed.schema.get_field_index("tokens")
    changed = changed.set_column(tokens, "tokens", pa.array(changed["tokens"].to_numpy() + 1))
    bad = malformed(int(count * malformed_share), door=door)
    tables = [
        _marked(events, "event"),
        _marked(events.take(pa.array(copied)), "copy"),
        _marked(_written(changed), "conflict"),
        bad,
    ]
    behind = [chance.uniform(0.5, COPY_DISTANCE_MAX, len(each)) for each in (copied, contested)]
    places = [
        place,
        copied + behind[0],
        contested + behind[1],
        chance.uniform(0, count, bad.num_rows),
    ]
    order = np.argsort(np.concatenate(places), kind="stable")
    return pa.concat_tables(tables).take(pa.array(order))


def _written(drawn: pa.Table) -> pa.Table:
    with duckdb.connect() as connection:
        connection.register("drawn", drawn)
        given = {"tenant": TENANT, "environment": ENVIRONMENT, "start": START}
        return connection.sql(WRITE, params=given).to_arrow_table()


def _marked(written: pa.Table, kind: str) -> pa.Table:
    rows = written.num_rows
    columns = {
        "key": written["key"].cast(pa.binary()),
        "value": written["value"].cast(pa.binary()),
        "stamp": written["stamp"],
        "kind": pa.repeat(kind, rows),
        "reason": pa.nulls(rows, pa.string()),
    }
    return pa.table(columns, schema=RECORDS)


def malformed(count: int, *, door: str) -> pa.Table:
    """Return records that no door accepts, each with the reason of metering.md 3."""
    kinds = BAD if door == "kafka" else [(reason, text) for reason, text in BAD if text]
    # One event that is too large is enough: it is a megabyte.
    large = _event(event_id="large", properties={"padding": "x" * 1_000_000})
    rows = [("event_too_large", large)] if count else []
    for number in range(len(rows), count):
        # A loop over a few hundred rows: each is a text of its own.
        reason, text = kinds[number % len(kinds)]
        rows.append((reason, text.replace(b"NUMBER", b"%d" % number)))
    columns = {
        "key": [
            f"{TENANT}:{ENVIRONMENT}:customer-{number % 40}".encode() for number in range(count)
        ],
        "value": [text for _, text in rows],
        "stamp": [START // 1000 + number for number in range(count)],
        "kind": ["malformed"] * count,
        "reason": [reason for reason, _ in rows],
    }
    return pa.table(columns, schema=RECORDS)


def _event(**changes: object) -> bytes:
    """Return an event that is well but for the changes; a change to None leaves the field out."""
    event = {
        "event_name": "api.call",
        "event_id": "bad-NUMBER",
        "external_customer_id": "customer-1",
        "timestamp": "2026-03-01T00:30:00Z",
        "properties": {"tokens": 1, "amount": 1},
        **changes,
    }
    given = {name: value for name, value in event.items() if value is not None}
    return json.dumps(given, ensure_ascii=False).encode("utf-8", "surrogatepass")


def _cloud(**changes: object) -> bytes:
    event = {
        "specversion": "1.0",
        "type": "api.call",
        "source": "/bad",
        "id": "NUMBER",
        "subject": "customer-1",
        "time": "2026-03-01T00:30:00Z",
        **changes,
    }
    return json.dumps({name: value for name, value in event.items() if value is not None}).encode()


_DEEP = (
    b'{"event_name":"api.call","external_customer_id":"c","properties":{"a":'
    + b"[" * 40
    + b"]" * 40
)

# Each kind of malformed record; NUMBER becomes the number of the record, so that all bytes differ.
BAD: list[tuple[str, bytes]] = [
    ("invalid_json", b'{"event_name": "api.call", "event_id": "bad-NUMBER", "external'),
    ("invalid_json", b""),
    ("invalid_json", b"customer-NUMBER,api.call,1"),
    ("invalid_json", _event().replace(b'"amount": 1', b'"amount": NaN')),
    ("invalid_json", _event().replace(b'"amount": 1', b'"amount": -Infinity')),
    ("invalid_json", _event().replace(b'"amount": 1', b'"amount": 01')),
    ("invalid_json", _event() + b" {}"),
    ("invalid_json", _event().replace(b"{", b"{ /* a comment */ ", 1)),
    ("invalid_text", _event(source="half \ud800")),
    ("invalid_text", _event(source="HALF").replace(b"HALF", b"\\ud800")),
    ("invalid_text", _event().replace(b"bad-NUMBER", b"bad-\xff-NUMBER")),
    ("invalid_text", _event().replace(b"bad-NUMBER", b"bad-\\u0000-NUMBER")),
    ("too_deep", _DEEP + b',"number":NUMBER}}'),
    ("not_an_object", b"[NUMBER]"),
    ("not_an_object", b"NUMBER"),
    ("cloudevent_invalid", _cloud(specversion="0.3")),
    ("cloudevent_invalid", _cloud(source="")),
    ("cloudevent_invalid", _cloud(data_base64="e30=")),
    ("field_wrong_type", _event(event_name=12)),
    ("field_wrong_type", _event(external_customer_id=["customer-1"])),
    ("field_wrong_type", _event(properties="{}")),
    ("field_wrong_type", _cloud(data=[1])),
    ("event_name_required", _event(event_name=" \t ")),
    ("event_name_required", _event(event_name=None)),
    ("external_customer_id_required", _event(external_customer_id=None)),
    ("external_customer_id_required", _event(external_customer_id="")),
    ("timestamp_invalid", _event(timestamp="2026-03-01 00:30:00Z")),
    ("timestamp_invalid", _event(timestamp="2026-03-01T00:30:00")),
    ("timestamp_invalid", _event(timestamp="2026-02-30T00:30:00Z")),
    ("timestamp_invalid", _event(timestamp="")),
    ("timestamp_invalid", _event(timestamp=1772323200)),
    ("timestamp_out_of_range", _event(timestamp="2200-01-01T00:00:00Z")),
    ("field_too_long", _event(source="x" * 1025)),
]
