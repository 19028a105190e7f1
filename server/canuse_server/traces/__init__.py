"""Traces: spans of calls and of their round trips to the store, sent to a collector by OTLP."""
