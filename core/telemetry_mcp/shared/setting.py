"""`[redis]` in plugins.toml."""

from __future__ import annotations

from pydantic import Field, FilePath, SecretStr

from telemetry_mcp.setting import Duration, Strict


class RedisSettings(Strict):
    """Where several instances share what they know. Redis, or anything that speaks its protocol (Valkey)."""

    url: SecretStr | None = Field(None, description="redis://host:6379/0, or rediss:// for TLS")
    prefix: str = Field("telemetry-mcp", min_length=1, description="begins every key; one for each fleet")
    timeout: Duration = Field(0.25, description="longest wait for one answer of Redis; then it is done without")
    ca_file: FilePath | None = None
