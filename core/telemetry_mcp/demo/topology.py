"""Who is who in the simulated estate: eight services, their owners, whom they call, and a quiet day's figures."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody on call; one for each team."""

    name: str
    email: str


@dataclass(frozen=True, slots=True)
class Member:
    """A service of the estate, with the middle of its quiet day: percent, requests a second, milliseconds."""

    name: str
    team: str
    tier: int
    language: str
    kind: Literal["app", "database", "cache"]
    calls: tuple[str, ...]
    cpu: float
    memory: float
    error_rate: float
    request_rate: float
    latency_p50: float

    @property
    def instances(self) -> tuple[str, ...]:
        """The processes behind the name: applications run twice, what keeps state runs once."""
        port = {"app": 8080, "database": 5432, "cache": 6379}[self.kind]
        return tuple(f"{self.name}-{n}:{port}" for n in range(2 if self.kind == "app" else 1))


ENVIRONMENT = "production"

PEOPLE = {
    "edge": Person("Ines Moreau", "ines.moreau@example.com"),
    "identity": Person("Tomasz Wilk", "tomasz.wilk@example.com"),
    "payments": Person("Amara Okafor", "amara.okafor@example.com"),
    "messaging": Person("Jonas Lindqvist", "jonas.lindqvist@example.com"),
    "data-platform": Person("Priya Raman", "priya.raman@example.com"),
}

MEMBERS = {
    member.name: member
    for member in (
        Member(
            "api-gateway",
            "edge",
            1,
            "go",
            "app",
            ("auth-service", "user-service", "payment-processor"),
            *(41.0, 52.0, 0.058, 420.0, 45.0),
        ),
        Member(
            "auth-service",
            "identity",
            1,
            "java",
            "app",
            ("cache-redis", "database-primary"),
            *(36.0, 61.0, 0.02, 260.0, 18.0),
        ),
        Member(
            "user-service",
            "identity",
            2,
            "python",
            "app",
            ("cache-redis", "database-replica"),
            *(33.0, 47.0, 0.015, 180.0, 24.0),
        ),
        Member(
            "payment-processor",
            "payments",
            1,
            "java",
            "app",
            ("database-primary", "notification-service"),
            *(38.0, 58.0, 0.04, 60.0, 70.0),
        ),
        Member(
            "notification-service",
            "messaging",
            3,
            "nodejs",
            "app",
            ("cache-redis",),
            *(24.0, 43.0, 0.03, 45.0, 35.0),
        ),
        Member(
            "database-primary",
            "data-platform",
            1,
            "c",
            "database",
            (),
            *(44.0, 66.0, 0.005, 520.0, 4.0),
        ),
        Member(
            "database-replica",
            "data-platform",
            2,
            "c",
            "database",
            ("database-primary",),
            *(29.0, 57.0, 0.005, 310.0, 3.5),
        ),
        Member(
            "cache-redis",
            "data-platform",
            2,
            "c",
            "cache",
            (),
            *(21.0, 48.0, 0.004, 900.0, 0.8),
        ),
    )
}
