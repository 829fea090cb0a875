"""Metering: what every call costs, kept to the row; and quotas."""
