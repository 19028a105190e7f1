"""The methods that the batch lane serves, and the fast twins of general code."""
