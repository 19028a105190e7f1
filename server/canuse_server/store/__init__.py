"""The data in Redis or Valkey: keys, formats, scripts and connections. It contains no rules."""
