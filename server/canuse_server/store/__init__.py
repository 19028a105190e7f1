"""What is kept in Redis or Valkey, and how: keys, layouts, scripts, connections. No policy."""
