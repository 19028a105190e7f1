"""The types of times and durations in arguments: Python's own, or protobuf's."""

from datetime import datetime, timedelta
from typing import TypeAlias

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

Moment: TypeAlias = datetime | Timestamp
Length: TypeAlias = timedelta | Duration
