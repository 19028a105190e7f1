"""What any layer may use: deadlines, fairness, logs."""
