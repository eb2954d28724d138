"""Ground floor: settings, secrets, database, jobs, keys, egress, redaction, time and ids."""
