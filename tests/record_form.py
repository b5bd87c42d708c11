"""What every record states about how it was made."""

INFO_KEYS = (
    "name",
    "dataset",
    "manifest_sha256",
    "plan_sha256",
    "looks",
    "protocol",
    "weights",
    "profile",
    "seeds",
    "backend",
    "device",
    "versions",
    "commit",
    "recorded_on",
    "wall_seconds",
)
