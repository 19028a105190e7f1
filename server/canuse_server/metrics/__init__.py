"""Metrics in the format of Prometheus: what they mean, where their values come from, and how workers are added up."""
