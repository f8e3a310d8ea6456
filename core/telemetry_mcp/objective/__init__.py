"""Service level objectives as they are written: in plugins.toml, and in OpenSLO and slo-generator files, whose
documents become the same tables."""
