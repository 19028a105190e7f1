"""The table of all metrics. docs/metrics.md is generated from it."""

from typing import Final, Literal, NamedTuple

Kind = Literal["counter", "gauge", "histogram"]
Merge = Literal["sum", "max", "min"]


class Metric(NamedTuple):
    """A metric: its name without the suffix of its kind, its labels, and how the values of workers become one."""

    name: str
    kind: Kind
    labels: tuple[str, ...]
    meaning: str
    act: str
    """When somebody has to act."""
    merge: Merge = "sum"


CALLS: Final = Metric(
    "canuse_calls",
    "counter",
    ("port", "method", "status"),
    "Calls that have ended, by the status of gRPC. Over HTTP it is the status that gRPC would have.",
    "`INTERNAL`, `UNAVAILABLE` or `DEADLINE_EXCEEDED` for more than some seconds: look at the log. "
    "`RESOURCE_EXHAUSTED`: more calls than `max_calls_in_flight` admits; add workers or servers.",
)
CALL_SECONDS: Final = Metric(
    "canuse_call_duration_seconds",
    "histogram",
    ("port", "method"),
    "Time from a call's arrival to its answer.",
    "The 99th percentile of `CanUse` above what your callers wait for: compare it with "
    "`canuse_store_round_trip_seconds`.",
)
CALLS_IN_FLIGHT: Final = Metric(
    "canuse_calls_in_flight",
    "gauge",
    ("executor",),
    "Calls that have arrived and have not ended: in the batch `lane`, or on the event `loop`. "
    "A call that the lane hands to the loop is in both.",
    "Close to `max_calls_in_flight` times `workers`: further calls are refused.",
)
WAITING_BYTES: Final = Metric(
    "canuse_waiting_bytes",
    "gauge",
    (),
    "Size of the requests and metadata of the calls in flight, without those in the batch lane.",
    "Close to `max_waiting_bytes` times `workers`: further calls are refused.",
)
DECISIONS: Final = Metric(
    "canuse_decisions",
    "counter",
    ("environment", "feature", "reason"),
    "Decisions and recorded uses by feature and reason, repeats with an event id included; equal checks of one batch "
    "are one. Features beyond `metrics_features` are `other`. Envoy's calls have `RATE_LIMIT_OK` or "
    "`RATE_LIMIT_OVER_LIMIT` as reason.",
    "A sudden rise of `NOT_ENTITLED` or `BUDGET_EXCEEDED` of one feature: a package may be wrong.",
)
WITHOUT_STORE: Final = Metric(
    "canuse_answers_without_store",
    "counter",
    ("source",),
    "Answers given while the store was unavailable, by their `source`.",
    "Any increase: the store is or was unavailable.",
)
BATCH_CALLS: Final = Metric(
    "canuse_lane_batch_calls",
    "histogram",
    (),
    "Calls that the batch lane answers with one write to the store.",
    "For information: large batches mean that the lane is busy.",
)
STORE_UP: Final = Metric(
    "canuse_store_up",
    "gauge",
    (),
    "1 if the store has its data and has answered in the last 5 seconds.",
    "0: calls fail or get answers without the store. See the log and docs/reliability.md.",
    "min",
)
ROUND_TRIP: Final = Metric(
    "canuse_store_round_trip_seconds",
    "histogram",
    ("connection",),
    "Time from sending commands to their last reply: `lane` for a batch of calls, `loop` for others.",
    "The 99th percentile close to `store_timeout_seconds`: the store or the network is overloaded.",
)
STORE_EVENTS: Final = Metric(
    "canuse_store_connection_events",
    "counter",
    ("event",),
    "Connections to the store that were opened, attempts that failed, and redirects by a Cluster.",
    "A steady rise of `connection_failures`: the store is unavailable for some or all.",
)
LEDGER_EVENTS: Final = Metric(
    "canuse_ledger_events",
    "gauge",
    ("environment",),
    "Usage events in the ledger, counted once a minute.",
    "More than the store's memory allows, at about 80 bytes each: lower `ledger_max_age_seconds`.",
    "max",
)
USERS: Final = Metric(
    "canuse_users", "gauge", ("environment",), "Users, counted once a minute.", "For planning memory.", "max"
)
TRIMMED: Final = Metric(
    "canuse_trimmed",
    "counter",
    ("data",),
    "What this server has trimmed: usage `events` that were too old, `leases` that had expired, and features with "
    "`past_periods` that were too old or became sums of days. What calls trim is not counted.",
    "For information.",
)
TRIM_AGE: Final = Metric(
    "canuse_trim_age_seconds",
    "gauge",
    (),
    "Time since a trimming pass of any server ended, or since the server started if none has. Absent if there are no "
    "passes.",
    "Above 172800 (two days): what is too old of idle users stays in the store.",
    "max",
)
TRIM_PASS: Final = Metric(
    "canuse_trim_pass_seconds",
    "gauge",
    (),
    "How long the last trimming pass took, of any server.",
    "Many hours: raise `trim_share`.",
    "max",
)
CATALOG_VERSION: Final = Metric(
    "canuse_catalog_version",
    "gauge",
    ("environment",),
    "Number of the last change of the catalogue that the server knows.",
    "Servers that differ for more than some seconds: one does not hear of changes.",
    "min",
)
CATALOG_AGE: Final = Metric(
    "canuse_catalog_age_seconds",
    "gauge",
    ("environment",),
    "Time since the server last checked that its catalogue is current.",
    "Above 30: changes of the catalogue have no effect on this server.",
    "max",
)
HTTP_CONNECTIONS: Final = Metric(
    "canuse_http_connections",
    "gauge",
    (),
    "Open connections of the HTTP port.",
    "Close to 1024 times `workers`: idle ones are closed.",
)
BUILD: Final = Metric(
    "canuse_build_info",
    "gauge",
    ("version", "transport", "python"),
    "1, with what runs in the labels.",
    "For information.",
    "max",
)
WORKERS: Final = Metric(
    "canuse_workers",
    "gauge",
    (),
    "Worker processes whose figures this answer contains.",
    "Less than `workers`: one has died and is being replaced.",
)

METRICS: Final = (
    *(CALLS, CALL_SECONDS, CALLS_IN_FLIGHT, WAITING_BYTES, DECISIONS, WITHOUT_STORE, BATCH_CALLS),
    *(STORE_UP, ROUND_TRIP, STORE_EVENTS, LEDGER_EVENTS, USERS),
    *(TRIMMED, TRIM_AGE, TRIM_PASS),
    *(CATALOG_VERSION, CATALOG_AGE, HTTP_CONNECTIONS, BUILD, WORKERS),
)
